"""The formats that a bundle may hold: none of them can carry code, and each part is what its name says."""

import json
import zipfile
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import BinaryIO

import numpy as np

from vigil.errors import ContractError

_PICKLE = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""How a pickle of protocol 2 to 5 begins (joblib, dill and torch write the same)."""


def check_format(name: str, file: BinaryIO) -> None:
    """Pass if the content of `file` is of the format that the suffix of `name` promises; raise ContractError else."""
    check = CHECKS.get(PurePosixPath(name).suffix)
    if check is None:
        raise ContractError(f"{name}: a bundle holds only {', '.join(sorted(CHECKS))} files: write it as one of these")
    if file.read(2) in _PICKLE:
        raise ContractError(f"{name} is a Python pickle, which can run code when it is loaded: write it as npz or JSON")
    file.seek(0)
    try:
        check(file)
    except (ValueError, zipfile.BadZipFile, KeyError, EOFError) as error:
        raise ContractError(f"{name} is not a {PurePosixPath(name).suffix} file that Vigil reads: {error}") from error


def _check_json(file: BinaryIO) -> None:
    json.load(file, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _check_arrays(file: BinaryIO) -> None:
    """Refuse archives with arrays of Python objects, which numpy stores as a pickle inside."""
    archive = np.load(file, allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise ValueError("it is not an archive of arrays")
    for name in archive.files:
        if not isinstance(archive[name], np.ndarray):
            raise ValueError(f"it holds {name}, which is no array")


def _check_ubjson(file: BinaryIO) -> None:
    if file.read(1) != b"{":
        raise ValueError("it does not begin with a UBJSON object")


def _check_parquet(file: BinaryIO) -> None:
    size, marks = file.seek(0, 2), set()
    for offset in (0, max(0, size - 4)):
        file.seek(offset)
        marks.add(file.read(4))
    if marks != {b"PAR1"}:
        raise ValueError("it does not begin and end with PAR1")


def _check_text(file: BinaryIO) -> None:
    file.read().decode("utf-8")


CHECKS: dict[str, Callable[[BinaryIO], None]] = {
    ".json": _check_json,
    ".md": _check_text,
    ".npz": _check_arrays,
    ".parquet": _check_parquet,
    ".txt": _check_text,
    ".ubj": _check_ubjson,
}
"""The check of each format by its suffix. Reading any of them runs no code."""
