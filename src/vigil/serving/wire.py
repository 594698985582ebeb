"""The body between transformer and predictor: a small JSON header, then the vectors as float32, little-endian.

"VGL1"   length of the header (uint32)   header   padding to a multiple of 4   rows x features float32
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from vigil.contracts.keys import ContentHash
from vigil.members.base import FeatureMatrix, Matrix
from vigil.serving.refusals import INVALID, MALFORMED, Refusal

VECTORS = "application/vnd.vigil.vectors"
ARROW = "application/vnd.apache.arrow.stream"
JSON = "application/json"

_MAGIC = b"VGL1"
_START = struct.Struct("<4sI")
_KEYS = {"schema", "ids", "segments", "explain", "arrow", "returned"}


@dataclass(frozen=True, eq=False)
class Vectors:
    """Rows to decide."""

    event_ids: Sequence[str]
    values: Matrix
    schema: str
    segments: Sequence[str | None] | None = None
    explain: bool = False
    """Reasons for all rows, and no entry in the decision log."""
    arrow: bool = False
    """Whether the answer is an Arrow stream instead of JSON."""
    returned: bool = False
    """Whether each decision of a JSON answer is to carry its vector."""


def pack(vectors: Vectors) -> bytes:
    """Return the body."""
    header = orjson.dumps(
        {
            "schema": vectors.schema,
            "ids": vectors.event_ids,
            "segments": vectors.segments,
            "explain": vectors.explain,
            "arrow": vectors.arrow,
            "returned": vectors.returned,
        }
    )
    padding = b" " * (-len(header) % 4)
    start = _START.pack(_MAGIC, len(header) + len(padding))
    return b"".join((start, header, padding, np.ascontiguousarray(vectors.values, dtype="<f4").tobytes()))


def unpack(body: bytes, features: int) -> Vectors:
    """Return what `pack` packed, or raise Refusal."""
    if len(body) < _START.size or body[:4] != _MAGIC:
        raise Refusal(MALFORMED, "the body does not begin with VGL1")
    length = _START.unpack_from(body)[1]
    header = _header(body[_START.size : _START.size + length])
    ids, segments = header["ids"], header["segments"]
    values = body[_START.size + length :]
    if not ids or len(values) != 4 * features * len(ids) or (segments is not None and len(segments) != len(ids)):
        raise Refusal(MALFORMED, f"{len(values)} bytes of vectors for {len(ids)} rows of {features} features")
    matrix = np.frombuffer(values, dtype="<f4").reshape(len(ids), features)
    flags = [bool(header[name]) for name in ("explain", "arrow", "returned")]
    return Vectors(ids, matrix, header["schema"], segments, *flags)


def _header(raw: bytes) -> dict[str, Any]:
    try:
        header = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Refusal(MALFORMED, "the header is not JSON") from error
    if not isinstance(header, dict) or _KEYS - set(header):
        raise Refusal(MALFORMED, "the header lacks a key")
    ids, segments = header["ids"], header["segments"]
    if not isinstance(ids, list) or not all(isinstance(item, str) for item in ids):
        raise Refusal(MALFORMED, "not a list of texts", "ids")
    known = segments is None or isinstance(segments, list)
    if not known or not all(item is None or isinstance(item, str) for item in segments or ()):
        raise Refusal(MALFORMED, "not a list of texts", "segments")
    return header


def matrix_of(vectors: Vectors, names: tuple[str, ...], schema: ContentHash) -> FeatureMatrix:
    """Return the vectors as a matrix, or raise Refusal for another schema and for a value that is not finite."""
    if vectors.schema != schema:
        raise Refusal(INVALID, f"the vectors have schema {vectors.schema}, the model {schema}", "feature_schema")
    # A read-only array, such as a view of the body, would make numba compile for its type and look it up slowly.
    values = np.require(vectors.values, np.float32, ["C", "W"])
    if not np.isfinite(values).all():
        row, column = map(int, np.argwhere(~np.isfinite(values))[0])
        raise Refusal(INVALID, "the value is not finite", names[column], row)
    return FeatureMatrix(values, names)
