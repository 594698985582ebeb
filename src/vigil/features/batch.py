"""Many events at once through the kernel and the store: what one by one would give, at the cost of a few.

The events are taken in log order. Those of one batch share a look-up and a commit; where another writer is faster
again and again, the batch is cut in halves, down to single events.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vigil.errors import Bug, Unavailable
from vigil.features import kernel
from vigil.features.arrivals import Prepared
from vigil.features.compiler import Block, Program, Stage
from vigil.features.engine import Features
from vigil.features.states import entities_of
from vigil.features.store.base import ABSENT, Change, Outcome, StateStore, Versioned

Int64s = npt.NDArray[np.int64]

MOST_CONFLICTS = 32
"""How often an event starts again because another writer was faster, before it is refused."""

BATCH_CONFLICTS = 2
"""The same for several events, before they are cut in halves."""

BATCH_EVENTS = 2_048
"""Events that share a commit: ten megabytes of states, which Redis takes well within its timeout."""

LOOK_EVENTS = 128
"""Events that are looked at together, each with states of its own."""


@dataclass(frozen=True)
class OnlineBatch:
    """What became of several events, in the order in which they were given."""

    values: Features
    """The features, of shape (events, features); NaN throughout for events that are no transactions."""
    duplicates: npt.NDArray[np.bool_]
    """Whether the event had been applied before, or stood in the batch before: it has the features of the first."""


class BatchEngine:
    """Takes prepared events through the stages over a store of states; safe to use from several threads."""

    def __init__(self, program: Program, store: StateStore) -> None:
        self._program = program
        self._store = store
        self._entities = _layouts(program)

    def process(self, events: Prepared) -> OnlineBatch:
        """Return the features of the events, and add each to the past of its entities once."""
        result = _Result.of(len(events.ids), len(self._program.features))
        for first in range(0, len(events.ids), BATCH_EVENTS):
            self._apply(events, np.arange(first, min(first + BATCH_EVENTS, len(events.ids))), result)
        return result.as_given(events)

    def look(self, events: Prepared) -> OnlineBatch:
        """Return the features that each event has now, alone; those of an event that was applied are the first ones."""
        result = _Result.of(len(events.ids), len(self._program.features))
        for first in range(0, len(events.ids), LOOK_EVENTS):
            rows = np.arange(first, min(first + LOOK_EVENTS, len(events.ids)))
            run = _BatchRun(self._program, self._entities, events, rows)
            run.go(self._store, apart=True)
            result.values[rows] = run.values()
            self._recall(events, rows, result)
        return result.as_given(events)

    def _apply(self, events: Prepared, rows: Int64s, result: "_Result") -> None:
        """Commit the events `rows`, and write down what became of each."""
        most = BATCH_CONFLICTS if len(rows) > 1 else MOST_CONFLICTS
        for _ in range(most):
            outcome = self._try(events, rows, result)
            if outcome is Outcome.APPLIED:
                return
            if outcome is Outcome.DUPLICATE:
                rows = self._recall(events, rows, result)
            if not len(rows):
                return
        if most == MOST_CONFLICTS:
            raise Unavailable(f"{most} other writers in a row were faster on the same entities: try again")
        for half in np.array_split(rows, min(len(rows), 2)):
            self._apply(events, half, result)

    def _try(self, events: Prepared, rows: Int64s, result: "_Result") -> Outcome:
        run = _BatchRun(self._program, self._entities, events, rows)
        run.go(self._store)
        values = result.values[rows] = run.values()
        return self._store.commit_events(run.changes(), _notes(events, rows, values)).outcome

    def _recall(self, events: Prepared, rows: Int64s, result: "_Result") -> Int64s:
        """Write down the first features of the events that the store knows, and return the other rows."""
        found = self._store.recall([events.ids[row] for row in rows])
        is_known = np.array([note is not None for note in found], dtype=np.bool_)
        result.duplicates[rows[is_known]] = True
        for row, note in zip(rows.tolist(), found, strict=True):
            if note:
                result.values[row] = vector(note, len(self._program.features))
        return rows[~is_known]


def vector(note: bytes, width: int) -> Features:
    """Return the features that were noted with an event."""
    if len(note) != 4 * width:
        raise Bug(f"an event was noted with {len(note)} bytes, not {4 * width}: another schema wrote it")
    return np.frombuffer(note, dtype=np.float32)


def _notes(events: Prepared, rows: Int64s, values: Features) -> dict[str, bytes]:
    asks = events.asks[rows].tolist()
    return {events.ids[row]: values[k].tobytes() if asks[k] else b"" for k, row in enumerate(rows.tolist())}


@dataclass(frozen=True)
class _Result:
    """What became of the prepared events so far."""

    values: Features
    duplicates: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, count: int, width: int) -> "_Result":
        return cls(np.full((count, width), np.nan, np.float32), np.zeros(count, np.bool_))

    def as_given(self, events: Prepared) -> OnlineBatch:
        return OnlineBatch(self.values[events.places], self.duplicates[events.places] | events.repeats)


@dataclass(frozen=True)
class _EntityLayout:
    """Where the blocks of an entity lie in its state."""

    number: int
    width: int
    spans: dict[int, tuple[int, int]]
    """Start and end by the row of the block."""


def _layouts(program: Program) -> dict[str, _EntityLayout]:
    found = {}
    for number, entity in enumerate(entities_of(program)):
        spans, width = {}, 0
        for block in (block for stage in program.stages for block in stage.blocks if block.entity.name == entity.name):
            spans[block.row] = (width, width + block.width)
            width += block.width
        found[entity.name] = _EntityLayout(number, width, spans)
    return found


class _Entities:
    """The entities of one kind that the batch touches, and their states."""

    def __init__(self, layout: _EntityLayout, numbers: npt.NDArray[np.int32]) -> None:
        self.layout = layout
        self.numbers = numbers
        """For each event the row of its entity's state, -1 for none."""
        self.keys: list[str] = []
        self.versions: list[int] = []
        self.states: Int64s = np.empty((0, layout.width), dtype=np.int64)

    def add(self, keys: Sequence[str], found: Sequence[Versioned | None]) -> None:
        """Append the states of `keys` as the store has them."""
        width = 8 * self.layout.width
        for key, state in zip(keys, found, strict=True):
            if state is not None and len(state.value) != width:
                raise Bug(f"the state of {key} has {len(state.value)} bytes, not {width}: another schema wrote it")
        nothing = bytes(width)
        joined = bytearray().join([nothing if state is None else state.value for state in found])
        rows = np.frombuffer(joined, dtype=np.int64).reshape(len(keys), self.layout.width)
        self.states = np.concatenate([self.states, rows]) if self.keys else rows
        self.keys += keys
        self.versions += [ABSENT if state is None else state.version for state in found]

    def changes(self) -> list[Change]:
        """Return the new states, each under the version that was read."""
        width, whole = 8 * self.layout.width, self.states.tobytes()
        values = [whole[start : start + width] for start in range(0, len(whole), width)]
        return list(map(Change, self.keys, values, self.versions))


