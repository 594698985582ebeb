"""The hit ratio of the cache on skewed keys, as the benchmark reports it."""

from dataclasses import dataclass

import numpy as np

from vigil.features.store import CachedStore, Change, MemoryStore


@dataclass(frozen=True)
class HitRatio:
    """`measured` is that of CachedStore, `best` that of a cache which always holds the most frequent keys."""

    measured: float
    best: float


def measure_hit_ratio(
    *, keys: int, exponent: float, share: float = 0.1, lookups: int = 1_000_000, seed: int = 0
) -> HitRatio:
    """Return the hit ratio of the second half of the look-ups, by a cache of `share` of the keys.

    Key number i is drawn with a probability proportional to i to the power of minus `exponent`, independently of the
    past: bursts, which real entities have, would help the cache. Each look-up is followed by a commit, as online.
    """
    weights = np.arange(1, keys + 1) ** -exponent
    cumulated = np.cumsum(weights) / weights.sum()
    drawn = np.searchsorted(cumulated, np.random.default_rng(seed).random(lookups)).tolist()
    capacity = int(keys * share)
    cache = CachedStore(MemoryStore(), capacity=capacity)
    half = lookups // 2
    _replay(cache, drawn[:half])
    before = (cache.counts.hits, cache.counts.misses)
    _replay(cache, drawn[half:])
    hits, misses = cache.counts.hits - before[0], cache.counts.misses - before[1]
    return HitRatio(hits / (hits + misses), float(cumulated[capacity - 1]))


def _replay(cache: CachedStore, drawn: list[int]) -> None:
    for index in drawn:
        key = f"customer:{index}"
        (state,) = cache.get_many([key])
        cache.commit([Change(key, b"", state.version if state else 0)])
