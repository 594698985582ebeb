"""Chances adjusted for many tests."""

import numpy as np
import pytest
from scipy import stats

from vigil.monitoring.correction import adjust, adjust_columns, adjust_sites
from vigil.monitoring.port import ColumnTest


def test_holm_of_a_known_example() -> None:
    assert adjust([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))


def test_benjamini_hochberg_is_that_of_scipy() -> None:
    chances = np.random.default_rng(0).random(40) ** 3
    expected = stats.false_discovery_control(chances, method="bh")
    assert adjust(chances.tolist(), "benjamini_hochberg") == pytest.approx(expected)


@pytest.mark.parametrize("way", ["holm", "benjamini_hochberg"])
def test_adjusting_keeps_the_order_and_never_makes_a_chance_smaller(way: str) -> None:
    chances = np.random.default_rng(1).random(25)
    adjusted = np.array(adjust(chances.tolist(), way))  # type: ignore[arg-type]
    assert np.all(adjusted >= chances)
    assert adjusted.max() <= 1.0
    assert np.all(np.diff(adjusted[np.argsort(chances)]) >= 0.0)


def test_one_test_and_none_stay_as_they_are() -> None:
    assert adjust([0.2]) == (0.2,)
    assert adjust([]) == ()


def test_a_window_is_adjusted_for_its_values_and_its_missing_values() -> None:
    tests = (ColumnTest("a", 0.1, 0.01, 1.0), ColumnTest("b", 0.2, 0.5, 0.02))
    assert [(test.p_value, test.missing_p_value) for test in adjust_columns(tests)] == [
        pytest.approx((0.04, 1.0)),
        pytest.approx((1.0, 0.06)),
    ]


def test_few_of_many_sites_without_a_change_are_told() -> None:
    generator = np.random.default_rng(2)
    told = 0
    for _ in range(200):
        sites = {f"site {k}": chance for k, chance in enumerate(generator.random(100).tolist())}
        told += min(adjust_sites(sites).values()) < 0.05
    assert told <= 22  # 10 expected of 200
