"""Names and hashes: the same content has the same hash, on any machine, for ever."""

import hashlib
import json
from pathlib import Path
from typing import Any, NewType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

SiteId = NewType("SiteId", str)
CustomerId = NewType("CustomerId", str)
ModelName = NewType("ModelName", str)
ModelVersion = NewType("ModelVersion", str)
ContentHash = NewType("ContentHash", str)
"""`sha256:` and 64 hexadecimal digits."""

_BLOCK = 1 << 20
_ROWS = 1 << 18


def hash_bytes(content: bytes) -> ContentHash:
    """Return the hash of raw bytes."""
    return ContentHash("sha256:" + hashlib.sha256(content).hexdigest())


def canonical_json(content: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """Return JSON with sorted keys and no spaces; NaN and infinity are refused."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()


def hash_json(content: Any) -> ContentHash:  # noqa: ANN401 - any JSON value
    """Return the hash of a JSON value: the order of its keys does not matter."""
    return hash_bytes(canonical_json(content))


def hash_file(path: Path) -> ContentHash:
    """Return the hash of a file's bytes, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return ContentHash("sha256:" + digest.hexdigest())


def hash_table(table: pa.Table) -> ContentHash:
    """Return the hash of a table's rows and column types: chunking and dictionary order do not matter."""
    digest = hashlib.sha256()
    for field in table.schema:
        plain = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        digest.update(f"{field.name}:{plain}:{table.num_rows};".encode())
        for start in range(0, table.num_rows, _ROWS):
            part = table[field.name].slice(start, _ROWS).cast(plain)
            _update_with_array(digest, pa.concat_arrays(part.chunks))
    return ContentHash("sha256:" + digest.hexdigest())


def _update_with_array(digest: "hashlib._Hash", column: pa.Array) -> None:
    digest.update(np.packbits(column.is_valid().to_numpy(zero_copy_only=False)).tobytes())
    if not pa.types.is_string(column.type):
        zero = pa.scalar(0).cast(column.type)
        digest.update(column.fill_null(zero).to_numpy(zero_copy_only=False).tobytes())
        return
    filled = column.fill_null("")
    digest.update(pc.binary_length(filled).to_numpy().tobytes())
    joined = pc.binary_join(pa.ListArray.from_arrays([0, len(filled)], filled), "")
    digest.update(joined[0].as_buffer())
