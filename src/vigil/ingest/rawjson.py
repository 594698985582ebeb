"""Rows as JSON text, a column at a time."""

import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from vigil.ingest.conversions import as_text

_NEEDS_ESCAPE = r'["\\\x00-\x1f\x7f]'


def json_rows(table: pa.RecordBatch) -> pa.Array:
    """Return each row as one JSON object; NaN, infinity and all that JSON has no type for are text."""
    if not table.num_columns:
        return pa.repeat("{}", table.num_rows)
    parts: list[Any] = []
    for index, (name, column) in enumerate(zip(table.schema.names, table.columns, strict=True)):
        parts += [("," if index else "{") + json.dumps(name, ensure_ascii=False) + ":", _json_values(column)]
    return pc.binary_join_element_wise(*parts, "}", "")


def _json_values(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _json_values(column.dictionary_decode())
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        text = column.cast(pa.string())
    elif pa.types.is_floating(kind):
        text = pc.if_else(pc.is_finite(column), column.cast(pa.string()), _quoted(column.cast(pa.string())))
    else:
        text = _quoted(as_text(column))
    return pc.fill_null(text, "null")


def _quoted(text: pa.Array) -> pa.Array:
    special = pc.fill_null(pc.match_substring_regex(text, _NEEDS_ESCAPE), False)
    if pc.any(special).as_py():
        escaped = [None if item is None else json.dumps(item, ensure_ascii=False) for item in text.to_pylist()]
        return pa.array(escaped, pa.string())
    return pc.binary_join_element_wise('"', text, '"', "")
