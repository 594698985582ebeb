"""Features of single events and of batches of them: the transformer's side of the engine.

The states of an event's entities come from a store, pass through the same kernel that treats whole logs, and go back
under the versions that were read, so concurrent writers never lose an update.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from vigil.contracts.events import Event
from vigil.errors import Bug, Unavailable
from vigil.features import kernel
from vigil.features.arrivals import event_key, prepare, refuse_unused
from vigil.features.batch import MOST_CONFLICTS, BatchEngine, OnlineBatch, vector
from vigil.features.compiler import Program, Stage
from vigil.features.engine import EngineState, Features
from vigil.features.fields import FIELDS, KINDS, TRANSACTION, SingleRow
from vigil.features.log import entity_key
from vigil.features.states import entities_of, export_states, store_key
from vigil.features.store.base import ABSENT, Change, Outcome, StateStore


@dataclass(frozen=True)
class OnlineResult:
    """What became of an event."""

    values: Features | None
    """The features of a transaction, of shape (features,); None for other kinds of event."""
    duplicate: bool
    """Whether the event had been applied before: it was not counted again, and has the features of the first time."""


class OnlineFeatures:
    """Computes the features of events over a shared store of states; safe to use from several threads.

    The store remembers the features of each transaction for `Retention.events`: whoever sends it again within that
    time, to whichever server on the store, is given the same ones.

    An event that arrives late is folded as if it had come in time, so what follows is right, but for measures that hold
    an event against what was known then, such as `customer.baseline`: these keep what they saw. Its own features see
    the past as of its own time in whole grains of each window, if it is not later than `compiler.GRACE`; folds over the
    whole past see it as it is now.
    """

    def __init__(self, program: Program, store: StateStore) -> None:
        self._program = program
        self._store = store
        self._fields = [FIELDS[name] for name in program.fields]
        self._layout = _Layout(program)
        self._batch = BatchEngine(program, store)

    def process(self, event: Event) -> OnlineResult:
        """Return the features of `event` and add it to the past of its entities; a duplicate is added once only.

        Raises ContractError for a kind of event that no feature uses, Unavailable if the store does not answer.
        """
        key = event_key(event.kind, event.event_id)
        for _ in range(MOST_CONFLICTS):
            run = self._run(event)
            values = self._values(run)
            outcome = self._store.commit(run.changes(), key, b"" if values is None else values.tobytes()).outcome
            if outcome is Outcome.APPLIED:
                return OnlineResult(values, duplicate=False)
            if outcome is Outcome.DUPLICATE and (note := self._store.recall([key])[0]) is not None:
                return self._as_noted(note, values)
        raise Unavailable(f"{MOST_CONFLICTS} other writers in a row were faster on the same entities: try again")

    def look(self, event: Event) -> OnlineResult:
        """Return the features that `event` has now, or had when it was applied; nothing is written."""
        values = self._values(self._run(event))
        (note,) = self._store.recall([event_key(event.kind, event.event_id)])
        return OnlineResult(values, duplicate=False) if note is None else self._as_noted(note, values)

    def process_many(self, events: Sequence[Event] | pa.Table) -> OnlineBatch:
        """Return what `process` would, bit for bit, of the events one by one in log order; much faster.

        A table holds transactions; `check_table` says what it has to look like. After Unavailable some of the events
        may have been applied: repeat the call, and these give the same features again.
        """
        return self._batch.process(prepare(self._program, events))

    def look_many(self, events: Sequence[Event] | pa.Table) -> OnlineBatch:
        """Return what `look` would of each event; nothing is written."""
        return self._batch.look(prepare(self._program, events))

    def load(self, state: EngineState) -> int:
        """Write the states of an offline run into the store and return how many entities they are of."""
        return self._store.load(export_states(self._program, state))

    def _as_noted(self, note: bytes, now: Features | None) -> OnlineResult:
        """Return the first features of a duplicate; `now` if nothing was noted then."""
        return OnlineResult(vector(note, len(self._program.features)) if note else now, duplicate=True)

    def _run(self, event: Event) -> "_Run":
        """Take the event through every stage, in memory."""
        refuse_unused((event.kind,))
        row = SingleRow(event)
        fields = np.array([[value(row)] for value in self._fields], dtype=np.float64)
        run = _Run(self._program, self._layout, fields, row.time())
        run.fetch(self._store, self._layout.keys(row))
        asks = event.kind == KINDS[TRANSACTION]
        for stage, numbers in zip(self._program.stages, self._layout.stages, strict=True):
            run.measure(stage)
            run.fetch(self._store, run.looked_up(stage))
            run.fold(numbers, emits=asks or stage.emits_all)
        run.asks = asks
        return run

    def _values(self, run: "_Run") -> Features | None:
        if not run.asks:
            return None
        program = self._program
        values = np.empty((1, len(program.features)), dtype=np.float32)
        kernel.run_features(
            *program.code, program.results, program.defaults, run.fields, run.work.aggregates, _FIRST, values
        )
        return np.asarray(values[0])


_FIRST = np.zeros(1, dtype=np.int64)


@dataclass(frozen=True)
class _Place:
    """Where the state of an entity lies in the buffer: its blocks of all stages lie side by side."""

    number: int
    start: int
    width: int


class _Layout:
    """The buffer that holds the states of all entities of one event."""

    def __init__(self, program: Program) -> None:
        blocks = [block for stage in program.stages for block in stage.blocks]
        self.entities = entities_of(program)
        self.places: dict[str, _Place] = {}
        offsets: dict[int, int] = {}
        self.width = 0
        for number, entity in enumerate(self.entities):
            start = self.width
            for block in blocks:
                if block.entity.name == entity.name:
                    offsets[block.row] = self.width
                    self.width += block.width
            self.places[entity.name] = _Place(number, start, self.width - start)
        self._program = program
        self.stages = [self._stage_blocks(stage, offsets) for stage in program.stages]

    def _stage_blocks(self, stage: Stage, offsets: dict[int, int]) -> kernel.Int64s:
        """Return (row of the block, number of its entity, offset of its state) for each block of the stage."""
        rows = [(block.row, self.places[block.entity.name].number, offsets[block.row]) for block in stage.blocks]
        return np.array(rows, dtype=np.int64).reshape(-1, 3)

    def keys(self, row: SingleRow) -> dict[str, str]:
        """Return the store's key of each entity that the event names."""
        found = {}
        for entity in self.entities:
            key = entity_key(row.keys(entity.columns))
            if key is not None:
                found[entity.name] = store_key(entity, key)
        return found


