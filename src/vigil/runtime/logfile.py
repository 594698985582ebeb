"""The log of one process: a file of bounded size, and a few older ones."""

from collections import deque
from pathlib import Path

MAX_BYTES = 10 << 20
KEPT = 3


class LogFile:
    """Appends what a process says, and starts a new file at a line's end when the old one is full."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self.path = path
        self._max_bytes = max_bytes
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)

    def write(self, content: bytes) -> None:
        """Append."""
        self._file.write(content)
        size = self._file.tell()
        if size >= self._max_bytes and (content.endswith(b"\n") or size >= 2 * self._max_bytes):
            self._rotate()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _rotate(self) -> None:
        self._file.close()
        for number in range(KEPT - 1, 0, -1):
            older = _older(self.path, number)
            if older.exists():
                older.replace(_older(self.path, number + 1))
        self.path.replace(_older(self.path, 1))
        self._file = self.path.open("ab", buffering=0)


def _older(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def tail(path: Path, lines: int) -> list[str]:
    """Return the last lines of a log, those of the file before it included; none if there is no log."""
    found: deque[str] = deque(maxlen=lines)
    for part in (_older(path, 1), path):
        if part.exists():
            with part.open(encoding="utf-8", errors="replace") as file:
                found.extend(line.rstrip("\n") for line in file)
    return list(found)
