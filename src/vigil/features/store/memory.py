"""States in the memory of this process: the fastest store, gone with the process."""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from vigil.clock import Clock, system_clock
from vigil.errors import ContractError
from vigil.features.store.base import ABSENT, Change, Outcome, Receipt, Retention, StateStore, Versioned


class MemoryStore(StateStore):
    """Keeps all states, or the `capacity` that were written last; those dropped are lost and start anew."""

    def __init__(
        self, *, capacity: int | None = None, retention: Retention | None = None, clock: Clock = system_clock
    ) -> None:
        super().__init__()
        if capacity is not None and capacity < 1:
            raise ContractError(f"capacity is {capacity}: give at least 1, or None for no bound")
        self._capacity = capacity
        self._retention = retention or Retention()
        self._clock = clock
        self._lock = threading.Lock()
        self._version = ABSENT
        # Both in the order of writing, the oldest first; OrderedDict because dropping a plain dict's first is not O(1).
        self._states: OrderedDict[str, tuple[Versioned, datetime]] = OrderedDict()
        self._events: OrderedDict[str, tuple[bytes, datetime]] = OrderedDict()

    def load(self, states: Iterable[tuple[str, bytes]]) -> int:
        """Write a snapshot over whatever is there, and return how many states it had."""
        count = 0
        for key, value in states:
            with self._lock:
                self._version += 1
                self._put(key, Versioned(value, self._version), self._clock())
                self._trim()
            count += 1
        return count

    def is_used(self) -> bool:
        """Return whether anything was ever written to the store."""
        return self._version != ABSENT

    def entries(self) -> int:
        """Return the number of states."""
        return len(self._states)

    def close(self) -> None:
        """Do nothing: a closed store keeps its states, as a second opening of a file would."""

    def _read(self, keys: Sequence[str]) -> tuple[list[Versioned | None], int]:
        now = self._clock()
        with self._lock:
            self._expire(now)
            stored = [self._states.get(key) for key in keys]
        found = [entry and entry[0] for entry in stored]
        return found, len(found) - found.count(None)

    def _recall(self, event_ids: Sequence[str]) -> list[bytes | None]:
        now = self._clock()
        with self._lock:
            self._expire(now)
            known = [self._events.get(event_id) for event_id in event_ids]
        return [event and event[0] for event in known]

    def _commit(self, changes: Sequence[Change], notes: Mapping[str, bytes]) -> Receipt:
        now = self._clock()
        with self._lock:
            self._expire(now)
            if not self._events.keys().isdisjoint(notes):
                return Receipt(Outcome.DUPLICATE)
            states = self._states
            for key, _, expected in changes:
                stored = states.get(key)
                if (stored[0].version if stored else ABSENT) != expected:
                    return Receipt(Outcome.CONFLICT)
            self._version = version = self._version + 1
            for key, value, _ in changes:
                self._put(key, Versioned(value, version), now)
            for event_id, note in notes.items():
                self._events[event_id] = (note, now)
            self._trim()
            return Receipt(Outcome.APPLIED, version)

    def _put(self, key: str, state: Versioned, now: datetime) -> None:
        self._states[key] = (state, now)
        self._states.move_to_end(key)

    def _trim(self) -> None:
        while len(self._events) > self._retention.event_capacity:
            self._events.popitem(last=False)
        if self._capacity is None:
            return
        excess = len(self._states) - self._capacity
        for _ in range(excess):
            self._states.popitem(last=False)
        if excess > 0:
            self.counts.count_removed(evictions=excess)

    def _expire(self, now: datetime) -> None:
        expired, oldest_state = 0, now - self._retention.states
        while self._states and next(iter(self._states.values()))[1] <= oldest_state:
            self._states.popitem(last=False)
            expired += 1
        if expired:
            self.counts.count_removed(expirations=expired)
        oldest_event = now - self._retention.events
        while self._events and next(iter(self._events.values()))[1] <= oldest_event:
            self._events.popitem(last=False)
