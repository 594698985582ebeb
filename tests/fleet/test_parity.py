"""Offline equals online: readings at once, in pieces or one by one give the same findings and the same state."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fleet.panels import START
from tests.fleet.subjects import HISTORY, fleet, later
from vigil.clock import HOUR
from vigil.fleet.panel import Readings, Series
from vigil.fleet.score import Findings, advance, score, step
from vigil.fleet.state import FleetState

COLUMNS = ("times", "values", "surprise", "z", "expected", "low", "high", "ratio", "sign", "kind", "basis", "threshold")


def rows_of(findings: list[Findings]) -> list[tuple[object, ...]]:
    """Return every row with the name of its series and the bits of its numbers, in the order of scoring."""
    return [
        (part.series[part.index[row]], *(getattr(part, name)[row].tobytes() for name in COLUMNS), part.versions[row])
        for part in findings
        for row in range(len(part))
    ]


def bits(state: FleetState) -> tuple[object, ...]:
    return (state.memory.tobytes(), state.daily.tobytes(), state.ring.tobytes(), tuple(state.guests.items()))


@st.composite
def arrivals(draw: st.DrawFn) -> Readings:
    """Readings with gaps, repetitions, late ones, unseen sites, and values that are out of the ordinary."""
    source = later()
    count = draw(st.integers(1, 60))
    names = [*source.series[:3], Series("new-1", "sales"), Series("new-2", "sales"), Series("new-3", "sales")]
    kinds = st.tuples(
        st.integers(0, len(names) - 1),
        st.integers(-3, 30),
        st.sampled_from([0.0, 1.0, 17.0, 55.5, 4000.0, -12.0]),
        st.integers(0, 3),
    )
    hour, rows = HISTORY, []
    for series, jump, value, delay in draw(st.lists(kinds, min_size=count, max_size=count)):
        hour = max(HISTORY - 4, hour + jump)
        rows.append((names[series], START + hour * HOUR, value, delay))
    found = Readings.of([row[:3] for row in rows])
    if draw(st.booleans()):
        seen = np.maximum.accumulate(found.times + np.array([(1 + row[3]) * HOUR for row in rows]))
        found = Readings(found.series, found.index, found.times, found.values, seen)
    return found


@settings(max_examples=60, deadline=None)
@given(readings=arrivals(), cuts=st.lists(st.integers(0, 60), max_size=4))
def test_readings_at_once_in_pieces_and_one_by_one_give_the_same_bits(readings: Readings, cuts: list[int]) -> None:
    once, pieces, singly = (fleet().start_state() for _ in range(3))
    at_once = [score(fleet(), once, readings)]
    bounds = sorted({0, len(readings), *(cut for cut in cuts if cut < len(readings))})
    in_pieces = [score(fleet(), pieces, readings.take(np.arange(start, end))) for start, end in pairwise(bounds)]
    one_by_one = [score(fleet(), singly, readings.take(np.array([row]))) for row in range(len(readings))]
    assert rows_of(at_once) == rows_of(in_pieces) == rows_of(one_by_one)
    assert bits(once) == bits(pieces) == bits(singly)


def test_a_watermark_in_many_small_steps_finds_the_same_silence_as_one_leap() -> None:
    often, seldom = fleet().start_state(), fleet().start_state()
    end = START + (HISTORY + 200) * HOUR
    steps = [advance(fleet(), often, START + hour * HOUR) for hour in range(HISTORY, HISTORY + 201)]
    leap = advance(fleet(), seldom, end)
    assert sorted(map(repr, rows_of(steps))) == sorted(map(repr, rows_of([leap])))
    assert bits(often) == bits(seldom)


def test_more_unseen_sites_than_are_remembered_score_the_same_in_bulk_and_singly() -> None:
    small = fleet()
    few = small.settings.model_copy(update={"guests": 2})
    from dataclasses import replace

    small = replace(small, settings=few)
    rows = [(Series(f"new-{hour % 4}", "sales"), START + (HISTORY + hour) * HOUR, 20.0 + hour) for hour in range(40)]
    once, singly = small.start_state(), small.start_state()
    at_once = [score(small, once, Readings.of(rows))]
    one_by_one = [step(small, singly, *row) for row in rows]
    assert rows_of(at_once) == rows_of(one_by_one)
    assert bits(once) == bits(singly)
    assert len(once.guests) == 2
    assert len(once) == len(small.series) + 2


def test_scoring_goes_on_from_a_restored_state_as_if_it_had_never_stopped() -> None:
    readings = later()
    half = np.arange(len(readings) // 2)
    state = fleet().start_state()
    whole = rows_of([score(fleet(), state, readings)])
    broken = fleet().start_state()
    first = score(fleet(), broken, readings.take(half))
    restored = FleetState.from_arrays(broken.to_arrays())
    second = score(fleet(), restored, readings.take(np.arange(len(half), len(readings))))
    assert rows_of([first, second]) == whole
