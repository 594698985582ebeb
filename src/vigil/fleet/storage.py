"""Files in and out: tables of readings, what is known of the sites, fleets and states as folders."""

from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import yaml
from pyarrow import csv
from pyarrow import parquet as pq
from pydantic import AwareDatetime, BaseModel, ConfigDict, TypeAdapter, ValidationError

from vigil.clock import SECOND, to_micros
from vigil.errors import ContractError
from vigil.fleet.model import ARRAYS, HEADER, THRESHOLDS, Fleet, restore_fleet
from vigil.fleet.panel import Readings, SiteFacts, readings_of
from vigil.fleet.state import FleetState
from vigil.members.files import read_arrays, write_arrays

SIMULATED = Path("events") / "site_reading.parquet"


class FactsDocument(BaseModel):
    """What a file says of a site."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    time_zone: str = "UTC"
    cluster: str | None = None
    holidays: tuple[date, ...] = ()
    hours: tuple[tuple[int, int] | None, ...] | None = None
    since: AwareDatetime | None = None

    def facts(self) -> SiteFacts:
        """Return what a fit takes."""
        since = 0 if self.since is None else to_micros(self.since)
        return SiteFacts(self.time_zone, self.cluster, self.holidays, self.hours, since)


def read_readings(path: Path) -> Readings:
    """Return the readings in a Parquet or CSV file, or in a folder that `vigil simulate` or `vigil ingest` wrote."""
    source = path / SIMULATED if path.is_dir() else path
    if not source.exists():
        raise ContractError(f"{source} does not exist: give a table with site_id, metric, event_time and value")
    try:
        table = csv.read_csv(source) if source.suffix == ".csv" else pq.read_table(source)
    except pa.ArrowInvalid as error:
        raise ContractError(f"{source} is neither CSV nor Parquet: {error}") from error
    return readings_of(table)


def read_facts(path: Path | None) -> dict[str, SiteFacts]:
    """Return what a YAML file says of each site by name: time_zone, cluster, holidays, hours, since."""
    if path is None:
        return {}
    try:
        content = yaml.safe_load(path.read_text()) or {}
        facts = TypeAdapter(dict[str, FactsDocument]).validate_python(content)
    except FileNotFoundError:
        raise ContractError(f"{path} does not exist: give a YAML file of sites") from None
    except (ValidationError, yaml.YAMLError) as error:
        raise ContractError(f"{path} does not describe sites: {error}") from error
    return {site: one.facts() for site, one in facts.items()}


def usual_step(readings: Readings) -> int:
    """Return the usual time between two readings of a series in seconds, or raise ContractError."""
    order = np.lexsort((readings.times, readings.index))
    gaps = np.diff(readings.times[order])[np.diff(readings.index[order]) == 0]
    gaps = gaps[gaps > 0]
    if gaps.size == 0:
        raise ContractError("no series has two readings: give --step-seconds, and more history")
    return max(1, int(np.median(gaps)) // SECOND)


def write_fleet(fleet: Fleet, folder: Path) -> None:
    """Write the fleet into a folder, which is created."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in fleet.to_files().items():
        (folder / name).write_bytes(content)


def read_fleet(folder: Path) -> Fleet:
    """Return the fleet in a folder, or raise ContractError."""
    missing = [name for name in (HEADER, ARRAYS, THRESHOLDS) if not (folder / name).is_file()]
    if missing:
        raise ContractError(f"{folder} lacks {', '.join(missing)}: give a folder that `vigil sites fit` wrote")
    return restore_fleet({name: (folder / name).read_bytes() for name in (HEADER, ARRAYS, THRESHOLDS)})


def write_state(state: FleetState, path: Path) -> None:
    """Write a state, to go on from."""
    path.write_bytes(write_arrays(state.to_arrays()))


def read_state(path: Path) -> FleetState:
    """Return the state in a file, or raise ContractError."""
    if not path.is_file():
        raise ContractError(f"{path} does not exist: leave out --state to begin at the end of the history")
    return FleetState.from_arrays(read_arrays({path.name: path.read_bytes()}, path.name))
