"""What became of each event of each row: one byte each, in a file, so that every count adds up by construction."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

ACCEPTED, ABSENT, REJECTED, EXCLUDED, DUPLICATE, CONFLICT, UNIT_JUMP, ORPHANED = range(8)
"""ABSENT: the mapping makes no such event of the row. REJECTED: while it was read. The rest: later, or on purpose."""

DEFERRED = (DUPLICATE, CONFLICT, UNIT_JUMP, ORPHANED)
"""What only the whole file can tell."""

Fates = npt.NDArray[np.uint8]
_CHUNK = 1 << 20


class Ledger:
    """The fate of event `e` of row `r`, counted from 1, is byte `(r - 1) * events + e` of the file."""

    def __init__(self, path: Path, events: int) -> None:
        self.path = path
        self.events = events
        self.rows = 0
        self._file = path.open("wb")
        self._fates: Fates | None = None

    def append(self, fates: Fates) -> None:
        """Add the next rows: an array of shape (rows, events)."""
        self._file.write(np.ascontiguousarray(fates, dtype=np.uint8).tobytes())
        self.rows += len(fates)

    def close(self) -> None:
        """End the reading of the file; from now on `fates` can be read and changed."""
        self._file.close()
        size = self.rows * self.events
        self._fates = np.memmap(self.path, np.uint8, "r+", shape=(size,)) if size else np.zeros(0, np.uint8)

    @property
    def fates(self) -> Fates:
        """One byte for each event in the order of the file; changes are kept."""
        if self._fates is None:
            raise ValueError("the ledger is still being written: close it first")
        return self._fates

    @cached_property
    def origins(self) -> npt.NDArray[np.int64]:
        """For an event that was deferred, what it clashes with: a row, or the number of a jump. Sparse on disk."""
        return np.memmap(self.path.with_suffix(".origins"), np.int64, "w+", shape=(max(self.rows * self.events, 1),))

    def by_row(self) -> Iterator[tuple[int, Fates]]:
        """Yield stretches of rows: the number of the first, and a view of shape (rows, events) that may be changed."""
        table = self.fates.reshape(-1, self.events)
        for start in range(0, self.rows, _CHUNK):
            yield start + 1, table[start : start + _CHUNK]

    def count(self) -> npt.NDArray[np.int64]:
        """Return how many events met each fate, with shape (events, 8)."""
        counts = np.zeros((self.events, 8), np.int64)
        for _, fates in self.by_row():
            for event in range(self.events):
                counts[event] += np.bincount(fates[:, event], minlength=8)
        return counts

    def count_rows(self) -> tuple[int, int, int]:
        """Return the rows of which everything was accepted, of which something was quarantined, and those excluded."""
        quarantined = excluded = 0
        for _, fates in self.by_row():
            worst = fates.max(axis=1)
            excluded += int(np.count_nonzero(fates[:, 0] == EXCLUDED))
            quarantined += int(np.count_nonzero(worst >= REJECTED))
        return self.rows - quarantined, quarantined - excluded, excluded
