"""The columns of one batch, decoded once and kept for every field that reads them."""

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from vigil.ingest.conversions import Mask, as_key, as_text, to_mask
from vigil.ingest.mapping import TimeSource
from vigil.ingest.readers import RawBatch


@dataclass(frozen=True)
class Columns:
    """The columns of a batch."""

    batch: RawBatch
    decimal_point: str = "."
    times: dict[TimeSource, Any] = field(default_factory=dict)
    """The parsed times of the columns, kept by vigil.ingest.times."""
    _decoded: dict[str, tuple[pa.Array, Mask | None]] = field(default_factory=dict)
    _keys: dict[str, pa.Array] = field(default_factory=dict)

    def __len__(self) -> int:
        return int(self.batch.table.num_rows)

    def __contains__(self, name: str) -> bool:
        return name in self.batch.table.schema.names

    def get(self, name: str) -> pa.Array:
        """Return the column with its text decoded; text that cannot be decoded is null."""
        return self._decode(name)[0]

    def undecodable(self, name: str) -> Mask | None:
        """Return which rows hold bytes that are no text; None if there are none."""
        return self._decode(name)[1]

    def key(self, name: str) -> pa.Array:
        """Return the column as a dictionary of text."""
        if name not in self._keys:
            self._keys[name] = as_key(self.get(name))
        return self._keys[name]

    def original_text(self, name: str, positions: pa.Array) -> list[str | None]:
        """Return what the file says at the positions, as text; bytes that are no text are escaped."""
        found: list[str | None] = _printable(self.batch.table.column(name).take(positions)).to_pylist()
        return found

    def _decode(self, name: str) -> tuple[pa.Array, Mask | None]:
        if name not in self._decoded:
            self._decoded[name] = _decode(self.batch.table.column(name))
        return self._decoded[name]


def _decode(raw: pa.Array) -> tuple[pa.Array, Mask | None]:
    kind = raw.type
    if pa.types.is_dictionary(kind):
        return _decode(raw.dictionary_decode())
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return raw.cast(pa.string()), None
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        return raw, None
    try:
        return raw.cast(pa.string()), None
    except pa.ArrowInvalid:
        texts = pa.array([_text_or_none(item) for item in raw.to_pylist()], pa.string())
        return texts, to_mask(pc.and_(texts.is_null(), raw.is_valid()))


def _text_or_none(content: bytes | None) -> str | None:
    try:
        return None if content is None else content.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _printable(raw: pa.Array) -> pa.Array:
    nan = pc.is_nan(raw) if pa.types.is_floating(raw.type) else None
    text = as_text(raw)
    return text if nan is None else pc.if_else(pc.fill_null(nan, False), "nan", text)
