"""The fields of an event that formulas can use: one definition for columns of a log and for a single event.

`Slice` (numpy arrays, one entry per row) and `SingleRow` (plain numbers) give their rows in the same terms, and the
formulas use only arithmetic that is the same for both.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vigil.clock import DAY, HOUR, MINUTE, to_micros
from vigil.contracts.events import Event

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

_THURSDAY = 3
"""Weekday of 1970-01-01."""

Value = Any
"""A number, or an array of numbers."""


class Rows(Protocol):
    """One event or several of one kind."""

    def time(self) -> Value:
        """Return event times, microseconds."""

    def local(self) -> Value:
        """Return local wall-clock times, microseconds."""

    def number(self, column: str) -> Value:
        """Return a numeric column as float64; NaN for a null and where the kind has no such column."""

    def key_code(self, column: str) -> Value:
        """Return the `key_code` of a key column as float64; NaN where there is none."""

    def is_kind(self, name: str) -> Value:
        """Return 1 if the kind of event is `name`, else NaN."""


def key_code(key: str) -> int:
    """Return the number that stands for a key inside a state: 52 bits of its SHA-256."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> (64 - KEY_CODE_BITS)


def _month(rows: Rows) -> Value:
    """Return the local month, 1 to 12, from the day number (Howard Hinnant's civil_from_days)."""
    day_of_era = (rows.local() // DAY + 719_468) % 146_097
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    return ((5 * day_of_year + 2) // 153 + 2) % 12 + 1


FIELDS: dict[str, Callable[[Rows], Value]] = {
    "time": lambda rows: rows.time(),
    "hour": lambda rows: rows.local() // HOUR % 24,
    "weekday": lambda rows: (rows.local() // DAY + _THURSDAY) % 7,
    "month": _month,
    "quarter": lambda rows: (_month(rows) + 2) // 3,
    "amount": lambda rows: rows.number("amount"),
    "quantity": lambda rows: rows.number("quantity"),
    "on_hand": lambda rows: rows.number("on_hand"),
    "reorder_level": lambda rows: rows.number("reorder_level"),
    "is_fraud": lambda rows: rows.number("is_fraud"),
    "supplier_code": lambda rows: rows.key_code("supplier_id"),
    "is_transaction": lambda rows: rows.is_kind("transaction"),
    "is_verdict": lambda rows: rows.is_kind("verdict"),
    "is_stock_level": lambda rows: rows.is_kind("stock_level"),
    "is_restock": lambda rows: rows.is_kind("restock"),
    "is_stock_movement": lambda rows: rows.is_kind("stock_movement"),
}
"""Fields by name. Times are microseconds, hours and weekdays local, Monday is 0."""


@dataclass(frozen=True)
class Slice:
    """Consecutive rows of one kind of event in a log."""

    kind: int
    table: pa.Table
    times: npt.NDArray[np.int64]

    def time(self) -> npt.NDArray[np.int64]:
        """Return event times, microseconds."""
        return self.times

    def local(self) -> npt.NDArray[np.int64]:
        """Return local wall-clock times, microseconds."""
        offsets = self.table["utc_offset_minutes"].cast(pa.int64()).to_numpy()
        return np.asarray(self.times + offsets * MINUTE)

    def number(self, column: str) -> npt.NDArray[np.float64]:
        """Return a numeric column; NaN for a null and where the kind has no such column."""
        if column not in self.table.column_names:
            return np.full(len(self.times), np.nan)
        values = self.table[column]
        if pa.types.is_boolean(values.type):
            values = values.cast(pa.int8())
        return np.asarray(values.cast(pa.float64()).fill_null(np.nan).to_numpy())

    def key_code(self, column: str) -> npt.NDArray[np.float64]:
        """Return the code of each key; NaN where there is none."""
        if column not in self.table.column_names:
            return np.full(len(self.times), np.nan)
        positions, values = dictionary(self.table[column])
        return np.array([*(key_code(value) for value in values.to_pylist()), np.nan])[positions]

    def is_kind(self, name: str) -> npt.NDArray[np.float64]:
        """Return 1 for every row if they are of the kind, else NaN."""
        return np.full(len(self.times), 1.0 if KINDS[self.kind] == name else np.nan)


class SingleRow:
    """One event, read in the same terms."""

    __slots__ = ("_kind", "_time", "_values")

    def __init__(self, event: Event) -> None:
        self._kind = event.kind
        self._time = to_micros(event.event_time)
        self._values = event.__dict__

    def keys(self, columns: tuple[str, ...]) -> tuple[str | None, ...]:
        """Return the values of key columns; None where there is none."""
        return tuple([self._values.get(column) for column in columns])

    def time(self) -> int:
        """Return the event time, microseconds."""
        return self._time

    def local(self) -> int:
        """Return the local wall-clock time, microseconds."""
        return self._time + int(self._values["utc_offset_minutes"]) * MINUTE

    def number(self, column: str) -> float:
        """Return a numeric field; NaN where there is none."""
        value = self._values.get(column)
        return math.nan if value is None else float(value)

    def key_code(self, column: str) -> float:
        """Return the code of a key; NaN where there is none."""
        value = self._values.get(column)
        return math.nan if value is None else float(key_code(value))

    def is_kind(self, name: str) -> float:
        """Return 1 if the event is of the kind, else NaN."""
        return 1.0 if self._kind == name else math.nan


def dictionary(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.int64], pa.Array]:
    """Return the position of each row's value in the distinct values, -1 for a null, and these values."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    chunks = column.unify_dictionaries().chunks
    if not chunks:
        return np.empty(0, dtype=np.int64), pa.array([], pa.string())
    positions = [chunk.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False) for chunk in chunks]
    return np.concatenate(positions), chunks[0].dictionary
