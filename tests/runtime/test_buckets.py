"""Weights are exact to one bucket, entities stay where they are, and a change moves as few as it can."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigil.errors import ContractError
from vigil.runtime.splitter.buckets import BUCKETS, bucket_of, from_ranges, move, percents_of, spread, to_ranges

NAMES = ("a", "b", "c", "d")


@st.composite
def weights(draw: st.DrawFn) -> dict[str, float]:
    cuts = sorted(draw(st.lists(st.integers(0, 1000), min_size=len(NAMES) - 1, max_size=len(NAMES) - 1)))
    edges = [0, *cuts, 1000]
    return {name: (high - low) / 10 for name, (low, high) in zip(NAMES, pairwise(edges), strict=True)}


@given(weights(), weights())
def test_a_change_of_weights_moves_no_bucket_more_than_the_weights_demand(
    before: dict[str, float], after: dict[str, float]
) -> None:
    first = move((), before)
    second = move(first, after)
    moved = sum(one != two for one, two in zip(first, second, strict=True))
    demanded = sum(max(0.0, after[name] - before[name]) for name in NAMES) * BUCKETS / 100
    assert moved == pytest.approx(demanded)
    assert percents_of(second) == {name: percent for name, percent in after.items() if percent}


def test_thirds_are_exact_to_one_bucket() -> None:
    table = move((), {"a": 100 / 3, "b": 100 / 3, "c": 100 / 3})
    assert sorted(table.count(name) for name in "abc") == [3333, 3333, 3334]


@pytest.mark.parametrize("percents", [{"a": 99.0}, {"a": 120.0, "b": -20.0}, {"a": float("nan")}, {}])
def test_percentages_that_are_no_split_are_refused(percents: dict[str, float]) -> None:
    with pytest.raises(ContractError, match="percent"):
        move((), percents)


def test_the_bucket_of_an_entity_never_changes() -> None:
    assert [bucket_of(name) for name in ("C1", "C2", "Zoë")] == [4245, 44, 6922]


def test_entities_fall_into_a_small_share_of_the_buckets_about_as_often_as_its_size() -> None:
    share = sum(bucket_of(f"customer-{number}") < BUCKETS // 20 for number in range(20_000)) / 20_000
    assert share == pytest.approx(0.05, abs=0.005)


def test_requests_without_an_entity_are_split_closely_in_every_short_run() -> None:
    for start in range(0, 3000, 100):
        assert sum(spread(number) < BUCKETS // 10 for number in range(start, start + 100)) in range(8, 13)


def test_a_table_survives_its_way_through_the_state_file() -> None:
    table = move(move((), {"a": 100.0}), {"a": 62.5, "b": 37.5})
    assert from_ranges(to_ranges(table)) == table
    with pytest.raises(ContractError, match="state file"):
        from_ranges([("a", 17)])
