import numpy as np
import pytest

from tests.benchmarks.sites_nab_scorer import (
    LOW_FALSE_ALARMS,
    LOW_MISSES,
    STANDARD,
    Floats,
    Labelled,
    Profile,
    best_outcome,
    normalised,
    outcome_at,
    position_value,
    row_worths,
)

CORPUS = {"a": Labelled(1000, [(300, 349), (700, 799)]), "b": Labelled(400, []), "c": Labelled(600, [(200, 259)])}


def scores_with(alarms: list[tuple[str, int, float]]) -> dict[str, Floats]:
    scores = {name: np.zeros(series.rows) for name, series in CORPUS.items()}
    for name, row, score in alarms:
        scores[name][row] = score
    return scores


@pytest.mark.parametrize("profile", [STANDARD, LOW_FALSE_ALARMS, LOW_MISSES])
def test_a_detector_that_never_alarms_scores_0(profile: Profile) -> None:
    outcome = best_outcome(CORPUS, scores_with([]), profile)
    assert outcome.threshold > 1.0
    assert normalised(CORPUS, outcome.total, profile) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("profile", [STANDARD, LOW_FALSE_ALARMS, LOW_MISSES])
def test_alarms_at_the_start_of_every_window_and_nowhere_else_score_100(profile: Profile) -> None:
    perfect = scores_with([("a", 300, 1.0), ("a", 700, 1.0), ("c", 200, 1.0)])
    assert normalised(CORPUS, best_outcome(CORPUS, perfect, profile).total, profile) == pytest.approx(100.0, abs=1e-12)


def test_only_the_first_alarm_of_a_window_counts() -> None:
    late = [("a", 320, 0.9)]
    assert outcome_at(CORPUS, scores_with(late), 0.5) == outcome_at(
        CORPUS, scores_with([*late, ("a", 330, 0.9), ("a", 349, 0.9)]), 0.5
    )


def test_an_alarm_outside_every_window_costs_what_the_profile_says() -> None:
    quiet = outcome_at(CORPUS, scores_with([("a", 300, 0.9)]), 0.5).total
    assert outcome_at(CORPUS, scores_with([("a", 300, 0.9), ("b", 300, 0.9)]), 0.5).total == pytest.approx(quiet - 0.11)


def test_an_alarm_just_behind_a_window_costs_less_than_one_far_behind() -> None:
    worths, _ = row_worths(CORPUS["a"], STANDARD)
    assert -0.11 < worths[352] < 0.0
    assert worths[699] == pytest.approx(-0.11)
    assert worths[352] == pytest.approx(0.11 * (2 / (1 + np.exp(5 * 3 / 49)) - 1))


def test_the_earlier_an_alarm_inside_a_window_the_more_it_is_worth() -> None:
    worths, owners = row_worths(CORPUS["a"], STANDARD)
    inside = worths[owners == 0]
    assert inside[0] == pytest.approx(1.0)
    assert np.all(np.diff(inside) < 0)
    assert 0.0 < inside[-1] < 0.06


def test_the_probation_counts_neither_for_nor_against() -> None:
    assert CORPUS["b"].probation == 60
    assert Labelled(20_000, []).probation == 750
    assert best_outcome(CORPUS, scores_with([("b", row, 1.0) for row in range(60)])).total == pytest.approx(-3.0)


def test_series_without_a_window_can_only_lose() -> None:
    alone = {"b": CORPUS["b"]}
    assert best_outcome(alone, scores_with([("b", 300, 0.9)])).total == 0.0
    assert outcome_at(alone, scores_with([("b", 300, 0.9)]), 0.9).total == pytest.approx(-0.11)


def test_the_best_threshold_is_the_best_of_all_of_them() -> None:
    rng = np.random.default_rng(7)
    scores = {name: np.round(rng.random(series.rows) ** 4, 2) for name, series in CORPUS.items()}
    every = [outcome_at(CORPUS, scores, threshold).total for threshold in np.linspace(0.0, 1.1, 111)]
    assert best_outcome(CORPUS, scores).total == pytest.approx(max(every))


def test_totals_equal_those_of_a_slow_reading_of_the_rules() -> None:
    rng = np.random.default_rng(3)
    scores = {name: rng.random(series.rows) for name, series in CORPUS.items()}
    total = 0.0
    for name, series in CORPUS.items():
        alarms = [row for row in range(series.probation, series.rows) if scores[name][row] >= 0.97]
        for first, last in series.windows:
            hits = [row for row in alarms if first <= row <= last]
            place = -(last - hits[0] + 1) / (last - first + 1) if hits else 0.0
            total += float(position_value(np.array(place)) / position_value(np.array(-1.0))) if hits else -1.0
        for row in alarms:
            before = [window for window in series.windows if window[1] < row]
            if any(first <= row <= last for first, last in series.windows):
                continue
            far = (row - before[-1][1]) / (before[-1][1] - before[-1][0]) if before else 9.0
            total += 0.11 * float(position_value(np.array(far)))
    assert outcome_at(CORPUS, scores, 0.97).total == pytest.approx(total)
