import pytest

from tests.features.store.skewed import measure_hit_ratio
from vigil.features.store.lru import SegmentedLru


def lru(capacity: int, keys: str) -> SegmentedLru[str]:
    cache: SegmentedLru[str] = SegmentedLru(capacity)
    for key in keys:
        cache.put(key, key.upper())
    return cache


def test_the_oldest_key_goes_first() -> None:
    cache = lru(3, "abcd")
    assert [cache.peek(key) for key in "abcd"] == [None, "B", "C", "D"]


def test_a_key_that_was_read_survives_a_flood_of_new_ones() -> None:
    cache = lru(5, "a")
    cache.get("a")
    for key in "bcdefghijkl":
        cache.put(key, key)
    assert cache.peek("a") == "A"


def test_a_peek_does_not_keep_a_key() -> None:
    cache = lru(2, "ab")
    cache.peek("a")
    cache.put("c", "C")
    assert cache.peek("a") is None


def test_a_put_does_not_keep_a_key_that_nobody_reads() -> None:
    cache = lru(2, "ab")
    cache.put("a", "again")
    cache.put("c", "C")
    assert cache.peek("a") is None


def test_a_protected_key_that_nobody_reads_any_more_goes_in_the_end() -> None:
    cache = lru(5, "abcde")
    for key in "abcde" * 2:
        cache.get(key)
    for key in "fghij":
        cache.put(key, key)
        cache.get(key)
        cache.get(key)
    assert cache.peek("a") is None


def test_put_tells_whether_a_key_had_to_go() -> None:
    cache = lru(1, "")
    assert [cache.put("a", ""), cache.put("a", ""), cache.put("b", "")] == [False, False, True]


@pytest.mark.parametrize("capacity", [1, 2, 3, 10])
def test_it_never_holds_more_than_its_capacity(capacity: int) -> None:
    cache = lru(capacity, "")
    for turn in range(200):
        key = str(turn * turn % 17)
        if cache.get(key) is None:
            cache.put(key, key)
        assert len(cache) <= capacity


def test_a_removed_key_is_gone_from_either_segment() -> None:
    cache = lru(5, "ab")
    cache.get("a")
    assert [cache.pop("a"), cache.pop("b"), cache.pop("a")] == ["A", "B", None]
    assert len(cache) == 0


def test_on_zipf_keys_a_tenth_of_them_comes_close_to_the_best_possible_ratio() -> None:
    ratio = measure_hit_ratio(keys=5_000, exponent=1.3, lookups=60_000)
    assert ratio.best - 0.02 < ratio.measured <= ratio.best
    assert ratio.measured > 0.9
