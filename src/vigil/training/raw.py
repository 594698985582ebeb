"""Raw data, wherever they lie."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vigil.contracts.keys import ContentHash, hash_file, hash_json
from vigil.errors import ContractError
from vigil.registry.store import open_store


def raw_hash(raw: str) -> ContentHash:
    """Return the hash of a raw file, or of all files below a raw folder."""
    with local(raw) as path:
        if path.is_file():
            return hash_file(path)
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return hash_json({file.relative_to(path).as_posix(): hash_file(file) for file in files})


@contextmanager
def local(address: str) -> Iterator[Path]:
    """Return the file or folder; what lies at gs:// is copied here for as long as it is used."""
    if not address.startswith("gs://"):
        if not Path(address).exists():
            raise ContractError(f"there are no raw data at {address}: give a file, a folder or gs://bucket/path")
        yield Path(address)
        return
    parent, _, name = address.rstrip("/").rpartition("/")
    with tempfile.TemporaryDirectory(prefix="vigil-raw-") as folder:
        yield _download(parent, name, Path(folder))


def _download(parent: str, name: str, folder: Path) -> Path:
    store, target = open_store(parent), folder / name
    below = store.paths(name)
    for path in below:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        store.fetch(path, folder / path)
    if not below:
        store.fetch(name, target)
    return target
