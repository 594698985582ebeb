"""Readings divided by site, so that each shard is one task."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vigil.clock import DAY
from vigil.contracts.artifacts import Manifest, seal
from vigil.contracts.keys import hash_table
from vigil.errors import ContractError
from vigil.fleet.bundled import shard_name, shard_of
from vigil.fleet.panel import Readings, readings_of
from vigil.fleet.storage import read_readings, usual_step
from vigil.training.folders import fresh, verified
from vigil.training.raw import local
from vigil.training.sites.config import SitesConfig

KIND = "site_shards"
STEP = "step_seconds"


def split_into_shards(config: SitesConfig, raw: str, output: Path) -> Manifest:
    """Write a table of readings for each shard that has a site, and return their manifest."""
    with local(raw) as path:
        readings = _wanted(config, read_readings(path))
    folder = fresh(output)
    tables = _tables(readings, config.shards)
    for name, table in tables.items():
        pq.write_table(table, folder / f"{name}.parquet")
    step = config.step_seconds or usual_step(readings)
    facts = {STEP: step, **{f"{name}_hash": hash_table(table) for name, table in tables.items()}}
    return seal(folder, KIND, rows={name: table.num_rows for name, table in tables.items()}, facts=facts)


def read_split(folder: Path, shard: str) -> tuple[Readings, int]:
    """Return the readings of a shard, and the seconds between two of them."""
    manifest = verified(folder, KIND)
    if shard not in manifest.rows:
        raise ContractError(f"{folder} has no {shard}: it has {', '.join(sorted(manifest.rows))}")
    return readings_of(pq.read_table(folder / f"{shard}.parquet")), int(manifest.facts[STEP])


def _wanted(config: SitesConfig, readings: Readings) -> Readings:
    if not len(readings):
        raise ContractError("there is no reading: give a table with site_id, metric, event_time and value")
    known = {series.metric for series in readings.series}
    if unknown := sorted(set(config.metrics) - known):
        raise ContractError(f"metrics: no site reports {unknown[0]}: the data have {', '.join(sorted(known))}")
    named = np.array([not config.metrics or series.metric in config.metrics for series in readings.series])
    recent = readings.times >= int(readings.times.max()) - int(config.history_days * DAY)
    return readings.take(named[readings.index] & recent)


def _tables(readings: Readings, shards: int) -> dict[str, pa.Table]:
    """Return the tables by the name of their shard; a shard without a site has none."""
    number = np.array([shard_of(series.site, shards) for series in readings.series])[readings.index]
    used = [int(one) for one in np.unique(number)]
    return {shard_name(one): table_of(readings.take(number == one)) for one in used}


def table_of(readings: Readings) -> pa.Table:
    """Return the readings as a table that `readings_of` reads."""
    sites, metrics = ([one[part] for one in readings.series] for part in (0, 1))
    rows = pa.array(readings.index)
    return pa.table(
        {
            "site_id": pa.DictionaryArray.from_arrays(rows, pa.array(sites, pa.string())),
            "metric": pa.DictionaryArray.from_arrays(rows, pa.array(metrics, pa.string())),
            "event_time": pa.array(readings.times, pa.timestamp("us", tz="UTC")),
            "value": pa.array(readings.values),
        }
    )
