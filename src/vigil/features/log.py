"""The event log: all kinds of events of a use case in one order, and the numbers that entities' keys stand for.

The order is total: event time, then kind (what is known comes before what asks), then event id. So any set of events
has one log, however it arrived.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vigil.contracts.events import EVENTS, check_table
from vigil.errors import ContractError
from vigil.features.fields import FIELDS, KINDS, TRANSACTION, Slice, dictionary, key_code

Int64s = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass
class KeyIndex:
    """Numbers the keys of an entity in the order in which they are first seen."""

    keys: pa.Array = field(default_factory=lambda: pa.array([], pa.string()))
    codes: Int64s = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """`key_code` of each key, where the entity is looked up by it."""

    def __len__(self) -> int:
        return len(self.keys)

    def encode(self, positions: Int64s, values: pa.Array) -> Int64s:
        """Return the number of each row's key, -1 for none; keys never seen before get the next numbers."""
        if not len(values):
            return positions
        used = np.zeros(len(values), dtype=bool)
        used[positions[positions >= 0]] = True
        known = pc.index_in(values, value_set=self.keys).fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        new = np.flatnonzero(used & (known < 0))
        if len(new):
            known[new] = len(self.keys) + np.arange(len(new))
            self.keys = pa.concat_arrays([self.keys, values.take(pa.array(new)).cast(pa.string())])
        return np.where(positions >= 0, known[positions], -1)

    def find_codes(self, codes: Int64s) -> Int64s:
        """Return the number of the key that each `key_code` stands for, -1 for none that was seen."""
        if len(self.codes) < len(self.keys):
            fresh = [key_code(key) for key in self.keys[len(self.codes) :].to_pylist()]
            self.codes = np.concatenate([self.codes, np.array(fresh, dtype=np.int64)])
        order = np.argsort(self.codes)
        place = np.searchsorted(self.codes, codes, sorter=order)
        found = order[np.minimum(place, len(order) - 1)] if len(order) else np.zeros(len(codes), dtype=np.int64)
        hit = self.codes[found] == codes if len(order) else np.zeros(len(codes), dtype=bool)
        return np.where(hit, found, -1)


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows of the log."""

    times: Int64s
    kinds: npt.NDArray[np.int8]
    parts: tuple[tuple[npt.NDArray[np.int64], Slice], ...]
    """For each kind of event: the positions of its rows in the chunk, and the rows."""

    def fields(self, names: tuple[str, ...]) -> Floats:
        """Return the named fields as a matrix of shape (fields, events)."""
        matrix = np.empty((len(names), len(self.times)))
        for places, rows in self.parts:
            for name, values in zip(names, matrix, strict=True):
                values[places] = FIELDS[name](rows)
        return matrix

    def transaction_ids(self) -> pa.Array:
        """Return the event ids of the chunk's transactions, in log order."""
        found = [rows.table["event_id"].chunks for _, rows in self.parts if rows.kind == TRANSACTION]
        return pa.concat_arrays([pa.array([], pa.string()), *(chunk for chunks in found for chunk in chunks)])


def _joined(table: pa.Table, columns: tuple[str, ...]) -> tuple[Int64s, pa.Array]:
    """Return positions and distinct keys over one or more columns; several are joined by `entity_key`."""
    positions, values = dictionary(table[columns[0]])
    for column in columns[1:]:
        more, others = dictionary(table[column])
        present = (positions >= 0) & (more >= 0)
        pairs, inverse = np.unique(positions[present] * max(len(others), 1) + more[present], return_inverse=True)
        left, right = np.divmod(pairs, max(len(others), 1))
        values = pc.binary_join_element_wise(
            values.take(pa.array(left)).cast(pa.string()), others.take(pa.array(right)).cast(pa.string()), SEPARATOR
        )
        positions = np.full(len(positions), -1, dtype=np.int64)
        positions[present] = inverse
    return positions, values


SEPARATOR = "\x1f"


def entity_key(values: tuple[str | None, ...]) -> str | None:
    """Return the key of an entity that several values name together; None if one of them is missing."""
    if None in values:
        return None
    return values[0] if len(values) == 1 else SEPARATOR.join(map(str, values))


