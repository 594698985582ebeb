"""What a user would write instead of the engine: the protocol's fifteen features in pandas, Polars, and DuckDB.

Each takes plain arrays with integer keys. A window sum of past events is the sum over the earlier grains of the window
and the running sum within the own grain; this is the same definition as the engine's. `exact` asks for sliding windows
that end at the event instead, which are not the same features but cheaper for a general engine.
"""

from collections.abc import Callable
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl

from vigil.clock import DAY, HOUR

WINDOWS = (("24h", HOUR, 24), ("7d", DAY, 7), ("30d", DAY, 30))
VERDICT_DELAY = 7 * DAY

Columns = dict[str, npt.NDArray[np.float64]]
Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """Events of one kind of entity in log order, and what each adds to a window."""

    key: Int64s
    time: Int64s
    values: Columns


@dataclass(frozen=True)
class Problem:
    """The whole task as arrays."""

    time: Int64s
    customer: Int64s
    terminal: Int64s
    amount: npt.NDArray[np.float64]
    is_fraud: npt.NDArray[np.float64]

    def payments(self) -> Rows:
        """Return the transactions by customer."""
        return Rows(self.customer, self.time, {"n": np.ones(len(self.time)), "amount": self.amount})

    def terminals(self) -> tuple[Rows, npt.NDArray[np.bool_]]:
        """Return transactions and verdicts by terminal in log order, and which of the rows are transactions."""
        count = len(self.time)
        time = np.concatenate([self.time + VERDICT_DELAY, self.time])
        order = np.argsort(time, kind="stable")
        zero, one = np.zeros(count), np.ones(count)
        values = {
            "n": np.concatenate([zero, one])[order],
            "verdicts": np.concatenate([one, zero])[order],
            "frauds": np.concatenate([self.is_fraud, zero])[order],
        }
        return Rows(np.tile(self.terminal, 2)[order], time[order], values), order >= count


Sums = Callable[[Rows, bool], Columns]
"""Returns for each value and window the sum over earlier events, under the name `value_window`."""


def features(problem: Problem, sums: Sums, exact: bool = False) -> Columns:
    """Return the twelve features that look back, by the engine's names, in the order of the transactions."""
    payments = sums(problem.payments(), exact)
    rows, is_transaction = problem.terminals()
    terminals = {name: column[is_transaction] for name, column in sums(rows, exact).items()}
    found = {}
    for name, _, _ in WINDOWS:
        count = payments[f"n_{name}"]
        verdicts = terminals[f"verdicts_{name}"]
        found[f"customer_count_{name}"] = count
        found[f"customer_amount_mean_{name}"] = _ratio(payments[f"amount_{name}"], count)
        found[f"terminal_count_{name}"] = terminals[f"n_{name}"]
        found[f"terminal_risk_{name}"] = _ratio(terminals[f"frauds_{name}"], verdicts)
    return found