class _Run:
    """One event on its way through the stages."""

    def __init__(self, program: Program, layout: _Layout, fields: kernel.Floats, time: int) -> None:
        self.fields = fields
        self.asks = False
        self.work = kernel.Work(
            times=np.array([time]),
            emits=np.empty(1, dtype=np.bool_),
            measures=np.empty((1, program.n_measures), dtype=np.int64),
            aggregates=np.empty((1, program.n_aggregates), dtype=np.int64),
        )
        self._program = program
        self._layout = layout
        self._states = np.zeros(layout.width, dtype=np.int64)
        self._present = np.full(len(layout.entities), -1, dtype=np.int32)
        self._read: dict[str, tuple[str, int]] = {}

    def fetch(self, store: StateStore, keys: dict[str, str]) -> None:
        """Read the states of the entities `keys` (entity name: store key) in one round trip."""
        if not keys:
            return
        for (name, key), found in zip(keys.items(), store.get_many(list(keys.values())), strict=True):
            place = self._layout.places[name]
            self._present[place.number] = 0
            self._read[name] = (key, found.version if found else ABSENT)
            if found:
                self._fill(key, place, found.value)

    def _fill(self, key: str, place: _Place, value: bytes) -> None:
        if len(value) != 8 * place.width:
            raise Bug(f"the state of {key} has {len(value)} bytes, not {8 * place.width}: another schema wrote it")
        self._states[place.start : place.start + place.width] = np.frombuffer(value, dtype=np.int64)

    def measure(self, stage: Stage) -> None:
        """Compute what the event adds in this stage."""
        work = self.work
        kernel.run_measures(*stage.measures, stage.results, stage.per_unit, self.fields, work.aggregates, work.measures)

    def looked_up(self, stage: Stage) -> dict[str, str]:
        """Return the store's keys of entities that only another entity's memory leads to."""
        found = {}
        for block in stage.blocks:
            if block.key_measure is not None and block.entity.name not in self._read:
                code = int(self.work.measures[0, block.key_measure])
                if code != kernel.MISSING:
                    found[block.entity.name] = f"{block.entity.name}:{code}"
        return found

    def fold(self, blocks: kernel.Int64s, *, emits: bool) -> None:
        """Let the event read the past of its entities in this stage, then join it."""
        self.work.emits[0] = emits
        kernel.fold_event(blocks, self._present, self._states, *self.work, *self._program.tables)

    def changes(self) -> list[Change]:
        """Return the new states, each under the version that was read."""
        found = []
        for name, (key, version) in self._read.items():
            place = self._layout.places[name]
            found.append(Change(key, self._states[place.start : place.start + place.width].tobytes(), version))
        return found
