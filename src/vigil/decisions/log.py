"""The decision log: every decision as a line of JSON, from which it can be made again bit for bit.

    decisions/2026-11-25/rev-1-5f3a9c01-0001.jsonl      day (UTC), revision, process, number of the file

The name of the process is random, since a container that starts again has the number that it had before. A file is
locked while it is written: what nobody locks is finished, or its process is dead (`archive.py` moves such files away).

A line is a DecisionRecord with its decision_id, revision, model and model_version. One thread writes; the queue before
it is bounded, and nothing is dropped: `reserve` refuses a decision that would not find room, before it is made. While
the disk is full the writer holds what it has, tries again every second, and `healthy` is false.

A line that `append` took survives the end of the process after `close`, or after a second at the latest; files are
synced to the disk when they are finished.
"""

import json
import logging
import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from math import inf
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from vigil.clock import Clock, system_clock
from vigil.decisions.record import DecisionRecord
from vigil.errors import ContractError, Unavailable
from vigil.files import lock

FOLDER = "decisions"
_PAUSE_SECONDS = 1.0
_LINGER_SECONDS = 0.02
"""How long the writer waits for more: it must not wake up for every single decision."""
_EXTRA = ("decision_id", "model", "model_version", "revision")
_logger = logging.getLogger(__name__)


@dataclass
class LogCounts:
    """Running totals, in rows (`failures` in attempts)."""

    written: int = 0
    failures: int = 0
    refused: int = 0
    lost: int = 0


@dataclass(frozen=True)
class LogSettings:
    """Where the log lies, how much may wait, and at which size and age a file ends."""

    folder: Path
    revision: str
    queue_rows: int = 200_000
    file_bytes: int = 256 << 20
    file_seconds: float = inf


@dataclass(frozen=True)
class LoggedDecision:
    """One line of the log."""

    record: DecisionRecord
    decision_id: str
    model: str
    model_version: str
    revision: str


class DecisionLog:
    """Appends lines in the background; safe to use from several threads."""

    def __init__(self, settings: LogSettings, clock: Clock = system_clock) -> None:
        self.counts = LogCounts()
        self._settings = settings
        self._clock = clock
        self._waiting: deque[bytes] = deque()
        self._taken = 0
        self._reserved = 0
        self._wake = threading.Condition()
        self._closing = False
        self._failing = False
        self._file: IO[bytes] | None = None
        self._process = uuid.uuid4().hex[:8]
        self._day: date | None = None
        self._opened = 0.0
        self._number = 0
        self._size = 0
        settings.folder.mkdir(parents=True, exist_ok=True)
        self._thread = threading.Thread(target=self._work, name="decision-log", daemon=True)
        self._thread.start()

    @property
    def healthy(self) -> bool:
        """Whether decisions can be taken: the disk takes them, and the queue is not full."""
        return not self._failing and self.waiting < self._settings.queue_rows

    @property
    def waiting(self) -> int:
        """Rows that are not written yet."""
        return len(self._waiting) + self._taken

    def reserve(self, rows: int) -> None:
        """Make sure of room for `rows` lines, or raise Unavailable; `append` or `release` gives it back."""
        with self._wake:
            if self._closing or self.waiting + self._reserved + rows > self._settings.queue_rows:
                self.counts.refused += rows
                raise Unavailable("the decision log cannot take more decisions: free the disk below VIGIL_HOME")
            self._reserved += rows

    def release(self, rows: int) -> None:
        """Give back room that is not needed, because the rows were not decided."""
        with self._wake:
            self._reserved -= rows

    def append(self, lines: Sequence[bytes]) -> None:
        """Take lines (without line ends) for which there is room, and return at once."""
        with self._wake:
            self._reserved -= len(lines)
            if not self._waiting:
                self._wake.notify()
            self._waiting.extend(lines)

    def close(self, timeout: float = 10.0) -> int:
        """Write what waits, and return how many rows could not be written: they are counted as lost."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout)
        lost = self.waiting
        if lost:
            self.counts.lost += lost
            _logger.error("decisions lost", extra={"rows": lost})
        return lost

    def _work(self) -> None:
        while True:
            with self._wake:
                if not self._wake.wait_for(lambda: self._waiting or self._closing, self._file_seconds_left()):
                    self._finish()
                    continue
                self._wake.wait_for(lambda: self._closing, _LINGER_SECONDS)
                if not self._waiting:
                    break
                lines = [self._waiting.popleft() for _ in range(min(len(self._waiting), 4096))]
                self._taken = len(lines)
            while not self._write(lines):
                if self._closing:
                    return
                time.sleep(_PAUSE_SECONDS)
            with self._wake:
                self.counts.written += len(lines)
                self._taken = 0
        self._finish()

    def _write(self, lines: list[bytes]) -> bool:
        """Return whether the lines are in the file; if not, the file is as it was before."""
        content = b"\n".join(lines) + b"\n"
        try:
            file = self._open(len(content))
            try:
                _write_all(file, content)
            except OSError:
                os.ftruncate(file.fileno(), self._size)
                raise
        except OSError as error:
            self.counts.failures += 1
            if not self._failing:
                _logger.error("decision log fails", extra={"cause": str(error), "folder": str(self._settings.folder)})
            self._failing = True
            return False
        if self._failing:
            _logger.info("decision log works again")
        self._failing = False
        self._size += len(content)
        return True

    def _file_seconds_left(self) -> float | None:
        """Return how long the open file may still take lines; None without a file or a limit."""
        if self._file is None or self._settings.file_seconds == inf:
            return None
        return max(self._opened + self._settings.file_seconds - time.monotonic(), 0.0)

    def _open(self, size: int) -> IO[bytes]:
        today = self._clock().date()
        is_full = bool(self._size) and self._size + size > self._settings.file_bytes
        if self._file is None or today != self._day or is_full or self._file_seconds_left() == 0:
            self._finish()
            folder = self._settings.folder / today.isoformat()
            folder.mkdir(parents=True, exist_ok=True)
            self._number += 1
            name = f"{self._settings.revision}-{self._process}-{self._number:04}.jsonl"
            self._file = (folder / name).open("xb", buffering=0)
            lock(self._file)
            self._day, self._size, self._opened = today, 0, time.monotonic()
        return self._file

    def _finish(self) -> None:
        if self._file is not None:
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None


def _write_all(file: IO[bytes], content: bytes) -> None:
    """Write everything: a disk that runs full takes a part first, and fails at the next attempt."""
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


def read_decisions(path: Path) -> Iterator[LoggedDecision]:
    """Yield the decisions of a log file, or of a folder of them, file by file in the order of their names.

    A last line that a crash tore is left out; any other damage is a ContractError naming the line.
    """
    for file in sorted(path.rglob("*.jsonl")) if path.is_dir() else [path]:
        lines = file.read_bytes().split(b"\n")
        for number, line in enumerate(lines[:-1], start=1):
            yield _parse(line, f"{file}:{number}")


def _parse(line: bytes, where: str) -> LoggedDecision:
    try:
        document = json.loads(line)
        extra = {name: document.pop(name) for name in _EXTRA}
        return LoggedDecision(DecisionRecord.model_validate(document), **extra)
    except (ValueError, KeyError, AttributeError, ValidationError) as error:
        raise ContractError(f"{where} is not a decision: {error}") from error
