"""Files that several processes share: replaced whole or not at all, and locks that end with their process."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

_PAUSE = 0.05


def replace_file(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Put `content` in the place of a file; a durable one is the old or the new one whenever the power fails.

    Two that replace the same file at once have to agree by a lock: they would write the same draft.
    """
    draft = path.with_suffix(".tmp")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    draft.replace(path)


@contextmanager
def alone(path: Path, *, attempts: int = 1) -> Iterator[bool]:
    """Yield whether this process has the lock of a file; it ends with the block, and with the process.

    `attempts` above one outlast those who only ask `is_held`: they hold the lock for a moment.
    """
    with path.open("ab") as file:
        yield _take(file, attempts)


def _take(file: IO[Any], attempts: int) -> bool:
    for attempt in range(attempts):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE if attempt < attempts - 1 else 0)
        else:
            return True
    return False


def lock(file: IO[Any]) -> None:
    """Take the lock of an open file; it ends when the file is closed. Waits for those who only ask `is_held`."""
    fcntl.flock(file, fcntl.LOCK_EX)


def is_held(path: Path) -> bool:
    """Return whether a living process holds the lock of a file."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