@dataclass(frozen=True)
class EventLog:
    """The events of a use case in log order."""

    slices: tuple[Slice, ...]
    order: Int64s
    """Positions in the concatenation of the slices."""
    times: Int64s
    """Event times in log order, microseconds."""

    @classmethod
    def of(cls, tables: Mapping[str, pa.Table]) -> "EventLog":
        """Return the log of the tables by kind; kinds that no feature uses are left out.

        Raises ContractError for an unknown kind, a wrong column, or an event that is there twice.
        """
        unknown = sorted(set(tables) - set(EVENTS))
        if unknown:
            raise ContractError(f"unknown event kind {unknown[0]!r}: one of {', '.join(EVENTS)}")
        slices = [_sorted_slice(kind, tables[name]) for kind, name in enumerate(KINDS) if name in tables]
        times = np.concatenate([part.times for part in slices]) if slices else np.empty(0, dtype=np.int64)
        order = np.argsort(times, kind="stable")
        return cls(tuple(slices), order, times[order])

    def __len__(self) -> int:
        return len(self.times)

    def count_transactions(self, start: int, stop: int) -> int:
        """Return how many of the rows from `start` to `stop` are transactions."""
        order, first = self.order[start:stop], 0
        for rows in self.slices:
            if rows.kind == TRANSACTION:
                return int(np.count_nonzero((order >= first) & (order < first + len(rows.times))))
            first += len(rows.times)
        return 0

    def entity_numbers(self, columns: tuple[str, ...], index: KeyIndex) -> npt.NDArray[np.int32]:
        """Return the number of each event's entity in log order, -1 where it lacks one of the columns."""
        numbers = np.full(len(self.times), -1, dtype=np.int32)
        first = 0
        for rows in self.slices:
            if set(columns) <= set(rows.table.column_names):
                numbers[first : first + len(rows.times)] = index.encode(*_joined(rows.table, columns))
            first += len(rows.times)
        return numbers[self.order]

    def chunk(self, start: int, stop: int) -> Chunk:
        """Return the rows from `start` to `stop`."""
        order = self.order[start:stop]
        kinds = np.empty(stop - start, dtype=np.int8)
        parts = []
        first = 0
        for rows in self.slices:
            places = np.flatnonzero((order >= first) & (order < first + len(rows.times)))
            if len(places):
                begin, end = order[places[0]] - first, order[places[-1]] - first + 1
                part = Slice(rows.kind, rows.table.slice(begin, end - begin), rows.times[begin:end])
                parts.append((places, part))
                kinds[places] = rows.kind
            first += len(rows.times)
        return Chunk(self.times[start:stop], kinds, tuple(parts))


def _sorted_slice(kind: int, table: pa.Table) -> Slice:
    """Return the table in log order, with all keys as dictionaries."""
    table = check_table(EVENTS[KINDS[kind]], table).combine_chunks().unify_dictionaries()
    times = table["event_time"].cast(pa.int64()).to_numpy()
    order = np.argsort(times, kind="stable")
    tied = _tied(times[order])
    if len(tied):
        ids = table["event_id"].take(pa.array(order[tied])).to_numpy(zero_copy_only=False).astype(str)
        by_id = np.lexsort((ids, times[order[tied]]))
        order[tied] = order[tied][by_id]
        _refuse_twins(KINDS[kind], times[order[tied]], ids[by_id])
    if np.any(order[1:] < order[:-1]):
        table, times = table.take(pa.array(order)), times[order]
    return Slice(kind, table, np.ascontiguousarray(times))


def _tied(times: Int64s) -> Int64s:
    """Return the positions that share their time with a neighbour, in sorted `times`."""
    same = times[1:] == times[:-1]
    return np.flatnonzero(np.append(same, False) | np.insert(same, 0, False))


def _refuse_twins(kind: str, times: Int64s, ids: npt.NDArray[np.str_]) -> None:
    twin = np.flatnonzero((times[1:] == times[:-1]) & (ids[1:] == ids[:-1]))
    if len(twin):
        raise ContractError(f"{kind} {ids[twin[0]]!r} is there twice: remove duplicates, as `vigil ingest` does")
