"""The cache in front of a store: never wrong for long, never larger than allowed."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.features.store.support import CACHE_TTL, START, increment, number
from vigil.clock import ManualClock
from vigil.errors import ContractError, Unavailable
from vigil.features.store import (
    CachedStore,
    Change,
    Listener,
    MemoryStore,
    Notice,
    Outcome,
    Receipt,
    StateStore,
    Versioned,
)


class InterruptibleStore(MemoryStore):
    """A memory store where something can happen between its answer and the arrival of the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], object] | None = None
        self.listener: Listener | None = None

    def watch(self, listener: Listener) -> None:
        self.listener = listener

    def _read(self, keys: Sequence[str]) -> tuple[list[Versioned | None], int]:
        found = super()._read(keys)
        self._interrupt()
        return found

    def _commit(self, changes: Sequence[Change], notes: Mapping[str, bytes]) -> Receipt:
        receipt = super()._commit(changes, notes)
        self._interrupt()
        return receipt

    def write_elsewhere(self, key: str, value: bytes) -> None:
        """Do what another replica would: write, then tell."""
        self.load([(key, value)])
        assert self.listener
        self.listener(Notice((key,), self._version))

    def _interrupt(self) -> None:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile:
            meanwhile()


def values(store: StateStore, *keys: str) -> list[bytes | None]:
    return [state and state.value for state in store.get_many(keys)]


@pytest.fixture
def behind() -> InterruptibleStore:
    return InterruptibleStore()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def cache(behind: InterruptibleStore, clock: ManualClock) -> CachedStore:
    return CachedStore(behind, ttl=CACHE_TTL, clock=clock)


def test_a_second_look_up_does_not_ask_the_store(behind: InterruptibleStore, cache: CachedStore) -> None:
    behind.load([("a", b"1")])
    assert values(cache, "a") == values(cache, "a") == [b"1"]
    assert behind.counts.lookups == 1
    assert (cache.counts.hits, cache.counts.misses) == (1, 1)


def test_only_the_missing_keys_are_asked_for_in_one_round_trip(behind: InterruptibleStore, cache: CachedStore) -> None:
    behind.load([("a", b"1"), ("b", b"2"), ("c", b"3")])
    values(cache, "b")
    assert values(cache, "a", "b", "c") == [b"1", b"2", b"3"]
    assert (behind.counts.lookups, behind.counts.hits) == (2, 3)


def test_an_absent_key_is_remembered_as_absent(behind: InterruptibleStore, cache: CachedStore) -> None:
    assert values(cache, "a") == values(cache, "a") == [None]
    assert behind.counts.lookups == 1


def test_a_key_known_as_absent_appears_with_its_first_commit(cache: CachedStore) -> None:
    values(cache, "a")
    cache.commit([Change("a", b"1")])
    assert values(cache, "a") == [b"1"]


def test_an_absent_key_that_another_client_creates_appears_when_told(
    behind: InterruptibleStore, cache: CachedStore
) -> None:
    values(cache, "a")
    behind.write_elsewhere("a", b"1")
    assert values(cache, "a") == [b"1"]


def test_an_absent_key_that_another_client_created_is_a_conflict_then_right(
    behind: InterruptibleStore, cache: CachedStore
) -> None:
    values(cache, "a")
    behind.load([("a", b"1")])
    assert cache.commit([Change("a", b"mine")]).outcome is Outcome.CONFLICT
    assert values(cache, "a") == [b"1"]


def test_without_messages_an_entry_is_never_older_than_the_ttl(
    behind: InterruptibleStore, cache: CachedStore, clock: ManualClock
) -> None:
    behind.load([("a", b"old")])
    values(cache, "a")
    behind.load([("a", b"new")])
    clock.advance(CACHE_TTL - timedelta(microseconds=1))
    assert values(cache, "a") == [b"old"]
    clock.advance(timedelta(microseconds=1))
    assert values(cache, "a") == [b"new"]
    assert cache.counts.expirations == 1


def test_a_hit_does_not_make_an_entry_younger(
    behind: InterruptibleStore, cache: CachedStore, clock: ManualClock
) -> None:
    behind.load([("a", b"old")])
    for _ in range(4):
        values(cache, "a")
        clock.advance(CACHE_TTL / 4)
    behind.load([("a", b"new")])
    assert values(cache, "a") == [b"new"]


def test_a_commit_writes_through(behind: InterruptibleStore, cache: CachedStore) -> None:
    cache.commit([Change("a", b"1")], "e")
    assert values(behind, "a") == [b"1"]
    assert behind.seen("e")
    assert cache.seen("e")


def test_a_committed_state_is_a_hit_with_the_version_of_the_store(
    behind: InterruptibleStore, cache: CachedStore
) -> None:
    receipt = cache.commit([Change("a", b"1")])
    assert cache.get_many(["a"]) == [(b"1", receipt.version)]
    assert behind.counts.lookups == 0


def test_a_conflict_drops_the_stale_entries(behind: InterruptibleStore, cache: CachedStore) -> None:
    behind.load([("a", b"old"), ("b", b"b")])
    stale, fresh = cache.get_many(["a", "b"])
    assert stale
    assert fresh
    behind.load([("a", b"new")])
    changes = [Change("a", b"mine", stale.version), Change("b", b"mine", fresh.version)]
    assert cache.commit(changes).outcome is Outcome.CONFLICT
    assert values(cache, "a", "b") == [b"new", b"b"]