def _ratio(total: npt.NDArray[np.float64], count: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.divide(total, count, out=np.zeros_like(total), where=count > 0)


def pandas_sums(rows: Rows, exact: bool) -> Columns:
    """Sums by `groupby.rolling` over a time index; a row is in its own window and taken out again."""
    names = list(rows.values)
    order = np.argsort(rows.key, kind="stable")
    frame = pd.DataFrame({"key": rows.key, **rows.values}).iloc[order]
    found: Columns = {}
    for window, grain, count in WINDOWS:
        stamp = (rows.time if exact else rows.time // grain * grain)[order]
        indexed = frame.set_index(pd.to_datetime(stamp, unit="us"))
        rolled = indexed.groupby("key", sort=False)[names].rolling(pd.Timedelta(count * grain, unit="us")).sum()
        earlier = np.empty((len(frame), len(names)))
        earlier[order] = rolled.to_numpy() - frame[names].to_numpy()
        found |= {f"{name}_{window}": earlier[:, k] for k, name in enumerate(names)}
    return found


def polars_rolling_sums(rows: Rows, exact: bool) -> Columns:
    """Sums by `rolling_sum_by` over each key."""
    frame = pl.DataFrame({"key": rows.key, "time": rows.time, **rows.values})
    wanted = []
    for window, grain, count in WINDOWS:
        stamp = pl.col("time") if exact else pl.col("time") // grain
        length = f"{count * grain}i" if exact else f"{count - 1}i"
        for name in rows.values:
            past = pl.col(name).rolling_sum_by(stamp, window_size=length, closed="left").over("key").fill_null(0.0)
            if not exact:
                past = past + pl.col(name).cum_sum().over(["key", stamp]) - pl.col(name)
            wanted.append(past.alias(f"{name}_{window}"))
    found = frame.lazy().select(wanted).collect()
    return {name: found[name].to_numpy() for name in found.columns}


def duckdb_window_sums(rows: Rows, exact: bool) -> Columns:
    """Sums by window functions over one order that holds grain and position."""
    frame = pd.DataFrame({"key": rows.key, "time": rows.time, "seq": np.arange(len(rows.key)), **rows.values})
    count = len(frame)
    windows, wanted = [], []
    for window, grain, length in WINDOWS:
        if exact:
            order, frame_clause = "time", f"{length * grain} PRECEDING"
        else:
            order = f"time // {grain} * {count} + seq"
            frame_clause = f"{(length - 1) * count} + seq PRECEDING"
        windows.append(
            f'"{window}" AS (PARTITION BY key ORDER BY {order} RANGE BETWEEN {frame_clause} AND 1 PRECEDING)'
        )
        wanted += [f'coalesce(sum("{name}") OVER "{window}", 0) AS "{name}_{window}"' for name in rows.values]
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute("SET enable_progress_bar = false")
        connection.register("events", frame)
        query = f"SELECT seq, {', '.join(wanted)} FROM events WINDOW {', '.join(windows)} ORDER BY seq"
        found = connection.execute(query).fetchnumpy()
    return {name: np.asarray(column, dtype=np.float64) for name, column in found.items() if name != "seq"}


def polars_join_sums(rows: Rows, exact: bool) -> Columns:
    """Sums as running sums less what they were before the window, which an as-of join finds."""
    names = list(rows.values)
    frame = pl.DataFrame({"key": rows.key, "time": rows.time, **rows.values}).with_row_index("seq").lazy()
    running = frame.with_columns(pl.col(name).cum_sum().over("key").alias(f"{name}_run") for name in names)
    joined = running
    for window, grain, count in WINDOWS:
        stamp, length = (pl.col("time"), count * grain) if exact else (pl.col("time") // grain, count)
        before = running.select(stamp.alias("edge"), "key", *(pl.col(f"{n}_run").alias(f"{n}_{window}") for n in names))
        joined = joined.with_columns(edge=stamp - length).join_asof(
            before, on="edge", by="key", strategy="backward", check_sortedness=False
        )
    wanted = [
        (pl.col(f"{name}_run") - pl.col(name) - pl.col(f"{name}_{window}").fill_null(0.0)).alias(f"{name}_{window}")
        for window, _, _ in WINDOWS
        for name in names
    ]
    found = joined.sort("seq").select(wanted).collect()
    return {name: found[name].to_numpy() for name in found.columns}


def duckdb_join_sums(rows: Rows, exact: bool) -> Columns:
    """Sums as running sums less what they were before the window, which as-of joins find."""
    frame = pd.DataFrame({"key": rows.key, "time": rows.time, "seq": np.arange(len(rows.key)), **rows.values})
    running = ", ".join(f'sum("{name}") OVER past AS "{name}_run"' for name in rows.values)
    wanted, joins = [], []
    for window, grain, count in WINDOWS:
        edge = f"e.time - {count * grain}" if exact else f"(e.time // {grain} - {count - 1}) * {grain} - 1"
        joins.append(f'ASOF LEFT JOIN running "{window}" ON "{window}".key = e.key AND "{window}".time <= {edge}')
        wanted += [
            f'e."{name}_run" - e."{name}" - coalesce("{window}"."{name}_run", 0) AS "{name}_{window}"'
            for name in rows.values
        ]
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute("SET enable_progress_bar = false")
        connection.register("events", frame)
        order = "PARTITION BY key ORDER BY seq ROWS UNBOUNDED PRECEDING"
        connection.execute(f"CREATE TABLE running AS SELECT *, {running} FROM events WINDOW past AS ({order})")
        query = f"SELECT e.seq AS seq, {', '.join(wanted)} FROM running e {' '.join(joins)}"
        found = connection.execute(query).fetchnumpy()
    place = np.argsort(found.pop("seq"))
    return {name: np.asarray(column, dtype=np.float64)[place] for name, column in found.items()}


def numpy_sums(rows: Rows, exact: bool) -> Columns:
    """Sums as running sums less what they were before the window, which a binary search finds: as fast as arrays go."""
    order = np.argsort(rows.key, kind="stable")
    key, found = rows.key[order], {}
    runs = {name: np.concatenate([[0.0], np.cumsum(values[order])]) for name, values in rows.values.items()}
    for window, grain, count in WINDOWS:
        stamp, length = (rows.time[order], count * grain) if exact else (rows.time[order] // grain, count)
        stamp = stamp - stamp.min() + length
        width = int(stamp.max()) + 1
        first = np.searchsorted(key * width + stamp, key * width + stamp - length, side="right")
        for name, run in runs.items():
            found[f"{name}_{window}"] = column = np.empty(len(key))
            column[order] = run[:-1] - run[first]
    return found


def recipe_sums(rows: Rows, exact: bool) -> Columns:
    """Sums as in the handbook: a function applied to each group, which rolls over its time index. Always exact."""
    frame = pd.DataFrame(rows.values, index=pd.to_datetime(rows.time, unit="us"))
    names = list(rows.values)
    lengths = {window: pd.Timedelta(count * grain, unit="us") for window, grain, count in WINDOWS}

    def look_back(group: pd.DataFrame) -> pd.DataFrame:
        rolled = [group.rolling(length)[names].sum().add_suffix(f"_{window}") for window, length in lengths.items()]
        return pd.concat(rolled, axis=1)

    found = frame.groupby(rows.key, sort=False)[names].apply(look_back)
    return {name: found[name].to_numpy() for name in found.columns}


PANDAS: dict[str, Sums] = {"pandas": pandas_sums}
ENGINES: dict[str, Sums] = {
    "Polars rolling": polars_rolling_sums,
    "Polars join": polars_join_sums,
    "DuckDB windows": duckdb_window_sums,
    "DuckDB join": duckdb_join_sums,
}
"""Two ways for each, because it is not obvious which is faster; the fastest of all counts."""
BY_HAND: dict[str, Sums] = {"NumPy by hand": numpy_sums}
PEERS = PANDAS | ENGINES | BY_HAND
