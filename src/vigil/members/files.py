"""Deterministic, safe files in memory: JSON and npz without pickle, the same content in the same bytes."""

import io
import json
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vigil.contracts.keys import canonical_json
from vigil.errors import ContractError

Files = dict[str, bytes]
"""The content of each file, by name."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNIX = 3


def write_json(content: dict[str, Any]) -> bytes:
    """Return canonical JSON with a line end; NaN and infinity are refused."""
    return canonical_json(content) + b"\n"


def read_json(files: Files, name: str) -> dict[str, Any]:
    """Return the object in the file `name`, or raise ContractError."""
    try:
        content = json.loads(named(files, name))
    except ValueError as error:
        raise ContractError(f"{name} is not JSON ({error}): the file is truncated or foreign") from error
    if not isinstance(content, dict):
        raise ContractError(f"{name} holds a JSON {type(content).__name__}, not an object")
    return content


def write_arrays(arrays: dict[str, NDArray[Any]]) -> bytes:
    """Return an npz of the arrays in the order of their names; numpy's own writer would put the time of day into it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=_EPOCH)
            entry.create_system = _UNIX
            content = io.BytesIO()
            np.save(content, np.ascontiguousarray(arrays[name]), allow_pickle=False)
            archive.writestr(entry, content.getvalue())
    return buffer.getvalue()


def read_arrays(files: Files, name: str) -> dict[str, NDArray[Any]]:
    """Return the arrays in the npz `name`, or raise ContractError; a pickle inside is refused."""
    try:
        with np.load(io.BytesIO(named(files, name)), allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise ContractError(f"{name} is not an npz of plain arrays ({error}): truncated or foreign") from error


def named(files: Files, name: str) -> bytes:
    """Return the file `name`, or raise ContractError saying what there is instead."""
    if name not in files:
        raise ContractError(f"{name} is missing: the member has {', '.join(sorted(files)) or 'no files'}")
    return files[name]
