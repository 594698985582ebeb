"""Statistics and chances against SciPy, and beyond the reach of its laws."""

import math

import numpy as np
import pytest
from scipy import stats

from vigil.monitoring.detectors.laws import (
    SMALLEST,
    chi2_chance,
    cvm_chance,
    ks_chance,
    share_chance,
    smallest_of,
)
from vigil.monitoring.port import Columns

from .subjects import made

SIZES = [(1_000, 200), (200, 1_000), (37, 23), (5_000, 1_000)]


def columns(**numbers: np.ndarray) -> Columns:
    return Columns(numbers, {}, np.arange(len(next(iter(numbers.values())))))


def pair(known: int, given: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng([known, given])
    return generator.normal(size=known), generator.normal(shift, 1.0, given)


@pytest.mark.parametrize(("known", "given"), SIZES)
@pytest.mark.parametrize("shift", [0.0, 0.3, 5.0])
def test_kolmogorov_smirnov_is_that_of_scipy(known: int, given: int, shift: float) -> None:
    reference, window = pair(known, given, shift)
    (test,) = made("ks").fit(columns(x=reference)).test(columns(x=window))
    expected = stats.ks_2samp(reference, window, method="asymp")
    assert test.statistic == pytest.approx(expected.statistic, abs=1e-9)
    # SciPy's law is that of one sample of nm / (n + m) rows; ours approximates it
    if expected.pvalue < 1e-12:
        assert test.p_value < 1e-12
        return
    assert math.log(test.p_value) == pytest.approx(math.log(expected.pvalue), rel=0.06, abs=0.03)


def test_kolmogorov_smirnov_is_that_of_scipy_where_values_repeat() -> None:
    generator = np.random.default_rng(0)
    reference, window = generator.poisson(9.0, 1_000) * 1.0, generator.poisson(8.0, 300) * 1.0
    (test,) = made("ks").fit(columns(x=reference)).test(columns(x=window))
    assert test.statistic == pytest.approx(stats.ks_2samp(reference, window).statistic, abs=1e-9)


@pytest.mark.parametrize(("known", "given"), SIZES)
@pytest.mark.parametrize("shift", [0.0, 0.1, 0.3])
def test_cramer_von_mises_is_that_of_scipy(known: int, given: int, shift: float) -> None:
    reference, window = pair(known, given, shift)
    (test,) = made("cvm").fit(columns(x=reference)).test(columns(x=window))
    expected = stats.cramervonmises_2samp(reference, window, method="asymptotic")
    assert test.statistic == pytest.approx(expected.statistic, abs=1e-9)
    if expected.pvalue > 1e-6:
        assert test.p_value == pytest.approx(expected.pvalue, abs=1e-9)


def test_chi_square_is_that_of_scipy() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        window, reference = generator.integers(5, 60, (2, 6)).astype(np.float64)
        expected = stats.chi2_contingency([window, reference], correction=False)
        assert chi2_chance(window, reference) == pytest.approx((expected.statistic, expected.pvalue), abs=1e-9)


def test_chi_square_of_a_column_is_that_of_scipy() -> None:
    generator = np.random.default_rng(1)
    known = generator.choice(list("abcd"), 1_000, p=[0.4, 0.3, 0.2, 0.1])
    given = generator.choice(list("abcd"), 200, p=[0.35, 0.35, 0.2, 0.1])
    reference = Columns({}, {"x": known.tolist()}, np.arange(1_000))
    (test,) = made("chi2").fit(reference).test(Columns({}, {"x": given.tolist()}, np.arange(200)))
    counts = [[np.sum(side == entry) for entry in "abcd"] for side in (given, known)]
    expected = stats.chi2_contingency(counts, correction=False)
    assert (test.statistic, test.p_value) == pytest.approx((expected.statistic, expected.pvalue), abs=1e-9)


def test_the_share_of_missing_values_is_tested_by_twice_fishers_smaller_tail() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        rows, known = generator.integers(20, 400, 2)
        hits, before = generator.integers(0, rows + 1), generator.integers(0, known + 1)
        table = [[hits, rows - hits], [before, known - before]]
        tails = [stats.fisher_exact(table, alternative=side).pvalue for side in ("less", "greater")]
        expected = max(SMALLEST, min(1.0, 2.0 * min(tails)))
        assert share_chance((hits, rows), (before, known)) == pytest.approx(expected, rel=1e-7, abs=1e-12)


def test_the_law_of_cramer_von_mises_has_the_quantiles_of_the_tables() -> None:
    for quantile, expected in ((0.34730, 0.1), (0.46136, 0.05), (0.74346, 0.01), (1.16786, 0.001)):
        assert cvm_chance(quantile) == pytest.approx(expected, rel=2e-4)


def test_the_far_tail_of_cramer_von_mises_goes_on_from_its_series() -> None:
    assert cvm_chance(4.0) == pytest.approx(cvm_chance(4.0 - 1e-9), rel=0.01)
    assert math.log(cvm_chance(40.0)) == pytest.approx(-20.0 * math.pi**2, rel=0.02)


def test_chances_fall_without_a_jump_and_never_to_nothing() -> None:
    for law, grid in (
        (lambda x: ks_chance(x, 200.0), np.linspace(0.01, 3.0, 400)),
        (cvm_chance, np.geomspace(0.01, 400, 400)),
    ):
        chances = np.array([law(x) for x in grid])
        assert np.all(np.diff(chances) <= 1e-12)
        assert chances.min() == SMALLEST
        assert np.all(np.diff(np.log(chances)) > -60)


def test_the_smallest_of_uniform_chances_is_uniform() -> None:
    generator = np.random.default_rng(0)
    chances = [smallest_of(generator.random(3).tolist()) for _ in range(2_000)]
    assert stats.kstest(chances, "uniform").pvalue > 1e-3
    assert smallest_of([1e-200, 0.5]) == pytest.approx(2e-200)
    assert smallest_of([1.0, 1.0]) == pytest.approx(1.0)
