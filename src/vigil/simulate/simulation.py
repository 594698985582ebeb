"""The whole of it: from a configuration to tables of events, and from tables to a sealed folder."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.parquet as pq

from vigil.contracts.artifacts import Manifest, seal
from vigil.errors import ContractError
from vigil.simulate.calendars import Ints
from vigil.simulate.chain import World, build_world
from vigil.simulate.config import SimulationConfig
from vigil.simulate.effects import break_feeds, make_history
from vigil.simulate.ledger import Ledger, join_sites
from vigil.simulate.plans import Plan, plan_incidents
from vigil.simulate.readings import read_sites
from vigil.simulate.sales import hourly_sales, site_ledger
from vigil.simulate.stock import book_stock
from vigil.simulate.tables import (
    Names,
    restocks,
    site_readings,
    stock_levels,
    stock_movements,
    transactions,
    verdicts,
)
from vigil.simulate.truth import IncidentTruth, affected_events, incident_truths

Progress = Callable[[str, float], None]
"""Called with a step and the share that is done before it."""

CONFIGURATION = "configuration.json"


@dataclass(frozen=True)
class Simulated:
    """What came out: a table of the contract for each kind of event, and the truth about it."""

    config: SimulationConfig
    tables: dict[str, pa.Table]
    """By kind; sorted by time, then id."""
    incidents: tuple[IncidentTruth, ...]
    affected: pa.Table
    """Every event that an incident touched: incident, effect, kind of event, event id."""

    @property
    def rows(self) -> dict[str, int]:
        """Number of events by kind."""
        return {kind: table.num_rows for kind, table in self.tables.items()}

    @property
    def fraud_shares(self) -> dict[str, float]:
        """Share of the transactions that are fraud, by kind of fraud."""
        verdict = self.tables["verdict"]
        frauds = verdict["category"].filter(verdict["is_fraud"]).value_counts().to_pylist()
        return {item["values"]: item["counts"] / verdict.num_rows for item in frauds}


def _ignore(_: str, __: float) -> None:
    pass


def simulate(config: SimulationConfig, on_progress: Progress = _ignore) -> Simulated:
    """Return the events of a simulated business and the truth about them; the same configuration gives the same rows.

    >>> from vigil.simulate import preset, simulate
    >>> simulated = simulate(preset("quiet", {"days": 7, "chain": {"sites": 2}}))
    >>> sorted(simulated.tables)
    ['restock', 'site_reading', 'stock_level', 'stock_movement', 'transaction', 'verdict']
    """
    world = build_world(config)
    plans = plan_incidents(world)
    ordinary = []
    for site in range(config.chain.sites):
        on_progress(f"sales of site {site + 1} of {config.chain.sites}", 0.5 * site / config.chain.sites)
        ordinary.append(site_ledger(world, site))
    untroubled = [hourly_sales(world.calendar(site), ledger) for site, ledger in enumerate(ordinary)]
    on_progress("incidents", 0.5)
    ledger = make_history(world, join_sites(ordinary), plans)
    return _report(world, ledger, untroubled, plans, on_progress)


def _report(
    world: World, ledger: Ledger, untroubled: list[Ints], plans: tuple[Plan, ...], on_progress: Progress
) -> Simulated:
    """Book the stock and take the readings of what happened; then let the feeds break, and tell what arrives."""
    on_progress("stock", 0.55)
    book = book_stock(world, ledger, plans)
    on_progress("readings", 0.7)
    readings = read_sites(world, ledger, untroubled, plans)
    break_feeds(ledger, plans)
    on_progress("tables", 0.8)
    names = Names(world)
    sold, rows = transactions(world, names, ledger)
    tables = {
        "transaction": sold,
        "stock_level": stock_levels(world, names, book.levels),
        "stock_movement": stock_movements(world, names, book.movements),
        "restock": restocks(world, names, book.restocks),
        "site_reading": site_readings(world, names, readings),
        "verdict": verdicts(world, ledger, (sold, rows), plans),
    }
    affected = affected_events(ledger, readings, plans)
    on_progress("done", 1.0)
    return Simulated(world.config, tables, incident_truths(world, plans, affected), affected)


def write(simulated: Simulated, folder: Path, *, csv: bool = False, on_progress: Progress = _ignore) -> Manifest:
    """Write and seal the folder, and return its manifest; the same simulation gives the same bytes.

    `events/<kind>.parquet`, `truth/incidents.json`, `truth/affected.parquet`, `configuration.json`, and with `csv` the
    transactions once more as `raw/transactions.csv`. Raises ContractError if the folder holds anything already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ContractError(f"{folder} is not empty: choose another folder, or remove it first")
    for name in ("events", "truth"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number, (kind, table) in enumerate(simulated.tables.items()):
        on_progress(f"writing {kind}", number / len(simulated.tables))
        _write_parquet(table, folder / "events" / f"{kind}.parquet")
    if csv:
        _write_csv(simulated.tables["transaction"], folder / "raw" / "transactions.csv")
    _write_parquet(simulated.affected, folder / "truth" / "affected.parquet")
    _write_json([asdict(truth) for truth in simulated.incidents], folder / "truth" / "incidents.json")
    _write_json(simulated.config.model_dump(mode="json"), folder / CONFIGURATION)
    on_progress("sealing", 1.0)
    facts = {"source": "vigil simulate", "seed": simulated.config.seed, "fraud_shares": simulated.fraud_shares}
    return seal(folder, "events", rows=simulated.rows, facts=facts)


def _write_parquet(table: pa.Table, path: Path) -> None:
    keys = [field.name for field in table.schema if pa.types.is_dictionary(field.type)]
    pq.write_table(table, path, compression="zstd", use_dictionary=keys, row_group_size=1 << 18)


def _write_csv(table: pa.Table, path: Path) -> None:
    """Write the table as text: times are in UTC, keys are text, what is missing is empty."""
    path.parent.mkdir()
    plain = [pa.string() if pa.types.is_dictionary(field.type) else field.type for field in table.schema]
    columns = [column.cast(kind) for column, kind in zip(table.columns, plain, strict=True)]
    pv.write_csv(pa.Table.from_arrays(columns, names=table.column_names), path)


def _write_json(content: object, path: Path) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
