"""The archive of decisions: finished files of the log are moved to a store, which outlives machine and pod.

    VIGIL_DECISIONS=gs://bucket/decisions  ->  gs://bucket/decisions/2026-11-25/rev-1-5f3a9c01-0001.jsonl

A file is created in the store whole and once, and only then removed here; while the store does not answer, files wait
on the disk. Files of a process that died are moved by whoever looks next at the same folder. The account need only be
able to create objects. What can be lost is what a machine takes with it: at most the decisions since the open file was
begun (`LogSettings.file_seconds`).
"""

import logging
import threading
from dataclasses import dataclass
from pathlib import Path

from vigil.errors import VigilError
from vigil.files import alone, is_held
from vigil.registry.store import Store

_LOCK = ".archive"
_SECONDS = 2.0
_logger = logging.getLogger(__name__)


@dataclass
class ArchiveCounts:
    """Running totals, in files (`failures` in attempts), and how many files wait."""

    moved: int = 0
    failures: int = 0
    waiting: int = 0


class DecisionArchive:
    """Moves finished files in the background, each few seconds, until it is closed."""

    def __init__(self, folder: Path, store: Store, seconds: float = _SECONDS) -> None:
        self.counts = ArchiveCounts()
        self._folder = folder
        self._store = store
        self._seconds = seconds
        self._end = threading.Event()
        self._failing = False
        self._thread = threading.Thread(target=self._work, name="decision-archive", daemon=True)
        self._thread.start()

    def close(self, timeout: float = 10.0) -> int:
        """Move what is finished by now, and return how many files had to be left behind on the disk."""
        self._end.set()
        self._thread.join(timeout)
        if left := len(self._finished()):
            _logger.error("decisions not archived", extra={"files": left, "folder": str(self._folder)})
        return left

    def _work(self) -> None:
        while not self._end.wait(self._seconds):
            self._sweep()
        self._sweep()

    def _sweep(self) -> None:
        """Move the files that are finished, unless another process is at it."""
        try:
            with alone(self._folder / _LOCK) as is_mine:
                finished = self._finished()
                self.counts.waiting = len(finished)
                for path in finished if is_mine else ():
                    self._store.create(path.relative_to(self._folder).as_posix(), path)
                    path.unlink()
                    self.counts.moved += 1
                    self.counts.waiting -= 1
        except (VigilError, OSError) as error:
            self.counts.failures += 1
            if not self._failing:
                _logger.error("archive of decisions fails", extra={"cause": str(error), "store": self._store.uri})
            self._failing = True
            return
        if self._failing:
            _logger.info("archive of decisions works again")
        self._failing = False

    def _finished(self) -> list[Path]:
        """Return the files that nobody writes any more."""
        return [path for path in sorted(self._folder.rglob("*.jsonl")) if _has_lines(path) and not is_held(path)]


def _has_lines(path: Path) -> bool:
    """Return whether there is something in a file: one that is empty may have been opened just now."""
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:  # another process has moved it
        return False
