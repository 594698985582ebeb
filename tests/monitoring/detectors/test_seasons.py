"""Which season a reference covers, and weights that give it the season of a window."""

import numpy as np
import pytest

from vigil.monitoring.seasons import Season, SeasonMatch, covered_season, season_cells

from .streams import DAY, HOUR


def every(step: int, days: float) -> np.ndarray:
    return np.arange(0, int(days * DAY), step, dtype=np.int64)


@pytest.mark.parametrize(
    ("times", "season"),
    [
        (every(HOUR // 6, 14), Season.WEEKDAY_HOUR),
        (every(HOUR // 6, 7), Season.WEEKDAY_HOUR),
        (every(HOUR // 6, 4), Season.HOUR),
        (every(HOUR // 6, 1), Season.NONE),
        (every(HOUR, 7), Season.HOUR),  # too few rows for each hour of each weekday
        (every(DAY, 60), Season.WEEKDAY_HOUR),  # one row a day, always at the same hour
        (every(DAY, 20), Season.HOUR),
        (np.zeros(0, dtype=np.int64), Season.NONE),
    ],
)
def test_the_season_is_the_finest_that_the_rows_cover(times: np.ndarray, season: Season) -> None:
    assert covered_season(times) is season


def test_the_first_day_of_1970_was_a_thursday() -> None:
    assert season_cells(np.array([0, DAY, 4 * DAY]), Season.WEEKDAY).tolist() == [3, 4, 0]
    assert season_cells(np.array([5 * HOUR]), Season.WEEKDAY_HOUR).tolist() == [3 * 24 + 5]


def test_weights_give_the_reference_the_proportions_of_the_window() -> None:
    generator = np.random.default_rng(0)
    times = np.sort(generator.integers(0, 28 * DAY, 20_000))
    window = np.sort(generator.integers(30 * DAY + 7 * HOUR, 30 * DAY + 12 * HOUR, 400))
    weights = SeasonMatch.of(times, Season.WEEKDAY_HOUR).weights(window)
    cells = season_cells(times, Season.WEEKDAY_HOUR)
    found = np.bincount(cells, weights=weights, minlength=168) / weights.sum()
    wanted = np.bincount(season_cells(window, Season.WEEKDAY_HOUR), minlength=168) / len(window)
    assert found == pytest.approx(wanted, abs=1e-12)
    assert weights.mean() == pytest.approx(1.0)


def test_rows_that_are_not_allowed_weigh_nothing_and_a_coarser_season_stands_in() -> None:
    times = every(HOUR // 6, 7)
    match = SeasonMatch.of(times, Season.WEEKDAY_HOUR)
    window = np.array([9 * HOUR, 9 * HOUR + 1])
    same_day = times < DAY
    weights = match.weights(window, ~same_day)
    assert not weights[same_day].any()
    assert set(season_cells(times[weights > 0], Season.HOUR).tolist()) == {9}


def test_an_hour_that_the_reference_has_never_seen_is_compared_with_all_rows() -> None:
    times = np.concatenate([day * DAY + 9 * HOUR + np.arange(50) for day in range(14)])
    weights = SeasonMatch.of(times, Season.HOUR).weights(np.array([3 * HOUR]))
    assert np.all(weights == 1.0)


def test_without_a_season_all_rows_weigh_the_same() -> None:
    times = every(HOUR, 2)
    assert np.all(SeasonMatch.of(times, Season.NONE).weights(np.array([5])) == 1.0)
