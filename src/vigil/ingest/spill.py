"""Files in a scratch folder that hold what would not fit into memory."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

RUN_ROWS = 1 << 19
STREAM_ROWS = 1 << 13
SEQUENCE = "_sequence"
"""Hidden column of a run: the place of the event in the ledger."""

_PARTITIONS = 64
_BUFFER = 1 << 17


class Partitions:
    """Records in files by the low bits of a key, so that one file with all records of a key fits into memory."""

    def __init__(self, folder: Path, dtype: np.dtype[np.void]) -> None:
        self._dtype = dtype
        folder.mkdir(parents=True)
        self._paths = [folder / f"{number:02}" for number in range(_PARTITIONS)]
        self._buffers = [bytearray() for _ in self._paths]

    def append(self, records: npt.NDArray[np.void], keys: npt.NDArray[np.uint64]) -> None:
        """Add records; those of one key keep their order."""
        parts = (keys % np.uint64(_PARTITIONS)).astype(np.uint8)
        order = np.argsort(parts, kind="stable")
        ends = np.searchsorted(parts[order], np.arange(_PARTITIONS), side="right")
        ordered, start = records[order], 0
        for number, end in enumerate(ends):
            if end > start:
                self._buffers[number] += ordered[start:end].tobytes()
                if len(self._buffers[number]) >= _BUFFER:
                    self._flush(number)
            start = end

    def _flush(self, number: int) -> None:
        with self._paths[number].open("ab") as file:
            file.write(self._buffers[number])
        self._buffers[number].clear()

    def close(self) -> None:
        """End the writing."""
        for number in range(_PARTITIONS):
            self._flush(number)

    def read(self) -> Iterator[npt.NDArray[np.void]]:
        """Yield the records of each file that has any; `close` comes before."""
        for path in self._paths:
            if path.stat().st_size:
                yield np.fromfile(path, self._dtype)


class Runs:
    """Events in sorted files of bounded length, each in order of time and then of sequence."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self.schema = schema.append(pa.field(SEQUENCE, pa.int64()))
        self.folder = folder
        self.paths: list[Path] = []
        self._batches: list[pa.RecordBatch] = []
        self._rows = 0
        folder.mkdir(parents=True)

    def append(self, events: list[pa.Array], sequence: npt.NDArray[np.int64]) -> None:
        """Add the columns of a batch of events."""
        arrays = [*events, pa.array(sequence)]
        self._batches.append(pa.RecordBatch.from_arrays(arrays, schema=self.schema))
        self._rows += len(sequence)
        if self._rows >= RUN_ROWS:
            self.close()

    def close(self) -> None:
        """Write what is still in memory."""
        if not self._rows:
            return
        events = pa.Table.from_batches(self._batches).unify_dictionaries().combine_chunks()
        path = self.folder / f"run-{len(self.paths):05}"
        self.paths.append(path)
        with pa.ipc.new_stream(path, self.schema) as stream:
            stream.write_table(in_order(events), max_chunksize=STREAM_ROWS)
        self._batches, self._rows = [], 0


def times_of(events: pa.Table) -> npt.NDArray[np.int64]:
    """Return the event times in microseconds."""
    times: npt.NDArray[np.int64] = events["event_time"].cast(pa.int64()).to_numpy()
    return times


def in_order(events: pa.Table) -> pa.Table:
    """Return the events by time and then by sequence."""
    times, sequence = times_of(events), events[SEQUENCE].to_numpy()
    steps = np.diff(times)
    if np.all((steps > 0) | ((steps == 0) & (np.diff(sequence) > 0))):
        return events
    return events.take(pa.array(np.lexsort((sequence, times))))
