"""Scored rows from a Parquet file: one row for each prediction, with what became known of it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vigil.errors import ContractError
from vigil.evaluation.behaviour import Matrix
from vigil.evaluation.rows import AnyArray, FloatArray, ScoredRows

BASELINE = "baseline_"
"""Prefix of the columns that hold another scorer's scores, such as `baseline_rules`."""

_REQUIRED = ("score", "event_time")


def read_table(path: Path) -> pa.Table:
    """Return the table of a Parquet file, or raise ContractError saying what is wrong with it."""
    try:
        return pq.read_table(path)
    except FileNotFoundError:
        raise ContractError(f"{path} does not exist: give a Parquet file with scored rows") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise ContractError(f"{path} cannot be read as Parquet: {error}") from error


def scored_rows(table: pa.Table, by: Sequence[str] = ()) -> ScoredRows:
    """Return the rows of a table; `label`, `amount` and `entity_id` are optional columns, `by` names the segments."""
    for name in (*_REQUIRED, *by):
        if name not in table.column_names:
            raise ContractError(f"the table has no column {name!r} (columns: {', '.join(table.column_names)})")
    return ScoredRows(
        scores=_column(table, "score"),
        event_time=_micros(table),
        labels=_optional(table, "label"),
        amounts=_optional(table, "amount"),
        entities=_optional(table, "entity_id"),
        segments={name: _column(table, name).astype(str) for name in by},
    )


def baseline_scores(table: pa.Table) -> dict[str, FloatArray]:
    """Return the scores of each baseline by its name."""
    names = [name for name in table.column_names if name.startswith(BASELINE)]
    return {name.removeprefix(BASELINE): _column(table, name).astype(np.float64) for name in names}


def labelled(table: pa.Table) -> tuple[pa.Table, int]:
    """Return the rows with a label, and how many have none yet."""
    column = label_column(table)
    known = table.filter(column.is_valid())
    return known, table.num_rows - known.num_rows


def label_column(table: pa.Table) -> pa.ChunkedArray:
    """Return the column `label`, or raise ContractError if there is none."""
    if "label" not in table.column_names:
        raise ContractError(f"the table has no column 'label' (columns: {', '.join(table.column_names)})")
    return table["label"]


def feature_matrix(table: pa.Table, names: Sequence[str]) -> Matrix:
    """Return the named columns as feature vectors, shape (rows, names); a null is NaN."""
    if missing := [name for name in names if name not in table.column_names]:
        raise ContractError(f"the table has no column {missing[0]!r}, which is a feature of the reference")
    columns = [table[name].cast(pa.float32()).to_numpy() for name in names]
    return np.column_stack(columns).astype(np.float32) if columns else np.zeros((table.num_rows, 0), np.float32)


def _column(table: pa.Table, name: str) -> AnyArray:
    column = table[name]
    if column.null_count:
        row = column.is_null().index(pa.scalar(value=True)).as_py()
        raise ContractError(
            f"column {name} is empty in row {row} ({column.null_count} empty in all): leave such rows out"
        )
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    values: AnyArray = column.to_numpy()
    return values


def _optional(table: pa.Table, name: str) -> AnyArray | None:
    return _column(table, name) if name in table.column_names else None


def _micros(table: pa.Table) -> AnyArray:
    _column(table, "event_time")
    column = table["event_time"]
    if pa.types.is_integer(column.type):
        return _column(table, "event_time")
    if not pa.types.is_timestamp(column.type):
        raise ContractError(
            f"column event_time is {column.type}: a timestamp, or integer microseconds since 1970, needed"
        )
    micros: AnyArray = column.cast(pa.timestamp("us", tz="UTC"), safe=False).cast(pa.int64()).to_numpy()
    return micros
