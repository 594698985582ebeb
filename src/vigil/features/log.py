"""The event log: all kinds of events of a use case in one order, and the numbers that entities' keys stand for.

The order is total: event time, then kind (what is known comes before what asks), then event id. So any set of events
has one log, however it arrived.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vigil.clock import DAY, HOUR, MINUTE
from vigil.contracts.events import EVENTS, check_table
from vigil.errors import ContractError

KINDS = ("verdict", "stock_level", "restock", "stock_movement", "transaction")
"""The kinds that features are made of, in the order in which events of one time are taken."""

TRANSACTION = KINDS.index("transaction")

KEY_COLUMNS = (
    "customer_id",
    "card_id",
    "terminal_id",
    "site_id",
    "site_group",
    "product_id",
    "supplier_id",
)
"""Columns whose values name entities."""

KEY_CODE_BITS = 52
"""Width of a key's code: it must be exact in a float64."""

_MONDAY = 3
"""1970-01-01 was a Thursday."""

Int64s = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Slice:
    """Consecutive rows of one kind of event."""

    kind: int
    table: pa.Table
    times: Int64s

    def number(self, column: str) -> Floats:
        """Return a numeric column as float64; NaN for a null or where the kind has no such column."""
        if column not in self.table.column_names:
            return np.full(len(self.times), np.nan)
        values = self.table[column]
        if pa.types.is_boolean(values.type):
            values = values.cast(pa.int8())
        return np.asarray(values.cast(pa.float64()).fill_null(np.nan).to_numpy())

    def local(self) -> Int64s:
        """Return local wall-clock times, as microseconds."""
        offsets = self.table["utc_offset_minutes"].cast(pa.int64()).to_numpy()
        return np.asarray(self.times + offsets * MINUTE)

    def is_kind(self, name: str) -> Floats:
        """Return 1 for every row if the rows are of the kind, else missing."""
        return np.full(len(self.times), 1.0 if KINDS[self.kind] == name else np.nan)


def _month(rows: Slice) -> Floats:
    months = rows.local().astype("datetime64[us]").astype("datetime64[M]").astype(np.int64)
    return np.asarray(months % 12 + 1, dtype=np.float64)


def key_code(key: str) -> int:
    """Return the number that stands for a key inside a state: 52 bits of its SHA-256."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> (64 - KEY_CODE_BITS)


def _supplier_code(rows: Slice) -> Floats:
    if "supplier_id" not in rows.table.column_names:
        return np.full(len(rows.times), np.nan)
    codes, values = _dictionary(rows.table["supplier_id"])
    numbers = np.array([*(key_code(value) for value in values.to_pylist()), np.nan], dtype=np.float64)
    return np.asarray(numbers[codes])


FIELDS: dict[str, Callable[[Slice], Floats]] = {
    "time": lambda rows: rows.times.astype(np.float64),
    "hour": lambda rows: (rows.local() // HOUR % 24).astype(np.float64),
    "weekday": lambda rows: ((rows.local() // DAY + _MONDAY) % 7).astype(np.float64),
    "month": _month,
    "quarter": lambda rows: np.floor((_month(rows) - 1) / 3) + 1,
    "amount": lambda rows: rows.number("amount"),
    "quantity": lambda rows: rows.number("quantity"),
    "on_hand": lambda rows: rows.number("on_hand"),
    "reorder_level": lambda rows: rows.number("reorder_level"),
    "is_fraud": lambda rows: rows.number("is_fraud"),
    "supplier_code": _supplier_code,
    **{f"is_{kind}": (lambda rows, kind=kind: rows.is_kind(kind)) for kind in KINDS},
}
"""Fields of an event that formulas can use. Times are microseconds, hours and weekdays local, Monday is 0."""


def _dictionary(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.int64], pa.Array]:
    """Return the position of each row's value in the distinct values, -1 for a null, and these values."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    combined = column.unify_dictionaries().combine_chunks()
    if isinstance(combined, pa.ChunkedArray):
        if combined.num_chunks == 0:
            return np.empty(0, dtype=np.int64), pa.array([], pa.string())
        combined = combined.chunk(0)
    return combined.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False), combined.dictionary


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
        """Return the named fields as a matrix of shape (events, fields)."""
        matrix = np.empty((len(self.times), len(names)))
        for places, rows in self.parts:
            for column, name in enumerate(names):
                matrix[places, column] = FIELDS[name](rows)
        return matrix

    def transaction_ids(self) -> pa.Array:
        """Return the event ids of the chunk's transactions, in log order."""
        found = [rows.table["event_id"].chunks for _, rows in self.parts if rows.kind == TRANSACTION]
        return pa.concat_arrays([pa.array([], pa.string()), *(chunk for chunks in found for chunk in chunks)])


def _joined(table: pa.Table, columns: tuple[str, ...]) -> tuple[Int64s, pa.Array]:
    """Return positions and distinct keys over one or more columns; several are joined by `entity_key`."""
    positions, values = _dictionary(table[columns[0]])
    for column in columns[1:]:
        more, others = _dictionary(table[column])
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
    present = [value for value in values if value is not None]
    return SEPARATOR.join(present) if len(present) == len(values) else None


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

    def entity_numbers(self, columns: tuple[str, ...], index: KeyIndex) -> npt.NDArray[np.int32]:
        """Return the number of each event's entity in log order, -1 where it lacks one of the columns."""
        numbers = np.full(len(self.times), -1, dtype=np.int32)
        first = 0
        for rows in self.slices:
            if set(columns) <= set(rows.table.column_names):
                numbers[first : first + len(rows.times)] = index.encode(*_joined(rows.table, columns))
            first += len(rows.times)
        return numbers[self.order]

    def chunks(self, rows: int, start: int = 0, stop: int | None = None) -> Iterator[Chunk]:
        """Yield the log from `start` to `stop` in chunks of at most `rows` events."""
        for first in range(start, len(self) if stop is None else stop, rows):
            yield self.chunk(first, min(first + rows, len(self) if stop is None else stop))

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
