import numpy as np
import pytest

from vigil.members.calibration import LogisticCurve, StepCurve, restore_curve
from vigil.members.fitting.calibration import fit_curve


def drawn(count: int = 20_000, slope: float = 0.5, shift: float = -2.0) -> tuple[np.ndarray, np.ndarray]:
    """Return margins and labels whose log-odds are `slope * margin + shift`."""
    random = np.random.default_rng(0)
    margins = random.normal(0, 3, count)
    return margins, random.random(count) < 1 / (1 + np.exp(-(slope * margins + shift)))


def test_platt_finds_slope_and_shift() -> None:
    curve = fit_curve("platt", *drawn())
    assert isinstance(curve, LogisticCurve)
    assert (curve.low, curve.shift) == (pytest.approx(0.5, abs=0.05), pytest.approx(-2.0, abs=0.1))
    assert curve.low == curve.high


@pytest.mark.parametrize("method", ["beta", "platt", "isotonic"])
def test_probabilities_match_the_true_ones(method: str) -> None:
    margins, frauds = drawn()
    true = 1 / (1 + np.exp(-(0.5 * margins - 2.0)))
    assert np.abs(fit_curve(method, margins, frauds).probabilities(margins) - true).mean() < 0.015


@pytest.mark.parametrize("method", ["beta", "platt", "isotonic"])
def test_probabilities_never_fall_with_the_margin(method: str) -> None:
    grid = np.linspace(-30, 30, 1001)
    probabilities = fit_curve(method, *drawn(2000)).probabilities(grid)
    assert (np.diff(probabilities) >= 0).all()
    assert ((probabilities >= 0) & (probabilities <= 1)).all()


@pytest.mark.parametrize("method", ["beta", "platt"])
def test_a_logistic_curve_keeps_different_margins_apart(method: str) -> None:
    grid = np.linspace(-10, 10, 1001)
    assert (np.diff(fit_curve(method, *drawn(2000)).probabilities(grid)) > 0).all()


@pytest.mark.parametrize("method", ["beta", "platt"])
def test_an_order_worse_than_chance_is_not_turned_around(method: str) -> None:
    margins, frauds = drawn(slope=-0.5)
    curve = fit_curve(method, margins, frauds)
    assert isinstance(curve, LogisticCurve)
    assert (curve.low, curve.high) == (1.0, 1.0)


def test_unit_slopes_without_shift_are_the_logistic_function() -> None:
    margins = np.array([-800.0, -3.0, 0.0, 2.5, 800.0])
    found = LogisticCurve(1.0, 1.0, 0.0).probabilities(margins)
    np.testing.assert_allclose(found[1:4], 1 / (1 + np.exp(-margins[1:4])), rtol=1e-12)
    assert (found[0], found[4]) == (0.0, 1.0)


@pytest.mark.parametrize(
    "curve", [LogisticCurve(0.5, 2.0, -1.0), StepCurve(np.array([-1.0, 1.0]), np.array([0.1, 0.9]))]
)
def test_a_curve_survives_its_arrays(curve: LogisticCurve | StepCurve) -> None:
    grid = np.linspace(-3, 3, 50)
    assert np.array_equal(restore_curve(curve.to_arrays()).probabilities(grid), curve.probabilities(grid))


@pytest.mark.parametrize(
    "stored",
    [
        np.array([-1.0, 1.0, 0.0]),
        np.array([0.0, 0.0, 0.0]),
        np.array([1.0, np.nan, 0.0]),
        np.array([[0.0, 1.0], [0.9, 0.1]]),
        np.array([[0.0, 1.0], [0.5, 1.5]]),
        np.array([1.0, 2.0]),
    ],
)
def test_a_curve_that_falls_or_leaves_the_unit_interval_is_refused(stored: np.ndarray) -> None:
    with pytest.raises(ValueError, match="no rising curve"):
        restore_curve({"calibration": stored})
