"""A bounded cache in front of a slower store: reads from memory, writes through."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from vigil.clock import Clock, system_clock
from vigil.errors import ContractError
from vigil.features.store.base import Change, Notice, Outcome, Receipt, StateStore, Versioned
from vigil.features.store.lru import SegmentedLru


class _Entry(NamedTuple):
    state: Versioned | None
    expires: datetime


class CachedStore(StateStore):
    """Remembers what was read and written, absent keys too, and owns the store behind: closing it closes both.

    What it returns may lag behind the store, by `ttl` at most: where the store tells of other clients' writes (Redis
    does), these drop the entries, and a commit on top of an old entry ends in CONFLICT and drops it. So a stale entry
    costs a second round, never an update.
    """

    def __init__(
        self,
        store: StateStore,
        *,
        capacity: int = 50_000,
        ttl: timedelta = timedelta(minutes=1),
        clock: Clock = system_clock,
    ) -> None:
        super().__init__()
        if ttl <= timedelta(0):
            raise ContractError(f"ttl is {ttl}: give a positive time, or use the store without a cache")
        self._store = store
        self._ttl = ttl
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: SegmentedLru[_Entry] = SegmentedLru(capacity)
        # For each key the last read or commit in flight. Only that one may fill the entry, and only if no invalidation
        # took the key away in the meantime: otherwise an old answer that comes late would overwrite newer knowledge.
        self._in_flight: dict[str, object] = {}
        store.watch(self._on_notice)

    def load(self, states: Iterable[tuple[str, bytes]]) -> int:
        """Write a snapshot over whatever is there, and return how many states it had; the cache is empty afterwards."""
        try:
            return self._store.load(states)
        finally:
            self.invalidate()

    def is_used(self) -> bool:
        """Return whether anything was ever written to the store behind."""
        return self._store.is_used()

    def invalidate(self, keys: Iterable[str] | None = None) -> None:
        """Forget these keys, or all: the next look-up asks the store."""
        with self._lock:
            self._forget(keys)

    def entries(self) -> int:
        """Return the number of keys in the cache, those known to be absent included."""
        return len(self._entries)

    def close(self) -> None:
        """Close the store behind."""
        self._store.close()

    def _read(self, keys: Sequence[str]) -> tuple[list[Versioned | None], int]:
        now = self._clock()
        with self._lock:
            entries = [self._entries.get(key) for key in keys]
            missing = [i for i, entry in enumerate(entries) if entry is None or entry.expires <= now]
            if not missing:
                return [entry.state for entry in entries if entry], len(keys)
            token = self._start([keys[i] for i in missing])
        found = [entry and entry.state for entry in entries]
        for i, state in zip(missing, self._fetch([keys[i] for i in missing], token, now), strict=True):
            found[i] = state
        self.counts.count_removed(expirations=sum(entries[i] is not None for i in missing))
        return found, len(keys) - len(missing)

    def _fetch(self, keys: Sequence[str], token: object, now: datetime) -> list[Versioned | None]:
        try:
            found = self._store.get_many(keys)
        except BaseException:
            with self._lock:
                self._abandon(keys, token)
            raise
        with self._lock:
            for key, state in zip(keys, found, strict=True):
                if self._in_flight.get(key) is token:
                    del self._in_flight[key]
                    self._put(key, state, now)
        return found

    def _recall(self, event_ids: Sequence[str]) -> list[bytes | None]:
        return self._store.recall(event_ids)

    def _commit(self, changes: Sequence[Change], notes: Mapping[str, bytes]) -> Receipt:
        keys = [change.key for change in changes]
        now = self._clock()
        with self._lock:
            token = self._start(keys)
        try:
            receipt = self._store.commit_events(changes, notes)
        except BaseException:
            self.invalidate(keys)
            raise
        with self._lock:
            if receipt.outcome is not Outcome.APPLIED:
                self._forget(keys)
                return receipt
            for key, value, _ in changes:
                if self._in_flight.pop(key, None) is token:
                    self._put(key, Versioned(value, receipt.version), now)
                else:
                    self._entries.pop(key)
        return receipt

    def _start(self, keys: Sequence[str]) -> object:
        token = object()
        for key in keys:
            self._in_flight[key] = token
        return token

    def _abandon(self, keys: Sequence[str], token: object) -> None:
        for key in keys:
            if self._in_flight.get(key) is token:
                del self._in_flight[key]

    def _put(self, key: str, state: Versioned | None, now: datetime) -> None:
        if self._entries.put(key, _Entry(state, now + self._ttl)):
            self.counts.count_removed(evictions=1)

    def _forget(self, keys: Iterable[str] | None) -> None:
        if keys is None:
            self.counts.count_removed(invalidations=len(self._entries))
            self._entries.clear()
            self._in_flight.clear()
            return
        for key in keys:
            self._in_flight.pop(key, None)
            if self._entries.pop(key):
                self.counts.count_removed(invalidations=1)

    def _on_notice(self, notice: Notice) -> None:
        with self._lock:
            if notice.keys is None:
                self._forget(None)
                return
            for key in notice.keys:
                entry = self._entries.peek(key)
                if entry is None or entry.state is None or entry.state.version < notice.version:
                    self._forget((key,))
