"""Columns of any type to the types of an event; what does not fit becomes null and is reported, never raised."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Mask = npt.NDArray[np.bool_]
Converted = tuple[pa.Array, Mask | None]
"""The converted column, and which of its values could not be converted (None: all could)."""

_TRUE = frozenset({"true", "t", "yes", "y", "1"})
_FALSE = frozenset({"false", "f", "no", "n", "0"})


def to_mask(condition: pa.Array) -> Mask:
    """Return a boolean column as an array; null is false."""
    mask: Mask = pc.fill_null(condition, False).to_numpy(zero_copy_only=False)
    return mask


def as_text(values: pa.Array) -> pa.Array:
    """Return the values as text: whole numbers without a point, NaN as null, bytes that are not UTF-8 escaped."""
    kind = values.type
    if pa.types.is_string(kind):
        return values
    if pa.types.is_dictionary(kind):
        return as_text(values.dictionary_decode())
    if pa.types.is_binary(kind):
        return _texts(values, lambda item: item.decode("utf-8", "backslashreplace"))
    if pa.types.is_floating(kind):
        values = pc.if_else(pc.is_nan(values), None, values)
    try:
        return values.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return _texts(values, str)


def _texts(values: pa.Array, render: Callable[[Any], str]) -> pa.Array:
    return pa.array([None if item is None else render(item) for item in values.to_pylist()], pa.string())


def as_key(values: pa.Array) -> pa.Array:
    """Return the values as a dictionary of text, in order of first appearance."""
    if not pa.types.is_integer(values.type):
        return as_text(values).dictionary_encode()
    coded = values.dictionary_encode()
    return pa.DictionaryArray.from_arrays(coded.indices, coded.dictionary.cast(pa.string()))


def as_number(values: pa.Array, decimal_point: str = ".") -> Converted:
    """Return the values as 64-bit floats."""
    if not pa.types.is_string(values.type):
        return _cast(values, pa.float64())
    text = pc.utf8_trim_whitespace(values)
    if decimal_point != ".":
        text = pc.replace_substring(text, decimal_point, ".")
    return _cast(text, pa.float64(), _parse_number)


def as_whole_number(values: pa.Array, kind: pa.DataType) -> Converted:
    """Return the values as integers of the given type; a fraction is no integer."""
    numbers, failed = as_number(values)
    whole, too_fine = _cast(numbers, kind, None)
    return whole, _either(failed, too_fine)


def as_boolean(values: pa.Array) -> Converted:
    """Return the values as booleans: true, yes and 1, false, no and 0."""
    if pa.types.is_boolean(values.type):
        return values, None
    return _each(as_text(values), pa.bool_(), _parse_boolean)


def _either(first: Mask | None, second: Mask | None) -> Mask | None:
    if first is None or second is None:
        return second if first is None else first
    return first | second


def _cast(values: pa.Array, kind: pa.DataType, parse: Callable[[str], Any] | None = None) -> Converted:
    """Cast in one go, or value by value where one of them does not fit."""
    try:
        return values.cast(kind), None
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return _each(as_text(values), kind, parse or _parser_of(kind))


def _each(texts: pa.Array, kind: pa.DataType, parse: Callable[[str], Any]) -> Converted:
    coded = texts.dictionary_encode()
    parsed = pa.array([parse(text) for text in coded.dictionary.to_pylist()], kind)
    values = parsed.take(coded.indices)
    return values, to_mask(pc.and_(values.is_null(), texts.is_valid()))


def _parser_of(kind: pa.DataType) -> Callable[[str], Any]:
    return _parse_whole if pa.types.is_integer(kind) else _parse_number


def _parse_number(text: str) -> float | None:
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def _parse_whole(text: str) -> int | None:
    try:
        number = int(text)
    except ValueError:
        return None
    return number if abs(number) < 1 << 15 else None


def _parse_boolean(text: str) -> bool | None:
    lowered = text.strip().lower()
    return True if lowered in _TRUE else False if lowered in _FALSE else None
