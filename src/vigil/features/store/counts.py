"""What a store counts about itself, in plain integers: cheap enough for a look-up of a microsecond."""

import threading
from bisect import bisect_left
from dataclasses import dataclass, field

BUCKETS_NS = (*(base * 10**power for power in range(3, 9) for base in (1, 2, 5)), 10**9)
"""Upper bounds of the look-up times, in nanoseconds: 1 microsecond to 1 second in steps of 1, 2, 5."""


@dataclass
class StoreCounts:
    """Running totals since the store was opened. Hits and misses count keys; look-ups and commits count calls."""

    hits: int = 0
    misses: int = 0
    evictions: int = 0
    expirations: int = 0
    invalidations: int = 0
    unavailable: int = 0
    commits: dict[str, int] = field(default_factory=dict)
    lookup_buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_NS) + 1))
    lookup_ns: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def lookups(self) -> int:
        """Return the number of successful `get_many` calls."""
        return sum(self.lookup_buckets)

    @property
    def hit_ratio(self) -> float:
        """Return the share of keys that were hits; NaN before the first look-up."""
        keys = self.hits + self.misses
        return self.hits / keys if keys else float("nan")

    def count_lookup(self, hits: int, misses: int, nanoseconds: int) -> None:
        """Count one call of `get_many`."""
        with self._lock:
            self.hits += hits
            self.misses += misses
            self.lookup_ns += nanoseconds
            self.lookup_buckets[bisect_left(BUCKETS_NS, nanoseconds)] += 1

    def count_commit(self, outcome: str) -> None:
        """Count one call of `commit`."""
        with self._lock:
            self.commits[outcome] = self.commits.get(outcome, 0) + 1

    def count_unavailable(self) -> None:
        """Count one call that ended in Unavailable."""
        with self._lock:
            self.unavailable += 1

    def count_removed(self, *, evictions: int = 0, expirations: int = 0, invalidations: int = 0) -> None:
        """Count entries that left for want of room, by age, or because they were no longer true."""
        with self._lock:
            self.evictions += evictions
            self.expirations += expirations
            self.invalidations += invalidations
