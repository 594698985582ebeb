"""Sorted runs into one sorted stream, holding one batch of each run in memory."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from vigil.ingest.spill import SEQUENCE, STREAM_ROWS, Runs, in_order, times_of

FAN_IN = 32
_BEYOND = (np.iinfo(np.int64).max, np.iinfo(np.int64).max)


class _Head:
    """The part of a run that is loaded."""

    def __init__(self, path: Path) -> None:
        self._file = pa.OSFile(str(path))
        self._stream = pa.ipc.open_stream(self._file)
        self._exhausted = False
        self._loaded: pa.Table = self._stream.schema.empty_table()
        self.load()

    def load(self) -> None:
        """Load the next batch, if nothing is loaded and there is one."""
        if self._exhausted or self._loaded.num_rows:
            return
        try:
            self._loaded = pa.Table.from_batches([self._stream.read_next_batch()])
        except StopIteration:
            self._exhausted = True
            self._file.close()
            return
        self._times, self._sequence = times_of(self._loaded), self._loaded[SEQUENCE].to_numpy()

    @property
    def is_done(self) -> bool:
        return self._exhausted and not self._loaded.num_rows

    @property
    def bound(self) -> tuple[int, int]:
        """Every event of the run up to this time and place in the source is loaded."""
        return _BEYOND if self._exhausted else (int(self._times[-1]), int(self._sequence[-1]))

    def take_up_to(self, bound: tuple[int, int]) -> pa.Table:
        """Return and forget the loaded events up to `bound`."""
        time, place = bound
        first, last = np.searchsorted(self._times, time), np.searchsorted(self._times, time, side="right")
        count = int(first + np.searchsorted(self._sequence[first:last], place, side="right"))
        taken, self._loaded = self._loaded.slice(0, count), self._loaded.slice(count)
        self._times, self._sequence = self._times[count:], self._sequence[count:]
        return taken


def merged(runs: Runs) -> Iterator[pa.Table]:
    """Yield the events of all runs by time and then by sequence; the runs are closed."""
    paths = runs.paths
    level = 0
    while len(paths) > FAN_IN:
        level += 1
        groups = [paths[start : start + FAN_IN] for start in range(0, len(paths), FAN_IN)]
        paths = [_write(runs, group, f"level{level}-{number:05}") for number, group in enumerate(groups)]
    yield from _merge(paths)


def _write(runs: Runs, paths: list[Path], name: str) -> Path:
    target = runs.folder / name
    with pa.ipc.new_stream(target, runs.schema) as stream:
        for events in _merge(paths):
            stream.write_table(events.unify_dictionaries().combine_chunks(), max_chunksize=STREAM_ROWS)
    for path in paths:
        path.unlink()
    return target


def _merge(paths: list[Path]) -> Iterator[pa.Table]:
    heads = [_Head(path) for path in paths]
    while heads := [head for head in heads if not head.is_done]:
        bound = min(head.bound for head in heads)
        pieces = [piece for piece in (head.take_up_to(bound) for head in heads) if piece.num_rows]
        if pieces:
            yield pieces[0] if len(pieces) == 1 else _sorted(pieces)
        for head in heads:
            head.load()


def _sorted(pieces: list[pa.Table]) -> pa.Table:
    return in_order(pa.concat_tables(pieces).unify_dictionaries().combine_chunks())
