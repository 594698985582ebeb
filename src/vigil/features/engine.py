"""Runs a compiled program over event logs: whole, or day by day from the state that the last run left.

The guarantee: however the log is cut into updates, and however late its events arrive within the allowed lateness, the
features are those of one run over the sorted log, bit for bit.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vigil.features import kernel
from vigil.features.compiler import Block, Program, Stage
from vigil.features.fields import TRANSACTION
from vigil.features.kernel import Floats, Int64s
from vigil.features.log import Chunk, EventLog, KeyIndex

CHUNK_BYTES = 1 << 25
"""Memory for what a chunk of events is computed in."""

LEAST_ROWS, MOST_ROWS = 1 << 14, 1 << 16
"""Bounds of a chunk: large enough that an entity's state is fetched for several of its events."""

Features = npt.NDArray[np.float32]
Numbers = dict[str, npt.NDArray[np.int32]]
"""For each entity its number in each event, -1 for none."""

Progress = Callable[[int], None]
"""Is told how many more events are done."""


@dataclass
class BlockState:
    """The states of all entities of one block: one row each, in the order of their `KeyIndex`."""

    rows: Int64s

    def grow(self, count: int) -> None:
        """Make room for `count` entities; new ones have no past."""
        if count > len(self.rows):
            capacity = max(count, len(self.rows) * 3 // 2)
            grown = np.empty((capacity, self.rows.shape[1]), dtype=np.int64)  # unlike zeros, on huge pages
            grown[: len(self.rows)] = self.rows
            grown[len(self.rows) :] = 0
            self.rows = grown


@dataclass
class EngineState:
    """Everything that the past has left: the entities and their states."""

    indexes: dict[str, KeyIndex] = field(default_factory=dict)
    blocks: dict[int, BlockState] = field(default_factory=dict)

    def copy(self) -> "EngineState":
        """Return a state that can be changed without changing this one."""
        indexes = {name: KeyIndex(index.keys, index.codes) for name, index in self.indexes.items()}
        return EngineState(indexes, {row: BlockState(block.rows.copy()) for row, block in self.blocks.items()})


def new_state(program: Program) -> EngineState:
    """Return the state of a program that has seen nothing."""
    state = EngineState()
    for stage in program.stages:
        for block in stage.blocks:
            state.indexes.setdefault(block.entity.name, KeyIndex())
            state.blocks[block.row] = BlockState(np.zeros((0, block.width), dtype=np.int64))
    return state


@dataclass(frozen=True)
class FeatureTable:
    """Features of transactions in log order: ids, times (microseconds), and values of shape (rows, features)."""

    event_ids: pa.Array
    times: Int64s
    values: Features
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.times)

    def to_arrow(self) -> pa.Table:
        """Return a table of event_id, event_time and a float32 column per feature."""
        columns = {
            "event_id": self.event_ids,
            "event_time": pa.array(self.times).cast(pa.timestamp("us", tz="UTC")),
            **{name: pa.array(self.values[:, k]) for k, name in enumerate(self.names)},
        }
        return pa.table(columns)

    @classmethod
    def empty(cls, names: tuple[str, ...]) -> "FeatureTable":
        """Return a table without rows."""
        return cls(pa.array([], pa.string()), np.empty(0, np.int64), np.empty((0, len(names)), np.float32), names)

    def join(self, other: "FeatureTable") -> "FeatureTable":
        """Return the rows of this table, then those of the other."""
        ids = pa.concat_arrays([self.event_ids, other.event_ids])
        times = np.concatenate([self.times, other.times])
        return FeatureTable(ids, times, np.concatenate([self.values, other.values]), self.names)


