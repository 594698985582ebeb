"""Keeps a feature table up to date: a day's update costs a day's work.

The folder holds daily partitions of features and a snapshot: the states as of the settled time, and the events since
then, which late arrivals may still reorder. An update replays these together with what is new. Events before the
settled time come too late; they are handed back, never dropped.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from vigil.clock import DAY, HOUR, from_micros
from vigil.contracts.events import EVENTS, arrow_schema, check_table, event_model
from vigil.errors import ContractError, Unavailable
from vigil.features.admission import Admission, Tables, admit
from vigil.features.compiler import Program
from vigil.features.engine import BlockState, EngineState, FeatureTable, Progress, new_state, run
from vigil.features.log import EventLog, KeyIndex
from vigil.files import alone

ALLOWED_LATENESS = HOUR
LAYOUT = 1


@dataclass(frozen=True)
class Update:
    """What an update did."""

    computed: int
    """Transactions whose features were computed: the new ones, and those since the last settled time once more."""
    admission: Admission
    settled: int
    """Events before this time (microseconds) are final."""


@dataclass(frozen=True)
class Snapshot:
    """Everything that the next update needs."""

    state: EngineState
    tail: Tables
    """Events at or after the settled time, by kind."""
    settled: int
    watermark: int
    """Latest event time seen, microseconds."""


class _Current(BaseModel):
    """The file that an update replaces last: what it does not name does not count."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layout: int = LAYOUT
    schema_hash: str
    number: int = 0
    settled: int = 0
    watermark: int = 0
    tail: tuple[str, ...] = ()
    partitions: dict[str, str] = {}


