import math

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from vigil.features.store import CachedStore, Change, MemoryStore, export_metrics
from vigil.features.store.counts import BUCKETS_NS, StoreCounts


@pytest.fixture
def registry() -> CollectorRegistry:
    """Three look-ups, one commit of each outcome, one eviction, one invalidation."""
    behind = MemoryStore()
    cache = CachedStore(behind, capacity=2)
    cache.commit([Change("a", b"1")], "e")
    cache.commit([Change("a", b"1")], "e")
    cache.commit([Change("b", b"1", 7)])
    cache.get_many(["a"])
    cache.get_many(["a", "b", "c"])
    cache.get_many(["a"])
    cache.invalidate(["c"])
    registry = CollectorRegistry(auto_describe=True)
    export_metrics({"cache": cache, "memory": behind}, registry)
    return registry


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("vigil_state_keys_total", {"result": "hit"}, 2),
        ("vigil_state_keys_total", {"result": "miss"}, 3),
        ("vigil_state_commits_total", {"outcome": "applied"}, 1),
        ("vigil_state_commits_total", {"outcome": "duplicate"}, 1),
        ("vigil_state_commits_total", {"outcome": "conflict"}, 1),
        ("vigil_state_removals_total", {"reason": "evicted"}, 1),
        ("vigil_state_removals_total", {"reason": "expired"}, 0),
        ("vigil_state_unavailable_total", {}, 0),
        ("vigil_state_lookup_seconds_count", {}, 3),
        ("vigil_state_lookup_seconds_bucket", {"le": "+Inf"}, 3),
        ("vigil_state_entries", {}, 1),
    ],
)
def test_the_cache_exports(registry: CollectorRegistry, name: str, labels: dict[str, str], expected: float) -> None:
    assert registry.get_sample_value(name, {"store": "cache", **labels}) == expected


def test_stores_are_told_apart_by_a_label(registry: CollectorRegistry) -> None:
    assert registry.get_sample_value("vigil_state_lookup_seconds_count", {"store": "memory"}) == 2


def test_the_metrics_can_be_scraped(registry: CollectorRegistry) -> None:
    text = generate_latest(registry).decode()
    assert 'vigil_state_lookup_seconds_bucket{le="1e-06",store="cache"}' in text


def test_buckets_reach_from_a_microsecond_to_a_second() -> None:
    assert (BUCKETS_NS[0], BUCKETS_NS[-1]) == (1_000, 1_000_000_000)
    assert list(BUCKETS_NS) == sorted(BUCKETS_NS)


@pytest.mark.parametrize(("nanoseconds", "bucket"), [(0, 0), (1_000, 0), (1_001, 1), (10**9, -2), (10**9 + 1, -1)])
def test_a_time_falls_into_the_bucket_whose_bound_it_does_not_exceed(nanoseconds: int, bucket: int) -> None:
    counts = StoreCounts()
    counts.count_lookup(1, 0, nanoseconds)
    assert counts.lookup_buckets[bucket] == 1


def test_the_hit_ratio_counts_keys() -> None:
    counts = StoreCounts()
    assert math.isnan(counts.hit_ratio)
    counts.count_lookup(3, 1, 1)
    assert counts.hit_ratio == 0.75
