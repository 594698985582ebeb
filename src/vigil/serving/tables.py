"""Transactions as an Arrow stream, checked column by column against the same limits as single ones."""

import struct
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vigil.clock import to_micros
from vigil.contracts.events import EARLIEST, Transaction, arrow_schema, check_table, json_schema
from vigil.errors import ContractError
from vigil.serving.refusals import INVALID, MALFORMED, WRONG_TYPE, Refusal


def read_stream(body: bytes) -> pa.Table:
    """Return the table of an Arrow IPC stream, or raise Refusal; one that is compressed could grow without measure."""
    try:
        compressed = any(_is_compressed(message) for message in pa.ipc.MessageReader.open_stream(body))
        table = None if compressed else _read(body)
    except (pa.ArrowException, OSError, ValueError, IndexError, struct.error) as error:
        raise Refusal(MALFORMED, "the body is not an Arrow IPC stream") from error
    if table is None:
        raise Refusal(WRONG_TYPE, "send the stream without compression")
    return table


def _read(body: bytes) -> pa.Table:
    with pa.ipc.open_stream(body) as reader:
        table = reader.read_all()
    table.validate(full=True)
    return table


_DICTIONARY, _RECORDS = 2, 3
"""Types of the header of an Arrow message."""


def _is_compressed(message: pa.ipc.Message) -> bool:
    """Return whether the message's flatbuffer says that its buffers are compressed; pyarrow does not tell."""
    raw = message.metadata.to_pybytes()
    root = struct.unpack_from("<I", raw)[0]
    kind = _field(raw, root, 1)
    kind = raw[kind] if kind else 0
    if kind not in (_DICTIONARY, _RECORDS):
        return False
    batch = _table_at(raw, _field(raw, root, 2))
    if kind == _DICTIONARY:
        batch = _table_at(raw, _field(raw, batch, 1))
    return _field(raw, batch, 3) != 0


def _field(raw: bytes, table: int, number: int) -> int:
    """Return where a field of a flatbuffer's table lies, 0 if it is absent."""
    vtable = table - struct.unpack_from("<i", raw, table)[0]
    size = struct.unpack_from("<H", raw, vtable)[0]
    place = 4 + 2 * number
    offset = struct.unpack_from("<H", raw, vtable + place)[0] if place < size else 0
    return table + offset if offset else 0


def _table_at(raw: bytes, place: int) -> int:
    return place + int(struct.unpack_from("<I", raw, place)[0])


def check_transactions(table: pa.Table, latest: datetime | None) -> pa.Table:
    """Return the table with the schema of Transaction, or raise Refusal naming the column and the row."""
    try:
        checked = check_table(Transaction, table)
    except (ContractError, pa.ArrowException) as error:
        raise Refusal(INVALID, str(error)) from error
    for name, minimum, maximum in _numbers():
        _check_numbers(name, checked[name], minimum, maximum)
    for field in arrow_schema(Transaction):
        if field.type == pa.string() or pa.types.is_dictionary(field.type):
            _check_texts(field.name, checked[field.name])
    _check_times(checked["event_time"], latest)
    return checked


def parts_in_order(table: pa.Table, rows: int) -> list[pa.Table]:
    """Return the table cut into parts of about `rows` that can be folded one after the other.

    It stays whole unless its times rise: the events of a batch are taken in the order of time, not of the rows.
    """
    times = table["event_time"].cast(pa.int64()).to_numpy()
    steps = np.diff(times)
    if len(times) <= rows or (steps < 0).any():
        return [table]
    cuts = np.flatnonzero(steps > 0) + 1
    wanted = np.searchsorted(cuts, np.arange(rows, len(times), rows))
    edges = [0, *np.unique(cuts[wanted[wanted < cuts.size]]).tolist(), len(times)]
    return [table.slice(start, end - start) for start, end in pairwise(edges)]


@cache
def _numbers() -> tuple[tuple[str, float, float], ...]:
    """Return the limits of each numeric column."""
    return tuple(_limits())


def _limits() -> Iterator[tuple[str, float, float]]:
    for name, described in json_schema(Transaction)["properties"].items():
        for option in described.get("anyOf", [described]):
            if "minimum" in option:
                yield name, option["minimum"], option["maximum"]


def _check_numbers(name: str, column: pa.ChunkedArray, minimum: float, maximum: float) -> None:
    values = column.to_numpy()
    present = column.is_valid().to_numpy()
    with np.errstate(invalid="ignore"):
        wrong = present & ~((values >= minimum) & (values <= maximum))
    _refuse_first(wrong, name, f"not a number from {minimum:g} to {maximum:g}")


def _check_texts(name: str, column: pa.ChunkedArray) -> None:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    length = pc.utf8_length(column).fill_null(1).to_numpy()
    _refuse_first((length < 1) | (length > 128), name, "not a text of 1 to 128 characters")


def _check_times(column: pa.ChunkedArray, latest: datetime | None) -> None:
    micros = column.cast(pa.int64()).to_numpy()
    _refuse_first(micros < to_micros(EARLIEST), "event_time", f"before {EARLIEST.date()}: no event is so old")
    if latest is not None:
        wrong = micros > to_micros(latest)
        _refuse_first(wrong, "event_time", "too far in the future: check the clock of the source")


def _refuse_first(wrong: Any, name: str, message: str) -> None:  # noqa: ANN401 - a mask
    if (rows := np.flatnonzero(wrong)).size:
        raise Refusal(INVALID, message, name, int(rows[0]))
