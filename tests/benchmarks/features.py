"""What the feature engine is worth (`make bench-features`): speed beside its peers, increments, memory, look-ups.

`python -m tests.benchmarks.features [engines increment memory online batch cache simulate]` runs the named parts, or
all; numbers of parts that do not run stay as they were in the file.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa

from tests.benchmarks.features_memory import peak_ratio
from tests.benchmarks.features_peers import ENGINES, PEERS, Columns, Problem, Rows, features, recipe_sums
from tests.benchmarks.report import Number, publish
from tests.features.handbook import PATH, canonical, read_raw
from tests.features.redis_server import SERVER, running_redis
from tests.features.store.skewed import measure_hit_ratio
from vigil.clock import DAY
from vigil.contracts.events import EVENTS, Event
from vigil.features.compiler import Program, compile_features
from vigil.features.definitions import FeatureConfig, define
from vigil.features.engine import FeatureTable, compute
from vigil.features.incremental import FeatureStore
from vigil.features.log import EventLog
from vigil.features.online import OnlineFeatures
from vigil.features.store import MemoryStore, SqliteStore, StateStore
from vigil.features.store.redis_store import RedisStore
from vigil.simulate import preset, simulate, write

REPEATS = 3
REBUILT_DAYS = 150
ONLINE_WARM_UP, ONLINE_EVENTS = 2_000, 20_000
BATCH_ROWS, BATCH_EVENTS = 1_024, 40_960
ZIPF_EXPONENT, ZIPF_KEYS = 1.2, 100_000

Tables = dict[str, pa.Table]


@cache
def program() -> Program:
    """Return the protocol's fifteen features, compiled and run once."""
    compiled = compile_features(define(FeatureConfig(groups=("protocol",))))
    compute(compiled, EventLog.of({kind: table.slice(0, 1_000) for kind, table in tables().items()}))
    return compiled


@cache
def tables() -> Tables:
    """Return the whole of fraud_handbook as canonical events."""
    return canonical(read_raw())


def problem() -> Problem:
    """Return the same as arrays with integer keys."""
    raw = read_raw()
    return Problem(
        time=raw["TX_DATETIME"].to_numpy().astype("datetime64[us]").astype(np.int64),
        customer=raw["CUSTOMER_ID"].to_numpy().astype(np.int64),
        terminal=raw["TERMINAL_ID"].to_numpy().astype(np.int64),
        amount=raw["TX_AMOUNT"].to_numpy(),
        is_fraud=raw["TX_FRAUD"].to_numpy().astype(np.float64),
    )


@dataclass(frozen=True)
class Times:
    """Seconds of several runs."""

    ours: float
    alone: float
    """Ours, on one core."""
    theirs: dict[str, float]
    recipe: float


def engines() -> list[Number]:
    """Compare with pandas, Polars, and DuckDB: results first, then times, in turn."""
    times = _race(problem())
    events = sum(part.num_rows for part in tables().values())
    sold = tables()["transaction"].num_rows
    fastest = min(ENGINES, key=lambda name: times.theirs[name])
    windows = min(times.theirs["Polars rolling"], times.theirs["DuckDB windows"]) / times.ours
    shared = f"{sold:,} transactions and as many verdicts, 15 features, equal results"
    recipe = f"the best pandas that we know; the published recipe takes {times.recipe / times.ours:.0f} times"
    speed = f"sorting and key encoding included; {sold / times.alone:,.0f} transactions/s with their verdicts"
    joins = f"{fastest} on {os.cpu_count()} cores; the best window functions take {windows:.1f} times"
    to_pandas, to_best = (times.theirs[name] / times.ours for name in ("pandas", fastest))
    return [
        Number("ratio_to_pandas", to_pandas, "times", "higher", 20, f"{recipe}; {shared}"),
        Number("ratio_to_best_engine", to_best, "times", "higher", 5, f"{joins}; {shared}"),
        Number("events_per_second_core", events / times.alone, "events/s", "higher", 2e6, speed),
    ]