def run(
    program: Program,
    log: EventLog,
    state: EngineState,
    *,
    start: int = 0,
    stop: int | None = None,
    progress: Progress | None = None,
) -> FeatureTable:
    """Fold the log's positions from `start` to `stop` into `state`; return the features of their transactions."""
    end = len(log) if stop is None else stop
    numbers = _number_entities(program, log, state)
    rows = chunk_rows(program)
    values = np.empty((log.count_transactions(start, end), len(program.features)), dtype=np.float32)
    done, ids, times = 0, [pa.array([], pa.string())], [np.empty(0, np.int64)]
    with ThreadPoolExecutor(program.threads) as pool:
        for first in range(start, end, rows):
            last = min(first + rows, end)
            chunk = log.chunk(first, last)
            ids.append(chunk.transaction_ids())
            times.append(chunk.times[chunk.kinds == TRANSACTION])
            out = values[done : done + len(times[-1])]
            part = {name: column[first:last] for name, column in numbers.items()}
            _run_chunk(_Run(program, state, pool), chunk, part, out)
            done += len(out)
            if progress is not None:
                progress(last - first)
    return FeatureTable(pa.concat_arrays(ids), np.concatenate(times), values, program.names)


def chunk_rows(program: Program) -> int:
    """Return how many events of the program are computed at once."""
    width = 8 * (program.n_aggregates + program.n_measures + len(program.fields))
    return int(np.clip(CHUNK_BYTES // width, LEAST_ROWS, MOST_ROWS))


def compute(program: Program, log: EventLog, state: EngineState | None = None) -> FeatureTable:
    """Return the features of all transactions of the log; `state` is moved to its end."""
    return run(program, log, state or new_state(program))


def compute_tables(program: Program, tables: Mapping[str, pa.Table]) -> FeatureTable:
    """Return the features of all transactions among the tables by kind of event."""
    return compute(program, EventLog.of(tables))


def _number_entities(program: Program, log: EventLog, state: EngineState) -> Numbers:
    """Return each entity's number for each event, and make room for those that are new."""
    entities = {block.entity.name: block.entity for stage in program.stages for block in stage.blocks}
    numbers = {name: log.entity_numbers(entity.columns, state.indexes[name]) for name, entity in entities.items()}
    for stage in program.stages:
        for block in stage.blocks:
            state.blocks[block.row].grow(len(state.indexes[block.entity.name]))
    return numbers


@dataclass(frozen=True)
class _Run:
    """What all chunks of a run share."""

    program: Program
    state: EngineState
    pool: ThreadPoolExecutor


def _run_chunk(shared: _Run, chunk: Chunk, numbers: Numbers, out: Features) -> None:
    """Fold the chunk into the state and write the features of its transactions to `out`."""
    program = shared.program
    fields = chunk.fields(program.fields)
    work = kernel.Work(
        times=chunk.times,
        emits=chunk.kinds == TRANSACTION,
        measures=np.empty((len(chunk.times), program.n_measures), dtype=np.int64),
        aggregates=np.empty((len(chunk.times), program.n_aggregates), dtype=np.int64),
    )
    for stage in program.stages:
        _run_stage(shared, stage, fields, work, numbers)
    rows = np.flatnonzero(work.emits)
    kernel.run_features(*program.code, program.results, program.defaults, fields, work.aggregates, rows, out)


def _run_stage(shared: _Run, stage: Stage, fields: Floats, work: kernel.Work, numbers: Numbers) -> None:
    """Compute the stage's measures, then fold its blocks side by side: each has columns and states of its own."""
    kernel.run_measures(*stage.measures, stage.results, stage.per_unit, fields, work.aggregates, work.measures)
    if stage.emits_all:
        work = work._replace(emits=np.ones_like(work.emits))

    def fold(block: Block) -> None:
        of_block = _looked_up(block, numbers[block.entity.name], work, shared.state)
        kernel.fold_block(of_block, work, shared.state.blocks[block.row].rows, block.row, shared.program.tables)

    list(shared.pool.map(fold, stage.blocks))


def _looked_up(
    block: Block, numbers: npt.NDArray[np.int32], work: kernel.Work, state: EngineState
) -> npt.NDArray[np.int32]:
    """Return the entity's number for each event, those that only another entity's memory knows included."""
    if block.key_measure is None:
        return numbers
    codes = work.measures[:, block.key_measure]
    led = (numbers < 0) & (codes != kernel.MISSING)
    found = state.indexes[block.entity.name].find_codes(codes[led])
    numbers = numbers.copy()
    numbers[led] = found
    return numbers
