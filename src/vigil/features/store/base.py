"""The contract of every state store: versioned reads in one round trip, atomic compare-and-swap of several keys."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from types import TracebackType
from typing import NamedTuple, Self

from vigil.errors import ContractError, Unavailable
from vigil.features.store.counts import StoreCounts

ABSENT = 0
"""The version of a key that has no state."""


class Versioned(NamedTuple):
    """A state as it was read. Its version is never given to another content of the key, even after a deletion."""

    value: bytes
    version: int


class Change(NamedTuple):
    """A new state of one key, to be written only if the key still has `expected_version`."""

    key: str
    value: bytes
    expected_version: int = ABSENT


class Outcome(StrEnum):
    """What became of a commit."""

    APPLIED = "applied"
    CONFLICT = "conflict"
    DUPLICATE = "duplicate"


class Receipt(NamedTuple):
    """The answer to a commit; `version` is the new one of every changed key, or ABSENT when nothing was written."""

    outcome: Outcome
    version: int = ABSENT


class Notice(NamedTuple):
    """Keys that another client wrote, and the version it gave them; no keys: anything may have been written."""

    keys: tuple[str, ...] | None
    version: int = ABSENT


Listener = Callable[[Notice], None]


@dataclass(frozen=True)
class Retention:
    """How long a store remembers, in the time of its clock (Redis: of the server).

    A state that was not written for `states` is absent; its entity starts anew, so keep this longer than the longest
    window. An event id is recognised as a duplicate, and its note recalled, for `events`. Stores in this process also
    keep at most `event_capacity` ids, and forget the oldest first.
    """

    states: timedelta = timedelta(days=400)
    events: timedelta = timedelta(days=1)
    event_capacity: int = 1_000_000

    def __post_init__(self) -> None:
        for name, length in (("states", self.states), ("events", self.events)):
            if length < timedelta(milliseconds=1):
                raise ContractError(f"retention.{name} is {length}: give at least a millisecond")
        if self.event_capacity < 1:
            raise ContractError(f"retention.event_capacity is {self.event_capacity}: give at least 1")


class StateStore(ABC):
    """One opaque state per entity key, shared by concurrent writers that never lose each other's updates.

    The cycle of one event: `get_many` the states of its entities, compute, `commit` the new ones under the versions
    that were read. CONFLICT: another writer was faster, start again from `get_many`. DUPLICATE: this event was applied
    before; `recall` tells what its commit noted. After Unavailable a commit may or may not have been applied: repeat
    the cycle with the same event id. Several events may share a cycle: `commit_events`.
    """

    def __init__(self) -> None:
        self.counts = StoreCounts()

    def get_many(self, keys: Sequence[str]) -> list[Versioned | None]:
        """Return the state of each key, None where there is none, in the order of `keys`; at most one round trip."""
        started = time.perf_counter_ns()
        try:
            found, hits = self._read(keys)
        except Unavailable:
            self.counts.count_unavailable()
            raise
        self.counts.count_lookup(hits, len(keys) - hits, time.perf_counter_ns() - started)
        return found

    def commit(self, changes: Sequence[Change], event_id: str | None = None, note: bytes = b"") -> Receipt:
        """Write all changes and remember the event with a note, or write nothing.

        An event known before is always a DUPLICATE, and keeps its first note.
        """
        return self.commit_events(changes, {} if event_id is None else {event_id: note})

    def commit_events(self, changes: Sequence[Change], notes: Mapping[str, bytes]) -> Receipt:
        """Do the same for several events at once, a note by event id; if one of them is known, it is a DUPLICATE."""
        if len({change.key for change in changes}) != len(changes):
            raise ContractError("a commit names the same key twice: give each key its last state only")
        try:
            receipt = self._commit(changes, notes)
        except Unavailable:
            self.counts.count_unavailable()
            raise
        self.counts.count_commit(receipt.outcome)
        return receipt

    @abstractmethod
    def load(self, states: Iterable[tuple[str, bytes]]) -> int:
        """Write a snapshot over whatever is there, and return how many states it had.

        Not atomic as a whole: a concurrent commit of one of the keys ends in CONFLICT or comes before.
        """

    def recall(self, event_ids: Sequence[str]) -> list[bytes | None]:
        """Return what was noted with each event, None for one that is not remembered; at most one round trip."""
        try:
            return self._recall(event_ids)
        except Unavailable:
            self.counts.count_unavailable()
            raise

    def seen(self, event_id: str) -> bool:
        """Return whether a commit with this event id was applied and is still remembered."""
        return self.recall([event_id]) != [None]

    @abstractmethod
    def is_used(self) -> bool:
        """Return whether anything was ever written to the store, by any client."""

    def watch(self, listener: Listener) -> None:  # noqa: B027 - most stores have nobody to hear from
        """Call `listener`, from another thread, for writes of other clients, if the store hears of them."""

    def entries(self) -> int | None:
        """Return how many keys are held in this process, or None if the store holds none here."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Release files, connections and threads; may be called twice."""

    @abstractmethod
    def _read(self, keys: Sequence[str]) -> tuple[list[Versioned | None], int]:
        """Return the states and the number of hits."""

    @abstractmethod
    def _commit(self, changes: Sequence[Change], notes: Mapping[str, bytes]) -> Receipt:
        """Do the work of `commit_events`; keys are distinct."""

    @abstractmethod
    def _recall(self, event_ids: Sequence[str]) -> list[bytes | None]:
        """Do the work of `recall`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
