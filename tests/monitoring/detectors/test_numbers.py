"""Columns on which the laws of continuous values fail: zeros, counts, repeated values; and weighted references."""

import numpy as np
import pytest

from vigil.monitoring.detectors.own import own_detector
from vigil.monitoring.port import Columns

OWN = ["ks", "cvm"]


def column(values: np.ndarray) -> Columns:
    return Columns({"x": values}, {}, np.arange(len(values)))


def zero_inflated(generator: np.random.Generator, rows: int, share: float = 0.9, scale: float = 1.0) -> np.ndarray:
    return np.where(generator.random(rows) < share, 0.0, generator.exponential(scale, rows))


def chance(name: str, reference: np.ndarray, window: np.ndarray) -> float:
    (test,) = own_detector(name).fit(column(reference)).test(column(window))
    return test.p_value


@pytest.mark.parametrize("name", OWN)
def test_ninety_percent_zeros_alarm_as_often_as_they_should(name: str) -> None:
    generator = np.random.default_rng(0)
    pairs = [(zero_inflated(generator, 1_000), zero_inflated(generator, 200)) for _ in range(400)]
    found = np.array([chance(name, *pair) for pair in pairs])
    # Kolmogorov-Smirnov over all values never alarms here; 400 windows: .05 within three and a half standard errors
    assert 0.012 < np.mean(found < 0.05) < 0.088


@pytest.mark.parametrize("name", OWN)
def test_a_change_of_the_share_of_zeros_is_found(name: str) -> None:
    generator = np.random.default_rng(1)
    assert chance(name, zero_inflated(generator, 1_000), zero_inflated(generator, 500, share=0.7)) < 1e-8


@pytest.mark.parametrize("name", OWN)
def test_a_change_of_the_values_beside_the_zeros_is_found(name: str) -> None:
    generator = np.random.default_rng(2)
    assert chance(name, zero_inflated(generator, 5_000), zero_inflated(generator, 1_000, scale=3.0)) < 1e-4


@pytest.mark.parametrize("name", OWN)
def test_counts_of_few_values_alarm_as_often_as_they_should_and_show_a_change(name: str) -> None:
    generator = np.random.default_rng(3)
    found = [chance(name, generator.poisson(0.7, 1_000) * 1.0, generator.poisson(0.7, 200) * 1.0) for _ in range(300)]
    assert np.mean(np.array(found) < 0.05) < 0.095
    assert chance(name, generator.poisson(0.7, 1_000) * 1.0, generator.poisson(1.1, 400) * 1.0) < 1e-6


@pytest.mark.parametrize("name", OWN)
def test_a_value_that_comes_up_where_another_was_constant_is_found(name: str) -> None:
    window = np.zeros(500)
    window[:8] = 1.0
    assert chance(name, np.zeros(1_000), window) < 1e-3


@pytest.mark.parametrize("name", OWN)
def test_infinite_values_are_values(name: str) -> None:
    generator = np.random.default_rng(4)
    window = generator.normal(size=400)
    window[:100] = np.inf
    assert chance(name, generator.normal(size=1_000), window) < 1e-6


@pytest.mark.parametrize("name", [*OWN, "tabular"])
def test_whole_weights_are_repeated_rows(name: str) -> None:
    generator = np.random.default_rng(5)
    values = zero_inflated(generator, 600, share=0.5)
    values[::40] = np.nan
    weights = generator.integers(0, 3, 600)
    window = column(zero_inflated(generator, 200, share=0.5))
    (weighted,) = own_detector(name).fit(column(values)).test_weighted(window, weights.astype(np.float64))
    (repeated,) = own_detector(name).fit(column(np.repeat(values, weights))).test(window)
    if name != "cvm":  # its statistic grows with the rows that the reference is worth
        assert weighted.statistic == pytest.approx(repeated.statistic, abs=1e-12)
    assert weighted.p_value >= repeated.p_value  # weighted rows are worth less than as many different ones


def test_equal_weights_are_none() -> None:
    generator = np.random.default_rng(6)
    reference = Columns(
        {"x": generator.normal(size=500), "z": zero_inflated(generator, 500)},
        {"c": generator.choice(list("ab"), 500).tolist()},
        np.arange(500),
    )
    window = reference.take(np.arange(0, 500, 3))
    for name in ("tabular", "tabular_cvm"):
        fitted = own_detector(name).fit(reference)
        for plain, weighted in zip(fitted.test(window), fitted.test_weighted(window, np.full(500, 2.5)), strict=True):
            assert weighted.p_value == pytest.approx(plain.p_value, rel=1e-9)
            assert weighted.statistic == pytest.approx(plain.statistic, abs=1e-9)
