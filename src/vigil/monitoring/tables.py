"""Tables as the columns that detectors compare."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vigil.errors import ContractError
from vigil.monitoring.port import Columns

_MOST_CATEGORIES = 200
"""Texts that differ in more ways name things, such as customers; what is new among them is no drift."""


@dataclass(frozen=True, eq=False)
class Read:
    """The columns of a table, and why others were left out."""

    columns: Columns
    left_out: dict[str, str]


def read_table(path: Path) -> pa.Table:
    """Return the table of a Parquet or CSV file, or raise ContractError saying why it cannot be read."""
    kind, read = ("CSV", pa_csv.read_csv) if path.suffix == ".csv" else ("Parquet", pq.read_table)
    try:
        return read(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise ContractError(f"{path} cannot be read as {kind}: {error}") from error


def columns_of(table: pa.Table, time: str) -> Read:
    """Return numbers and categories of a table in the order of its column `time`.

    Truth values are numbers. Times, and texts that name things rather than kinds, are left out.
    """
    if time not in table.column_names:
        raise ContractError(f"there is no column {time}; there are: {', '.join(table.column_names)}")
    moments = _micros(table[time], time)
    order = np.argsort(moments, kind="stable")
    ordered = table.drop_columns([time]).take(pa.array(order))
    numbers: dict[str, NDArray[np.float64]] = {}
    categories: dict[str, list[str | None]] = {}
    left_out = {}
    for name, column in zip(ordered.column_names, ordered.columns, strict=True):
        if pa.types.is_boolean(column.type) or _is_number(column.type):
            numbers[name] = column.cast(pa.float64()).fill_null(np.nan).to_numpy()
        elif not _is_text(column.type):
            left_out[name] = f"{column.type} is neither a number nor a text"
        elif (kinds := pc.count_distinct(column).as_py()) > _MOST_CATEGORIES:
            left_out[name] = f"{kinds:,} different texts name things, not kinds"
        else:
            categories[name] = column.cast(pa.string()).to_pylist()
    return Read(Columns(numbers, categories, moments[order]), left_out)


def _micros(column: pa.ChunkedArray, name: str) -> NDArray[np.int64]:
    if column.null_count:
        first = pc.index(column.is_null(), True).as_py()
        raise ContractError(f"column {name} has no time in {column.null_count} rows, first in row {first}: drop them")
    try:
        return np.asarray(column.cast(pa.timestamp("us")).cast(pa.int64()).to_numpy(), dtype=np.int64)
    except pa.ArrowInvalid as error:
        raise ContractError(f"column {name} holds no times: {error}") from error


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _is_text(kind: pa.DataType) -> bool:
    values = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(values) or pa.types.is_large_string(values))
