"""The sequential detectors themselves: how often they are wrong, and how soon they are right."""

import json

import numpy as np
import pytest

from vigil.clock import DAY
from vigil.errors import ContractError
from vigil.monitoring.watch.baseline import Baseline, fit_baseline
from vigil.monitoring.watch.levels import Levels, Noise
from vigil.monitoring.watch.rates import Range, Rates, usual_range


def noise(columns: int, day: float = 0.03) -> Noise:
    def of(value: float) -> np.ndarray:
        return np.full(columns, value)

    return Noise(row=of(1.0), day=of(day**2), start=of(0.02**2), memory=of(2.0), wander=of(0.005**2))


def run(levels: Levels, days: int, shift: float, seed: int, windows: int = 20) -> np.ndarray:
    """Return the largest evidence of each column over windows of 25 rows with effects of days."""
    random = np.random.default_rng(seed)
    columns = len(levels.noise.row)
    effect = random.normal(0, 0.03, columns)
    highest = np.full(columns, -np.inf)
    for day in range(days):
        effect = 0.6 * effect + 0.8 * random.normal(0, 0.03, columns)
        for k in range(windows):
            mean = shift + effect + random.normal(0, 0.2, columns)
            evidence = levels.update(mean, np.full(columns, 25.0), 1 / windows, (day * windows + k) * DAY)
            highest = np.maximum(highest, evidence)
    return highest


def test_a_level_without_a_change_reaches_a_year_in_a_fraction_of_that_at_most_as_often() -> None:
    highest = run(Levels(noise(400)), days=36, shift=0.0, seed=1)
    wrong = int((highest >= 0.0).sum())
    assert wrong <= 400 * 0.1 + 3 * np.sqrt(40)
    assert wrong >= 1


def test_a_shift_of_a_quarter_deviation_is_found_within_four_days_nearly_always() -> None:
    levels = Levels(noise(100))
    run(levels, days=5, shift=0.0, seed=2)
    highest = run(levels, days=4, shift=0.25, seed=3)
    assert (highest >= np.log(20 / 0.5)).mean() >= 0.9
    assert np.median(levels.shift()) == pytest.approx(0.25, abs=0.07)


def test_a_slow_move_is_followed_and_told_by_its_size() -> None:
    levels = Levels(noise(4))
    random = np.random.default_rng(4)
    for day in range(250):
        levels.update(0.004 * day + random.normal(0, 0.05, 4), np.full(4, 500.0), 1.0, day * DAY)
    assert (levels.wandered() > 0.35).all()


def test_a_column_without_rows_in_a_window_learns_nothing() -> None:
    levels = Levels(noise(2))
    for day in range(10):
        levels.update(np.array([5.0, 5.0]), np.array([0.0, 25.0]), 1.0, day * DAY)
    years = levels.log_years()
    assert years[0] < 0 < years[1]


def test_levels_go_on_from_a_snapshot_exactly() -> None:
    whole, half = Levels(noise(3)), Levels(noise(3))
    run(whole, 4, 0.0, 5)
    run(half, 4, 0.0, 5)
    again = Levels(noise(3))
    again.restore(json.loads(json.dumps(half.snapshot())))
    assert np.array_equal(run(whole, 2, 0.2, 6), run(again, 2, 0.2, 6))


def test_a_rate_within_its_range_raises_little_evidence_and_one_outside_much() -> None:
    random = np.random.default_rng(7)
    usual = usual_range(np.full(200, 0.1), 1000, 0.01)
    calm, risen = Rates(usual), Rates(usual)
    for day in range(60):
        calm.update(random.binomial(25, 0.1, 200).astype(float), np.full(200, 25.0), 0.05, day)
        risen.update(random.binomial(25, 0.3, 200).astype(float), np.full(200, 25.0), 0.05, day)
    assert (calm.log_years() >= 0).mean() <= 0.05
    assert (risen.log_years() >= np.log(100)).mean() >= 0.99
    assert np.median(risen.share()) == pytest.approx(0.3, abs=0.05)


def test_a_side_that_is_not_watched_never_wins() -> None:
    rates = Rates(Range(np.zeros(1), np.full(1, 0.5), np.ones(1)))
    for day in range(100):
        rates.update(np.zeros(1), np.full(1, 25.0), 1.0, day)
    assert rates.log_years()[0] < 0


def baseline(days: int = 10, seed: int = 8) -> tuple[Baseline, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    time = np.sort(random.integers(0, days * DAY, 4000))
    hour = 2 * np.pi * (time % DAY) / DAY
    values = np.exp(random.standard_normal(4000) + np.sin(hour))
    return fit_baseline({"amount": values}, time, 0.03), values, time


def test_scores_have_no_day_in_them_and_do_not_depend_on_the_unit() -> None:
    fitted, values, time = baseline()
    level, _ = fitted.score(values[:, None], time)
    night = (time % DAY) < DAY // 4
    assert abs(level[night].mean()) < 0.1
    assert level.std() == pytest.approx(1.0, abs=0.05)
    other = fit_baseline({"amount": values * 1e6}, time, 0.03)
    assert np.allclose(other.score(values[:, None] * 1e6, time)[0], level)


def test_a_missing_value_stays_missing_and_an_outlier_is_bounded() -> None:
    fitted, _, time = baseline()
    level, width = fitted.score(np.array([[np.nan], [1e30], [-1e30]]), time[:3])
    assert np.isnan(level[0, 0])
    assert np.isnan(width[0, 0])
    assert 2.5 < level[1, 0] <= 4.0
    assert -4.0 <= level[2, 0] < -2.5


def test_values_that_a_day_shares_make_a_slow_column() -> None:
    random = np.random.default_rng(9)
    time = np.sort(random.integers(0, 14 * DAY, 4000))
    daily = random.standard_normal((14, 6))
    slow = daily[time // DAY, random.integers(0, 6, 4000)]
    fitted = fit_baseline({"slow": slow, "quick": random.standard_normal(4000)}, time, 0.03)
    assert fitted.is_slow.tolist() == [True, False, True, False]


def test_a_reference_of_a_few_rows_is_refused() -> None:
    with pytest.raises(ContractError, match="give it 100 at least"):
        fit_baseline({"amount": np.ones(20)}, np.arange(20), 0.03)
