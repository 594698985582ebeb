"""Ids that appear more than once in a file of any length."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vigil.ingest.fingerprints import hash_contents, hash_texts
from vigil.ingest.ledger import CONFLICT, DUPLICATE, Ledger
from vigil.ingest.spill import Partitions

_RECORD = np.dtype([("id", np.uint64), ("check", np.uint64), ("content", np.uint64), ("sequence", np.int64)])


class IdIndex:
    """The ids of all accepted events of one kind, as 128-bit hashes on disk: two different ids never meet."""

    def __init__(self, folder: Path) -> None:
        self._partitions = Partitions(folder, _RECORD)

    def add(self, events: pa.RecordBatch, sequence: npt.NDArray[np.int64]) -> None:
        """Remember the ids and contents of a batch."""
        records = np.empty(len(sequence), _RECORD)
        records["id"], records["check"] = hash_texts(events.column("event_id"), (0, 1))
        records["content"] = hash_contents(events)
        records["sequence"] = sequence
        self._partitions.append(records, records["id"])

    def mark_duplicates(self, ledger: Ledger) -> None:
        """Write into the ledger which events repeat the id of an earlier one, and the row of that one."""
        self._partitions.close()
        for records in self._partitions.read():
            repeated = _repeated(records)
            if len(repeated):
                _mark(repeated, ledger)


def _repeated(records: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """Return the records whose id occurs more than once, by id and then by sequence."""
    order = np.argsort(records["id"])
    ids = records["id"][order]
    same = ids[1:] == ids[:-1]
    if not same.any():
        return records[:0]
    candidates = records[order[np.append(same, False) | np.append(False, same)]]
    return np.asarray(candidates[np.lexsort((candidates["sequence"], candidates["check"], candidates["id"]))])


def _mark(records: npt.NDArray[np.void], ledger: Ledger) -> None:
    is_first = np.ones(len(records), np.bool_)
    is_first[1:] = (records["id"][1:] != records["id"][:-1]) | (records["check"][1:] != records["check"][:-1])
    first = records[np.maximum.accumulate(np.where(is_first, np.arange(len(records)), 0))]
    later = ~is_first
    places = records["sequence"][later]
    same_contents = (records["content"] == first["content"])[later]
    ledger.fates[places] = np.where(same_contents, DUPLICATE, CONFLICT)
    ledger.origins[places] = first["sequence"][later] // ledger.events + 1