def _race(task: Problem) -> Times:
    """Return the median times of all engines, which take turns, after a check of every result."""
    ours: list[float] = []
    alone: list[float] = []
    theirs: dict[str, list[float]] = {name: [] for name in PEERS}
    exact: dict[str, list[float]] = {name: [] for name in PEERS}
    program()  # reads the data and compiles, before any time is taken
    table = _timed(lambda: compute(program(), EventLog.of(tables())), ours)
    for _ in range(REPEATS):
        for name, sums in PEERS.items():
            _compare(name, table, _timed(lambda sums=sums: features(task, sums), theirs[name]))
        _timed(lambda: compute(program(), EventLog.of(tables())), ours)
        _timed(lambda: compute(replace(program(), threads=1), EventLog.of(tables())), alone)
    for name, sums in PEERS.items():
        _timed(lambda sums=sums: features(task, sums, exact=True), exact[name])
        spent = f"{median(theirs[name]):.1f} s, with exact sliding windows {exact[name][0]:.1f} s"
        print(f"{name:14} {spent}; ours {median(ours):.2f} s, on one core {median(alone):.2f} s")
    recipe = _recipe_seconds(task)
    print(f"pandas as in the published recipe, a function for each group: {recipe:.0f} s, from one entity in ten")
    return Times(median(ours), median(alone), {name: median(seconds) for name, seconds in theirs.items()}, recipe)


def _recipe_seconds(task: Problem) -> float:
    """Return what the published recipe would take for all, from a tenth of the customers and of the terminals."""
    seconds: list[float] = []
    for keys, rows in ((task.customer, task.payments()), (task.terminal, task.terminals()[0])):
        mine = np.isin(rows.key, np.unique(keys)[::10])
        part = Rows(rows.key[mine], rows.time[mine], {name: values[mine] for name, values in rows.values.items()})
        _timed(lambda part=part: recipe_sums(part, True), seconds)
    return 10 * sum(seconds)


def _timed(work: Callable[[], object], seconds: list[float]) -> object:
    started = time.perf_counter()
    result = work()
    seconds.append(time.perf_counter() - started)
    return result


def _compare(name: str, ours: object, theirs: object) -> None:
    """Exit if a peer's feature differs from ours by more than float32 explains."""
    assert isinstance(ours, FeatureTable)
    found: Columns = theirs  # type: ignore[assignment]
    for feature, column in found.items():
        mine = ours.values[:, ours.names.index(feature)]
        if not np.allclose(mine, column, rtol=2e-6, atol=1e-6):
            sys.exit(f"{name} differs from the engine in {feature}: no times are published")


def increment() -> list[Number]:
    """Compare one more day with the rebuild of all days before, each with reading and writing."""
    start = int(tables()["transaction"]["event_time"].cast(pa.int64())[0].as_py()) // DAY * DAY
    bounds = [0, start + REBUILT_DAYS * DAY, *(start + (REBUILT_DAYS + k) * DAY for k in range(1, REPEATS + 1))]
    seconds: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore(Path(folder), program())
        for low, high in pairwise(bounds):
            part = {kind: _between(table, low, high) for kind, table in tables().items()}
            _timed(lambda part=part: store.update(part), seconds)
    ratio = median(seconds[1:]) / seconds[0]
    words = f"{REBUILT_DAYS} days in {seconds[0]:.2f} s, a day in {median(seconds[1:]):.3f} s, from file to file"
    return [Number("increment_over_rebuild", ratio, "ratio", "lower", 0.02, words)]


def _between(table: pa.Table, low: int, high: int) -> pa.Table:
    times = table["event_time"].cast(pa.int64()).to_numpy()
    return table.filter(pa.array((times >= low) & (times < high)))


def memory() -> list[Number]:
    """Compare the peak of ten times the events with that of one time, at the same number of entities."""
    small, large = peak_ratio()
    words = f"{small:.0f} MiB for one time, {large:.0f} MiB for ten times the events of the same entities, day by day"
    return [Number("peak_mib_10x_over_1x", large / small, "ratio", "lower", 1.2, words)]


