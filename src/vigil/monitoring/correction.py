"""Chances of many tests at once: over the columns of a window, and over sites."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from vigil.monitoring.port import ColumnTest

Way = Literal["holm", "benjamini_hochberg"]


def adjust(chances: Sequence[float], way: Way = "holm") -> tuple[float, ...]:
    """Return adjusted chances: rejecting those up to a level holds that level.

    Holm holds the chance of any false rejection, whatever the dependence; Benjamini and Hochberg the share of false
    ones among the rejections, if the tests are independent or positively dependent.
    """
    if not chances:
        return ()
    values = np.asarray(chances, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    count = len(values)
    ranks = np.arange(1, count + 1)
    if way == "holm":
        ordered = np.maximum.accumulate(values[order] * (count + 1 - ranks))
    else:
        ordered = np.minimum.accumulate((values[order] * count / ranks)[::-1])[::-1]
    adjusted = np.empty(count)
    adjusted[order] = np.minimum(ordered, 1.0)
    return tuple(adjusted.tolist())


def adjust_columns(tests: Sequence[ColumnTest], way: Way = "holm") -> tuple[ColumnTest, ...]:
    """Return the tests of a window with chances adjusted for all of them, values and missing values together."""
    adjusted = adjust([*(test.p_value for test in tests), *(test.missing_p_value for test in tests)], way)
    half = len(tests)
    return tuple(
        ColumnTest(test.column, test.statistic, adjusted[k], adjusted[half + k]) for k, test in enumerate(tests)
    )


def adjust_sites(chances: Mapping[str, float]) -> dict[str, float]:
    """Return the chance of each site, adjusted so that few of the sites that are told drift without cause."""
    return dict(zip(chances, adjust(list(chances.values()), "benjamini_hochberg"), strict=True))
