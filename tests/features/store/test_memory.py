from datetime import timedelta

import pytest

from tests.features.store.support import START, increment, number
from vigil.clock import ManualClock
from vigil.errors import ContractError
from vigil.features.store import Change, MemoryStore, Retention


def test_a_bounded_store_drops_what_was_written_longest_ago() -> None:
    store = MemoryStore(capacity=2)
    first = store.commit([Change("a", b"1")])
    store.commit([Change("b", b"1")])
    store.commit([Change("a", b"2", first.version)])
    store.commit([Change("c", b"1")])
    assert [state is not None for state in store.get_many(["a", "b", "c"])] == [True, False, True]
    assert (store.entries(), store.counts.evictions) == (2, 1)


def test_a_state_lives_on_from_its_last_write() -> None:
    clock = ManualClock(START)
    store = MemoryStore(retention=Retention(states=timedelta(days=3)), clock=clock)
    for turn in range(3):
        increment(store, ["a"], f"e{turn}")
        clock.advance(timedelta(days=2))
    assert number(store, "a") == 3


def test_a_snapshot_respects_the_bound() -> None:
    store = MemoryStore(capacity=3)
    store.load((f"k{i}", b"") for i in range(10))
    assert store.entries() == 3


def test_a_dropped_key_that_comes_back_gets_a_version_of_its_own() -> None:
    store = MemoryStore(capacity=1)
    before = store.commit([Change("a", b"1")])
    store.commit([Change("b", b"1")])
    assert store.commit([Change("a", b"2")]).version > before.version


def test_event_ids_are_bounded_and_the_oldest_is_forgotten_first() -> None:
    store = MemoryStore(retention=Retention(event_capacity=2))
    for event_id in ("e1", "e2", "e3"):
        store.commit([], event_id)
    assert [store.seen(event_id) for event_id in ("e1", "e2", "e3")] == [False, True, True]


def test_a_capacity_of_nothing_is_refused() -> None:
    with pytest.raises(ContractError, match="capacity is 0"):
        MemoryStore(capacity=0)


@pytest.mark.parametrize(
    ("field", "value"), [("states", timedelta(0)), ("events", timedelta(microseconds=1)), ("event_capacity", 0)]
)
def test_a_retention_of_nothing_is_refused(field: str, value: object) -> None:
    with pytest.raises(ContractError, match=f"retention.{field}"):
        Retention(**{field: value})
