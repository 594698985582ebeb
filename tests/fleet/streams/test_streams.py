from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vigil.clock import DAY, MINUTE
from vigil.errors import ContractError
from vigil.fleet.streams import kernel
from vigil.fleet.streams.detector import Floats, StreamDetector, score_stream
from vigil.fleet.streams.settings import StreamSettings

STEP = 15 * MINUTE
PER_DAY = DAY // STEP
DAYS = 21
SMALL = StreamSettings(memory=512)
ALARM = 0.2


def usual(seed: int = 1, days: int = DAYS) -> tuple[np.ndarray, Floats]:
    times = np.arange(days * PER_DAY, dtype=np.int64) * STEP
    season = 10.0 + 4.0 * np.sin(2 * np.pi * (times % DAY) / DAY)
    return times, season + np.random.default_rng(seed).normal(0.0, 0.3, len(times))


def with_fault(kind: str) -> tuple[np.ndarray, Floats, slice]:
    times, values = usual()
    start = 17 * PER_DAY + PER_DAY // 4
    at = slice(start, start + PER_DAY // 2)
    if kind == "spike":
        at = slice(start, start + 1)
        values[at] += 12.0
    elif kind == "dip":
        at = slice(start, start + 1)
        values[at] -= 12.0
    elif kind == "shift":
        at = slice(start, start + PER_DAY)
        values[start:] += 6.0
    elif kind == "wrong time of day":
        values[at] = values[start + PER_DAY // 2 : start + PER_DAY][: PER_DAY // 2]
    elif kind == "noise":
        values[at] += np.random.default_rng(2).normal(0.0, 3.0, PER_DAY // 2)
    elif kind == "outage":
        values[at] = 0.0
    return times, values, at


@pytest.mark.parametrize("kind", ["spike", "dip", "shift", "wrong time of day", "noise", "outage"])
def test_each_kind_of_anomaly_scores_higher_than_anything_usual_of_the_last_ten_days(kind: str) -> None:
    times, values, at = with_fault(kind)
    scores = score_stream(times, values)
    before = scores[7 * PER_DAY : at.start]
    assert scores[at].max() > max(before.max(), ALARM)


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 400), max_size=5), seed=st.integers(0, 5))
def test_whole_in_pieces_and_one_by_one_the_scores_are_the_same(cuts: list[int], seed: int) -> None:
    times, values = (column[:400] for column in usual(seed))
    edges = [0, *sorted(cuts), 400]
    pieces, singles = StreamDetector.fresh(SMALL), StreamDetector.fresh(SMALL)
    in_pieces = [pieces.extend(times[a:b], values[a:b]) for a, b in pairwise(edges)]
    one_by_one = [singles.update(int(time), float(value)) for time, value in zip(times, values, strict=True)]
    whole = score_stream(times, values, SMALL)
    assert np.array_equal(whole, np.concatenate(in_pieces))
    assert np.array_equal(whole, one_by_one)


def test_what_comes_later_changes_no_score() -> None:
    times, values = usual()
    other = values.copy()
    other[1000:] = 1e6 * np.random.default_rng(0).random(len(values) - 1000)
    assert np.array_equal(score_stream(times, values)[:1000], score_stream(times, other)[:1000])


def test_a_detector_goes_on_from_its_snapshot_as_if_nothing_had_happened() -> None:
    times, values = usual()
    detector = StreamDetector.fresh(SMALL)
    detector.extend(times[:1200], values[:1200])
    resumed = StreamDetector.restored(detector.snapshot(), SMALL)
    assert resumed.seen == 1200
    assert np.array_equal(resumed.extend(times[1200:], values[1200:]), detector.extend(times[1200:], values[1200:]))
    assert resumed.snapshot() == detector.snapshot()


def test_a_snapshot_of_other_settings_is_refused() -> None:
    with pytest.raises(ContractError, match="past does not fit"):
        StreamDetector.restored(StreamDetector.fresh(SMALL).snapshot())


@pytest.mark.parametrize("factor", [0.125, 4.0, 1024.0])
def test_another_unit_changes_no_score(factor: float) -> None:
    times, values, _ = with_fault("shift")
    assert np.array_equal(score_stream(times, values), score_stream(times, factor * values))


def test_another_offset_changes_hardly_any_score() -> None:
    times, values, _ = with_fault("spike")
    difference = np.abs(score_stream(times, values) - score_stream(times, values + 64.0))
    assert np.mean(difference > 0.01) < 0.02


def test_a_constant_stream_never_alarms_and_its_first_change_does() -> None:
    times, _ = usual()
    values = np.full(len(times), 7.0)
    assert score_stream(times, values)[5 * PER_DAY :].max() < ALARM
    values[1500:1503] = 7.5
    scores = score_stream(times, values)
    assert scores[1500:1503].max() > ALARM > scores[5 * PER_DAY : 1500].max()


def test_missing_values_score_0_and_leave_the_rest_as_if_they_had_not_come() -> None:
    times, values = usual()
    gaps = np.random.default_rng(4).random(len(values)) < 0.1
    scores = score_stream(times, np.where(gaps, np.nan, values))
    assert np.all(scores[gaps] == 0.0)
    assert np.array_equal(scores[~gaps], score_stream(times[~gaps], values[~gaps]))


def test_scores_lie_between_0_and_1_whatever_comes() -> None:
    rng = np.random.default_rng(5)
    values = np.concatenate(
        [rng.standard_cauchy(500) * 1e9, np.zeros(200), [1e300, -1e300, np.inf], rng.normal(size=300)]
    )
    scores = score_stream(rng.integers(0, 100 * DAY, len(values)), values)
    assert np.all((scores >= 0.0) & (scores <= 1.0))


def test_an_anomaly_that_lasts_is_told_once() -> None:
    times, values, at = with_fault("outage")
    alarms = np.flatnonzero(score_stream(times, values)[at] > ALARM)
    assert 1 <= len(alarms) <= 3


def test_a_level_that_stays_becomes_usual() -> None:
    times, values = usual(days=42)
    values[21 * PER_DAY :] += 6.0
    scores = score_stream(times, values)
    assert scores[21 * PER_DAY : 22 * PER_DAY].max() > ALARM
    assert scores[35 * PER_DAY :].max() < scores[21 * PER_DAY : 22 * PER_DAY].max()


def test_times_and_values_of_different_length_are_refused() -> None:
    with pytest.raises(ContractError, match="one time for each value"):
        score_stream([1, 2], [1.0])


def test_rarity_counts_the_blocks_that_held_as_much() -> None:
    counts, tally = np.zeros(kernel.BINS), np.zeros(kernel.TALLY)
    for _ in range(10):
        for value in (1.0, 5.0, 5.0, 5.0):
            kernel.rarity(counts, tally, value, 4.0, 0.0)
    assert kernel.rarity(counts.copy(), tally.copy(), 2.0, 4.0, 0.0) == pytest.approx(-np.log10(10.5))
    assert kernel.rarity(counts.copy(), tally.copy(), 5.0, 4.0, 0.0) == pytest.approx(-np.log10(5.5))
    assert kernel.rarity(counts.copy(), tally.copy(), 50.0, 4.0, 0.0) > -np.log10(0.5)