def online() -> list[Number]:
    """Measure look-up, features and write-back of single events."""
    number = _latency(MemoryStore())
    words = f"look-up, {len(program().names)} features and write-back of a transaction; median {number[0]:.0f} us"
    found = [Number("online_memory_p99_us", number[1], "us", "lower", 100, words)]
    if SERVER is None:
        print("redis-server is not installed (apt-get install redis-server): online_redis_p99_ms is left as it was")
        return found
    with running_redis() as url, RedisStore(url, "bench") as store:
        middle, high = _latency(store)
    words = f"the same through Redis on loopback; median {middle / 1e3:.2f} ms"
    return [*found, Number("online_redis_p99_ms", high / 1e3, "ms", "lower", 1, words)]


def _latency(store: StateStore) -> tuple[float, float]:
    """Return median and 99th percentile in microseconds over transactions in the order of time."""
    rows = tables()["transaction"].slice(0, ONLINE_WARM_UP + ONLINE_EVENTS).to_pylist()
    events: list[Event] = [EVENTS["transaction"].model_validate(row) for row in rows]
    featurizer = OnlineFeatures(program(), store)
    nanos = np.empty(len(events))
    for k, event in enumerate(events):
        started = time.perf_counter_ns()
        featurizer.process(event)
        nanos[k] = time.perf_counter_ns() - started
    middle, high = np.percentile(nanos[ONLINE_WARM_UP:] / 1e3, [50, 99])
    return float(middle), float(high)


def batch() -> list[Number]:
    """Measure batches of transactions over each store, on the processor time of one thread."""
    with tempfile.TemporaryDirectory() as folder, SqliteStore(Path(folder) / "states.sqlite", "bench") as store:
        words = [f"SQLite {_batch_speed(store):,.0f}"]
    if SERVER is not None:
        with running_redis() as url, RedisStore(url, "bench") as store:
            words.append(f"Redis {_batch_speed(store):,.0f}, its own time not counted")
    beside = f"tables of {BATCH_ROWS:,} rows, {len(program().names)} features, memory; {'; '.join(words)}"
    return [Number("online_batch_per_second_core", _batch_speed(MemoryStore()), "rows/s", "higher", 2e4, beside)]


def _batch_speed(store: StateStore) -> float:
    rows = tables()["transaction"].slice(0, ONLINE_WARM_UP + BATCH_EVENTS)
    featurizer = OnlineFeatures(program(), store)
    featurizer.process_many(rows.slice(0, ONLINE_WARM_UP))
    started = time.process_time()
    for first in range(ONLINE_WARM_UP, rows.num_rows, BATCH_ROWS):
        featurizer.process_many(rows.slice(first, BATCH_ROWS))
    return BATCH_EVENTS / (time.process_time() - started)


def cache_hits() -> list[Number]:
    """Measure the cache on skewed keys."""
    ratio = measure_hit_ratio(keys=ZIPF_KEYS, exponent=ZIPF_EXPONENT)
    words = (
        f"cache of a tenth of {ZIPF_KEYS:,} keys, Zipf exponent {ZIPF_EXPONENT}; "
        f"knowing the distribution would give {ratio.best:.3f}"
    )
    return [Number("cache_hit_ratio", ratio.measured, "share", "higher", 0.9, words)]


def generator() -> list[Number]:
    """Measure the generator, writing included."""
    config = preset("million")
    seconds: list[float] = []
    simulate(preset("small"))
    with tempfile.TemporaryDirectory() as folder:
        made = _timed(lambda: simulate(config), seconds)
        _timed(lambda: write(made, Path(folder) / "made"), seconds)  # type: ignore[arg-type]
    count = sum(table.num_rows for table in made.tables.values())  # type: ignore[attr-defined]
    words = f"{count:,} events of six kinds, Parquet and seal included"
    return [Number("simulate_events_per_second", count / sum(seconds), "events/s", "higher", 2e5, words)]


PARTS: dict[str, Callable[[], list[Number]]] = {
    "engines": engines,
    "increment": increment,
    "memory": memory,
    "online": online,
    "batch": batch,
    "cache": cache_hits,
    "simulate": generator,
}


def main(names: list[str]) -> None:
    """Run the parts and publish their numbers."""
    if not PATH.exists():
        sys.exit(f"{PATH} is absent: set VIGIL_DATA to the folder of the reference data")
    for name in names or list(PARTS):
        publish("features", PARTS[name]())


if __name__ == "__main__":
    main(sys.argv[1:])