class _BatchRun:
    """Some of the prepared events on their way through the stages."""

    def __init__(self, program: Program, layouts: Mapping[str, _EntityLayout], events: Prepared, rows: Int64s) -> None:
        self._program = program
        self._events = events
        self._rows = rows
        self._fields = np.take(events.fields, rows, axis=1)
        self._work = kernel.Work(
            times=events.times[rows],
            emits=events.asks[rows],
            measures=np.empty((len(rows), program.n_measures), dtype=np.int64),
            aggregates=np.empty((len(rows), program.n_aggregates), dtype=np.int64),
        )
        self._numbers = np.full((len(layouts), len(rows)), -1, dtype=np.int32)
        self._entities = {name: _Entities(layout, self._numbers[layout.number]) for name, layout in layouts.items()}

    def go(self, store: StateStore, *, apart: bool = False) -> None:
        """Take the events through every stage; `apart`: none of them sees another."""
        self._fetch(store, self._named(apart))
        for stage in self._program.stages:
            kernel.run_measures(
                *stage.measures, stage.results, stage.per_unit, self._fields, self._work.aggregates, self._work.measures
            )
            self._fetch(store, self._looked_up(stage, apart))
            self._fold(stage)

    def values(self) -> Features:
        """Return the features, NaN for events that are no transactions."""
        program, rows = self._program, np.flatnonzero(self._work.emits)
        found = np.empty((len(rows), len(program.features)), dtype=np.float32)
        kernel.run_features(
            *program.code, program.results, program.defaults, self._fields, self._work.aggregates, rows, found
        )
        if len(rows) == len(self._rows):
            return found
        values = np.full((len(self._rows), len(program.features)), np.nan, dtype=np.float32)
        values[rows] = found
        return values

    def changes(self) -> list[Change]:
        """Return the new states of all entities."""
        return [change for entities in self._entities.values() for change in entities.changes()]

    def _named(self, apart: bool) -> dict[str, list[str]]:
        """Return the keys of the entities that the events name, which get their numbers here."""
        wanted = {}
        for name, entities in self._entities.items():
            numbers = self._events.numbers[name][self._rows]
            has = numbers >= 0
            used = numbers[has]
            own = np.arange(len(used))
            if not apart:
                used, own = np.unique(used, return_inverse=True)
            entities.numbers[has] = own
            keys = self._events.keys[name]
            wanted[name] = [keys[k] for k in used.tolist()]
        return wanted

    def _looked_up(self, stage: Stage, apart: bool) -> dict[str, list[str]]:
        """Return new keys of entities that only another entity's memory leads to; these get their numbers here."""
        wanted: dict[str, list[str]] = {}
        for block in stage.blocks:
            if block.key_measure is not None:
                wanted[block.entity.name] = self._led(block, self._work.measures[:, block.key_measure], apart)
        return wanted

    def _led(self, block: Block, codes: Int64s, apart: bool) -> list[str]:
        entities = self._entities[block.entity.name]
        led = np.flatnonzero((entities.numbers < 0) & (codes != kernel.MISSING))
        known = {} if apart else {key: number for number, key in enumerate(entities.keys)}
        fresh: list[str] = []
        for row, code in zip(led.tolist(), codes[led].tolist(), strict=True):
            key = f"{block.entity.name}:{code}"
            number = known.get(key, len(entities.keys) + len(fresh))
            if number == len(entities.keys) + len(fresh):
                fresh.append(key)
                if not apart:
                    known[key] = number
            entities.numbers[row] = number
        return fresh

    def _fetch(self, store: StateStore, wanted: Mapping[str, list[str]]) -> None:
        """Read the states of these keys in one round trip."""
        keys = [key for names in wanted.values() for key in names]
        if not keys:
            return
        found, first = store.get_many(keys), 0
        for name, names in wanted.items():
            if names:
                self._entities[name].add(names, found[first : first + len(names)])
            first += len(names)

    def _fold(self, stage: Stage) -> None:
        """Let the events read the past of their entities in this stage, then join it."""
        work = self._work._replace(emits=np.ones_like(self._work.emits)) if stage.emits_all else self._work
        blocks, parts, offset = [], [], 0
        for block in stage.blocks:
            entities = self._entities[block.entity.name]
            start, end = entities.layout.spans[block.row]
            parts.append((entities.states[:, start:end], slice(offset, offset + len(entities.keys) * block.width)))
            blocks.append((block.row, entities.layout.number, offset, len(entities.keys)))
            offset += len(entities.keys) * block.width
        states = np.empty(offset, dtype=np.int64)
        for part, place in parts:
            states[place] = part.ravel()
        rows = np.array(blocks, dtype=np.int64).reshape(-1, 4)
        kernel.fold_events(rows, self._numbers, states, *work, *self._program.tables)
        for part, place in parts:
            part[:] = states[place].reshape(part.shape)
