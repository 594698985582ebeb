"""Where bundles and ledgers are kept: a folder or a bucket. Objects are created once and never changed."""

import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from vigil.errors import ContractError, Unavailable


class Store(Protocol):
    """Objects by their path, which is relative, with forward slashes.

    Every method raises ContractError for what the caller can cure, and Unavailable where the same call may succeed
    later.
    """

    @property
    def uri(self) -> str:
        """The address that `open_store` understands."""
        ...

    def create(self, path: str, content: bytes | Path) -> bool:
        """Write a new object, whole or not at all, and return True; return False if there is one already.

        `content` is the bytes, or the file that holds them. Of two that create the same object at the same time, one
        is told True.
        """
        ...

    def read(self, path: str) -> bytes:
        """Return the content of an object."""
        ...

    def fetch(self, path: str, target: Path) -> None:
        """Write the content of an object to the file `target`."""
        ...

    def paths(self, folder: str) -> list[str]:
        """Return the sorted paths of all objects below `folder`; none if it does not exist."""
        ...


def open_store(uri: str) -> Store:
    """Return the store at a folder or at `gs://bucket/prefix`."""
    if uri.startswith("gs://"):
        from vigil.registry.gcs import GcsStore

        bucket, _, prefix = uri.removeprefix("gs://").partition("/")
        return GcsStore(bucket, prefix.strip("/"))
    if "://" in uri:
        raise ContractError(f"{uri} is not a store: give a folder or gs://bucket/prefix")
    return FolderStore(Path(uri))


class FolderStore:
    """A store in a folder of a file system with hard links."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    @property
    def uri(self) -> str:
        """The absolute path of the folder."""
        return str(self.root)

    def create(self, path: str, content: bytes | Path) -> bool:
        """Write beside and link into place: the object appears with its whole content, once, and survives a crash."""
        target = self.root / path
        draft = self.root / ".tmp" / uuid.uuid4().hex
        with translate_errors(f"write {target}"):
            draft.parent.mkdir(parents=True, exist_ok=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                _write_durably(draft, content)
                os.link(draft, target)
            except FileExistsError:
                return False
            finally:
                draft.unlink(missing_ok=True)
            _flush_folder(target.parent)
        return True

    def read(self, path: str) -> bytes:
        """Return the bytes of the file."""
        with translate_errors(f"read {self.root / path}"):
            return (self.root / path).read_bytes()

    def fetch(self, path: str, target: Path) -> None:
        """Copy the file."""
        with translate_errors(f"read {self.root / path}"):
            shutil.copyfile(self.root / path, target)

    def paths(self, folder: str) -> list[str]:
        """Return the files below `folder`; a link, a device or a pipe is refused."""
        with translate_errors(f"read {self.root / folder}"):
            return sorted(path.relative_to(self.root).as_posix() for path in plain_files(self.root / folder))


def plain_files(folder: Path) -> list[Path]:
    """Return all files below `folder`, or raise ContractError naming the first that is neither file nor folder."""
    found = []
    for entry in sorted(folder.iterdir()) if folder.is_dir() else []:
        mode = entry.lstat().st_mode
        if stat.S_ISDIR(mode):
            found += plain_files(entry)
        elif stat.S_ISREG(mode):
            found.append(entry)
        else:
            raise ContractError(f"{entry} is a link or a special file, which may lead outside: remove it")
    return found


def _write_durably(path: Path, content: bytes | Path) -> None:
    with path.open("xb") as file:
        if isinstance(content, Path):
            with content.open("rb") as source:
                shutil.copyfileobj(source, file)
        else:
            file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Make a new name in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def translate_errors(intent: str) -> Iterator[None]:
    """Turn what the file system says into an error that says what could not be done."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
        raise ContractError(f"cannot {intent}: {error.strerror}") from error
    except OSError as error:
        raise Unavailable(f"cannot {intent}: {error.strerror}") from error
