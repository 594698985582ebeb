"""A field's source, evaluated on a batch: a column of exactly the field's type, and what is wrong with it."""

import string
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vigil.ingest.columns import Columns
from vigil.ingest.conversions import as_boolean, as_key, as_number, as_text, as_whole_number, to_mask
from vigil.ingest.faults import CATEGORY, ENCODING, TYPE, Fault
from vigil.ingest.mapping import ROW, FieldSource

_TRANSFORMS = {"exp": pc.exp, "log": pc.ln, "abs": pc.abs, "negate": pc.negate}
_NOUNS = {"double": "number", "bool": "true or false", "int16": "whole number"}


@dataclass(frozen=True)
class Evaluated:
    """A column of the field's type, null where the source has nothing or nothing that fits, and the faults."""

    values: pa.Array
    faults: tuple[Fault, ...] = ()


def evaluate(name: str, source: FieldSource, kind: pa.DataType, columns: Columns) -> Evaluated:
    """Return the field `name` of every row as a column of type `kind`."""
    if source.constant is not None:
        return Evaluated(_repeat(source.constant, kind, len(columns)))
    if source.template is not None:
        return Evaluated(_typed_text(fill_template(source.template, columns), kind))
    if source.product is not None:
        return _product(name, source, columns)
    assert source.column is not None  # noqa: S101 - FieldSource has exactly one origin
    if source.column not in columns:
        return Evaluated(pa.nulls(len(columns), kind))
    found = _from_column(name, source, kind, columns)
    undecodable = columns.undecodable(source.column)
    if undecodable is None:
        return found
    fault = Fault(name, ENCODING, undecodable, "bytes that are not UTF-8: set reader.encoding, or repair the row")
    return Evaluated(found.values, (fault, *found.faults))


def _repeat(constant: str | float | bool, kind: pa.DataType, count: int) -> pa.Array:
    if pa.types.is_dictionary(kind):
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([str(constant)]))
    return pa.repeat(pa.scalar(constant).cast(kind), count)


def _typed_text(text: pa.Array, kind: pa.DataType) -> pa.Array:
    return text.dictionary_encode() if pa.types.is_dictionary(kind) else text


def fill_template(template: str, columns: Columns) -> pa.Array:
    """Return the text of the template for each row; null where one of its columns is null."""
    parts: list[Any] = []
    for literal, name, _, _ in string.Formatter().parse(template):
        if literal:
            parts.append(literal)
        if name == ROW:
            parts.append(pa.array(columns.batch.numbers).cast(pa.string()))
        elif name is not None:
            parts.append(as_text(columns.get(name)))
    if len(parts) == 1 and not isinstance(parts[0], str):
        return parts[0]
    if all(isinstance(part, str) for part in parts):
        return pa.repeat("".join(parts), len(columns))
    return pc.binary_join_element_wise(*parts, "", null_handling="emit_null")


def _from_column(name: str, source: FieldSource, kind: pa.DataType, columns: Columns) -> Evaluated:
    assert source.column is not None  # noqa: S101 - the caller looked
    if source.values is not None:
        return _mapped(name, source, kind, columns)
    if pa.types.is_dictionary(kind):
        return Evaluated(columns.key(source.column))
    if pa.types.is_string(kind):
        return Evaluated(as_text(columns.get(source.column)))
    raw = columns.get(source.column)
    if pa.types.is_floating(kind):
        values, failed = as_number(raw, columns.decimal_point)
        values = _refine(values, source)
    elif pa.types.is_boolean(kind):
        values, failed = as_boolean(raw)
    else:
        values, failed = as_whole_number(raw, kind)
    return Evaluated(values, () if failed is None else (Fault(name, TYPE, failed, f"no {_NOUNS[str(kind)]}"),))


def _mapped(name: str, source: FieldSource, kind: pa.DataType, columns: Columns) -> Evaluated:
    assert source.values is not None  # noqa: S101 - the caller looked
    assert source.column is not None  # noqa: S101 - the caller looked
    coded = columns.key(source.column)
    texts = coded.dictionary.to_pylist()
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    ours: list[Any] = [source.values.get(text) for text in texts]
    if pa.types.is_string(plain):
        ours = [None if item is None else str(item) for item in ours]
    translated = pa.array(ours, plain)
    values = translated.take(coded.indices)
    strange = pa.array([text not in source.values for text in texts], pa.bool_()).take(coded.indices)
    sentence = f"a category that is not known: add it to `values` of {name} if it is right"
    faults = (Fault(name, CATEGORY, to_mask(strange), sentence),) if pc.any(strange).as_py() else ()
    if pa.types.is_floating(kind):
        return Evaluated(_refine(values, source), faults)
    return Evaluated(as_key(values) if pa.types.is_dictionary(kind) else values, faults)


def _refine(values: pa.Array, source: FieldSource) -> pa.Array:
    if source.nan_is_null:
        values = pc.if_else(pc.is_nan(values), None, values)
    if source.transform is not None:
        values = _TRANSFORMS[source.transform](values)
    if source.scale is not None:
        values = pc.multiply(values, source.scale)
    return values if source.decimals is None else pc.round(values, ndigits=source.decimals)


def _product(name: str, source: FieldSource, columns: Columns) -> Evaluated:
    assert source.product is not None  # noqa: S101 - the caller looked
    parts = [evaluate(name, part, pa.float64(), columns) for part in source.product]
    values = parts[0].values
    for part in parts[1:]:
        values = pc.multiply(values, part.values)
    return Evaluated(_refine(values, source), tuple(fault for part in parts for fault in part.faults))