def test_an_explicit_invalidation_drops_these_keys_only(behind: InterruptibleStore, cache: CachedStore) -> None:
    behind.load([("a", b"1"), ("b", b"1")])
    values(cache, "a", "b")
    behind.load([("a", b"2"), ("b", b"2")])
    cache.invalidate(["a", "unknown"])
    assert values(cache, "a", "b") == [b"2", b"1"]
    assert cache.counts.invalidations == 1


def test_an_invalidation_of_everything_empties_the_cache(behind: InterruptibleStore, cache: CachedStore) -> None:
    values(cache, "a", "b")
    cache.invalidate()
    assert cache.entries() == 0


def test_a_late_message_does_not_drop_a_newer_entry(behind: InterruptibleStore, cache: CachedStore) -> None:
    behind.load([("a", b"1")])
    (state,) = cache.get_many(["a"])
    assert state
    assert behind.listener
    behind.listener(Notice(("a",), state.version))
    behind.listener(Notice(("a",), state.version - 1))
    cache.get_many(["a"])
    assert behind.counts.lookups == 1


def test_an_answer_that_was_overtaken_by_another_clients_write_is_not_kept(
    behind: InterruptibleStore, cache: CachedStore
) -> None:
    behind.load([("a", b"old")])
    behind.meanwhile = lambda: behind.write_elsewhere("a", b"new")
    assert values(cache, "a") == [b"old"]
    assert values(cache, "a") == [b"new"]


def test_an_answer_that_was_overtaken_by_an_invalidation_of_everything_is_not_kept(
    behind: InterruptibleStore, cache: CachedStore
) -> None:
    behind.meanwhile = cache.invalidate
    cache.get_many(["a"])
    assert cache.entries() == 0


def test_an_answer_that_was_overtaken_by_an_own_commit_is_not_kept(
    behind: InterruptibleStore, cache: CachedStore
) -> None:
    behind.meanwhile = lambda: cache.commit([Change("a", b"new")])
    assert values(cache, "a") == [None]
    assert values(cache, "a") == [b"new"]


def test_a_read_between_a_commit_and_its_answer_leaves_no_old_entry(
    behind: InterruptibleStore, cache: CachedStore
) -> None:
    behind.meanwhile = lambda: behind.write_elsewhere("a", b"theirs")
    cache.commit([Change("a", b"mine")])
    assert values(cache, "a") == [b"theirs"]


def test_an_overtaken_commit_does_not_hide_the_commit_that_overtook_it(
    behind: InterruptibleStore, cache: CachedStore
) -> None:
    behind.meanwhile = lambda: increment(cache, ["a"], "second")
    increment(cache, ["a"], "first")
    assert values(cache, "a") == [b"2"]


def test_a_commit_of_unknown_fate_drops_its_entries(behind: InterruptibleStore, cache: CachedStore) -> None:
    def lose_the_answer() -> None:
        raise Unavailable("the line broke")

    cache.commit([Change("a", b"1")])
    (state,) = cache.get_many(["a"])
    assert state
    behind.meanwhile = lose_the_answer
    with pytest.raises(Unavailable):
        cache.commit([Change("a", b"2", state.version)], "e")
    assert values(cache, "a") == [b"2"]
    assert increment(cache, ["a"], "e") is Outcome.DUPLICATE


def test_a_look_up_that_failed_leaves_nothing_behind(behind: InterruptibleStore, cache: CachedStore) -> None:
    def lose_the_answer() -> None:
        raise Unavailable("the line broke")

    behind.meanwhile = lose_the_answer
    with pytest.raises(Unavailable):
        cache.get_many(["a"])
    assert cache.get_many(["a"]) == [None]
    assert cache.entries() == 1


def test_the_cache_never_holds_more_than_its_capacity(behind: InterruptibleStore) -> None:
    cache = CachedStore(behind, capacity=10)
    for i in range(100):
        increment(cache, [f"k{i}", f"hot{i % 7}"], f"e{i}")
        assert cache.entries() <= 10
    assert cache.counts.evictions > 0


def test_an_evicted_state_is_read_from_the_store_again(behind: InterruptibleStore) -> None:
    cache = CachedStore(behind, capacity=1)
    cache.commit([Change("a", b"A"), Change("b", b"B")])
    assert values(cache, "a", "b") == [b"A", b"B"]


@pytest.mark.parametrize("capacity", [0, -1])
def test_a_cache_without_room_is_refused(behind: InterruptibleStore, capacity: int) -> None:
    with pytest.raises(ContractError, match="capacity"):
        CachedStore(behind, capacity=capacity)


def test_a_ttl_of_nothing_is_refused(behind: InterruptibleStore) -> None:
    with pytest.raises(ContractError, match="ttl"):
        CachedStore(behind, ttl=timedelta(0))


STEPS = st.lists(st.tuples(st.integers(0, 1), st.sets(st.sampled_from("abcd"), min_size=1)), max_size=40)


@given(STEPS)
def test_two_caches_over_one_store_never_lose_an_update(steps: list[tuple[int, set[str]]]) -> None:
    behind = MemoryStore()
    caches = [CachedStore(behind, capacity=2), CachedStore(behind, capacity=3)]
    for turn, (client, keys) in enumerate(steps):
        increment(caches[client], sorted(keys), str(turn))
    assert [number(behind, key) for key in "abcd"] == [sum(key in keys for _, keys in steps) for key in "abcd"]