class FeatureStore:
    """A feature table in a folder, for one program. `lateness` (microseconds) is how long an event may be under way."""

    def __init__(self, folder: Path, program: Program, lateness: int = ALLOWED_LATENESS) -> None:
        self._folder = folder
        self._program = program
        self._lateness = lateness
        folder.mkdir(parents=True, exist_ok=True)

    def update(self, tables: Mapping[str, pa.Table], progress: Progress | None = None) -> Update:
        """Bring the table up to date with new events by kind, however many days they span.

        A crash at any point leaves the last complete update, and running it again gives the same table. Raises
        Unavailable while another update of the folder runs.
        """
        checked = {kind: check_table(event_model(kind), table) for kind, table in tables.items()}
        with self._locked():
            current = self._read_current()
            before = self._load(current)
            admission = admit(before.tail, checked, before.settled)
            features, after = self._advance(before, admission.events, progress)
            self._save(current, before.settled, features, after)
        return Update(len(features), admission, after.settled)

    def features(self) -> pa.Table:
        """Return the whole table in log order: event_id, event_time, and a float32 column per feature."""
        partitions = self._read_current().partitions
        empty = FeatureTable.empty(self._program.names).to_arrow()
        return pa.concat_tables(
            [empty, *(pq.read_table(self._folder / name) for _, name in sorted(partitions.items()))]
        )

    def snapshot(self) -> Snapshot:
        """Return what the last complete update left; nothing yet for a new folder."""
        return self._load(self._read_current())

    def _advance(self, before: Snapshot, events: Tables, progress: Progress | None) -> tuple[FeatureTable, Snapshot]:
        """Fold the log up to the new settled time for good, and the rest into a copy of the states."""
        log = EventLog.of(events)
        watermark = max(before.watermark, int(log.times[-1]) if len(log) else 0)
        settled = max(before.settled, watermark - self._lateness)
        split = int(np.searchsorted(log.times, settled))
        final = run(self._program, log, before.state, stop=split, progress=progress)
        provisional = run(self._program, log, before.state.copy(), start=split, progress=progress)
        tail = {kind: _since(table, settled) for kind, table in events.items()}
        return final.join(provisional), Snapshot(before.state, tail, settled, watermark)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with alone(self._folder / "lock") as mine:
            if not mine:
                raise Unavailable(f"another update of {self._folder} is running: try again when it is done")
            yield

    def _read_current(self) -> _Current:
        path = self._folder / "current.json"
        if not path.exists():
            return _Current(schema_hash=self._program.schema_hash)
        raw = json.loads(path.read_text())
        if raw.get("layout") != LAYOUT or raw.get("schema_hash") != self._program.schema_hash:
            raise ContractError(
                f"{self._folder} holds features of another schema ({raw.get('schema_hash')}): build into an empty "
                "folder, since states of one schema cannot be turned into those of another"
            )
        return _Current.model_validate(raw)

    def _load(self, current: _Current) -> Snapshot:
        state = new_state(self._program)
        if not current.number:
            return Snapshot(state, {}, 0, 0)
        folder = self._folder / _snapshot_name(current.number)
        for name in state.indexes:
            state.indexes[name] = KeyIndex(pq.read_table(folder / f"keys-{name}.parquet")["key"].combine_chunks())
        for row in state.blocks:
            state.blocks[row] = BlockState(np.load(folder / f"block-{row}.npy", allow_pickle=False))
        tail = {
            kind: check_table(EVENTS[kind], pq.read_table(folder / f"tail-{kind}.parquet")) for kind in current.tail
        }
        return Snapshot(state, tail, current.settled, current.watermark)

    def _save(self, current: _Current, from_time: int, features: FeatureTable, after: Snapshot) -> None:
        """Write new files beside the old ones, switch over in one step, then remove what no longer counts."""
        number = current.number + 1
        partitions = self._write_partitions(current, from_time, features, number)
        self._write_snapshot(self._folder / _snapshot_name(number), after)
        successor = _Current(
            schema_hash=self._program.schema_hash,
            number=number,
            settled=after.settled,
            watermark=after.watermark,
            tail=tuple(sorted(after.tail)),
            partitions={**current.partitions, **partitions},
        )
        draft = self._folder / "current.json.new"
        draft.write_text(successor.model_dump_json())
        draft.replace(self._folder / "current.json")
        self._remove_superseded(successor)

    def _write_partitions(
        self, current: _Current, from_time: int, features: FeatureTable, number: int
    ) -> dict[str, str]:
        """Write the days that `features` touch; rows before `from_time` are final and kept from the old partition."""
        table = features.to_arrow()
        days = features.times // DAY
        written = {}
        for day in np.unique(days):
            start, stop = np.searchsorted(days, [day, day + 1])
            date = from_micros(int(day) * DAY).date().isoformat()
            rows = table.slice(start, stop - start)
            if date in current.partitions:
                old = pq.read_table(self._folder / current.partitions[date])
                rows = pa.concat_tables([_before(old, from_time), rows])
            written[date] = f"features-{date}-{number}.parquet"
            pq.write_table(rows, self._folder / written[date], compression="lz4", use_dictionary=False)
        return written

    def _write_snapshot(self, folder: Path, snapshot: Snapshot) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, index in snapshot.state.indexes.items():
            pq.write_table(pa.table({"key": index.keys}), folder / f"keys-{name}.parquet", compression="lz4")
        for stage in self._program.stages:
            for block in stage.blocks:
                used = len(snapshot.state.indexes[block.entity.name])
                np.save(folder / f"block-{block.row}.npy", snapshot.state.blocks[block.row].rows[:used])
        for kind, table in snapshot.tail.items():
            pq.write_table(table.cast(arrow_schema(EVENTS[kind])), folder / f"tail-{kind}.parquet", compression="lz4")

    def _remove_superseded(self, current: _Current) -> None:
        keep = {*current.partitions.values(), _snapshot_name(current.number)}
        for path in self._folder.iterdir():
            if path.name.startswith("features-") and path.name not in keep:
                path.unlink()
            elif path.name.startswith("snapshot-") and path.name not in keep:
                shutil.rmtree(path)


def _snapshot_name(number: int) -> str:
    return f"snapshot-{number}"


def _before(table: pa.Table, time: int) -> pa.Table:
    """Return the rows of a table in log order before `time`."""
    times = table["event_time"].cast(pa.int64()).to_numpy()
    return table.slice(0, int(np.searchsorted(times, time)))


def _since(table: pa.Table, time: int) -> pa.Table:
    return table.filter(pa.array(table["event_time"].cast(pa.int64()).to_numpy() >= time))
