"""Statistical members: how far a value lies outside of what is usual, in multiples of the usual spread."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vigil.members.base import Arrays, Matrix, Member, Scores, Stored
from vigil.members.settings import MemberSettings


class ZScoreSettings(MemberSettings):
    """Settings of the robust z-score: distance from the median in multiples of the (scaled) median deviation."""

    KIND = "z_score"

    limit: float = Field(default=3.5, gt=0, description="threshold, in standard deviations")


class IqrSettings(MemberSettings):
    """Settings of the box plot's rule: distance from the box of the quartiles in multiples of its length."""

    KIND = "iqr"
    PROFILES: ClassVar[Mapping[str, Mapping[str, Any]]] = {"outlier": {"limit": 1.5}, "far_out": {"limit": 3.0}}

    limit: float = Field(default=1.5, gt=0, description="threshold, in lengths of the box")


class ControlChartSettings(MemberSettings):
    """Settings of Shewhart's chart of individuals: distance from the mean in multiples of the short-term deviation.

    That deviation comes from the differences of successive values, so that a slow drift of the level does not widen it.
    """

    KIND = "control_chart"

    limit: float = Field(default=3.0, gt=0, description="threshold, in short-term standard deviations")


@dataclass(frozen=True, eq=False)
class Band:
    """What is usual of each feature: values from `low` to `high`, and the `spread` that deviations are measured in."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    spread: NDArray[np.float64]

    def deviations(self, values: Matrix) -> Scores:
        """Return the distance of each value from the band in spreads, (rows, features), 0 inside."""
        outside: Scores = np.maximum(np.maximum(self.low - values, values - self.high), 0.0)
        return outside / self.spread

    def to_arrays(self) -> Arrays:
        """Return the band as arrays."""
        return {"low": self.low, "high": self.high, "spread": self.spread}

    @classmethod
    def from_arrays(cls, arrays: Arrays, features: int) -> "Band":
        """Return the band that `to_arrays` wrote, or raise ValueError."""
        band = cls(low=arrays["low"], high=arrays["high"], spread=arrays["spread"])
        columns = (band.low, band.high, band.spread)
        if any(column.shape != (features,) or not np.isfinite(column).all() for column in columns):
            raise ValueError("the band does not fit the features")
        if not ((band.low <= band.high) & (band.spread > 0)).all():
            raise ValueError("the band is empty or has no spread")
        return band


@dataclass(frozen=True, eq=False)
class DeviationMember(Member):
    """Scores are the largest deviation over the features, which names the feature that made it."""

    band: Band

    def _score(self, values: Matrix) -> Scores:
        largest: Scores = self.band.deviations(values).max(axis=1)
        return largest

    def _explain(self, values: Matrix) -> Scores:
        return self.band.deviations(values)

    def _arrays(self) -> Arrays:
        return self.band.to_arrays()

    @classmethod
    def _restore(cls, stored: Stored) -> dict[str, Any]:
        return {"band": Band.from_arrays(stored.arrays, len(stored.feature_names))}


@dataclass(frozen=True, eq=False)
class ZScore(DeviationMember):
    """Robust z-scores."""

    kind = "z_score"


@dataclass(frozen=True, eq=False)
class Iqr(DeviationMember):
    """Distances from the quartiles."""

    kind = "iqr"


@dataclass(frozen=True, eq=False)
class ControlChart(DeviationMember):
    """Distances from the mean in short-term deviations."""

    kind = "control_chart"


def usable_spread(spread: NDArray[np.float64], values: Matrix) -> NDArray[np.float64]:
    """Return the spread of each column of `values`; if nil, its standard deviation; of a constant, a tenth of its size.

    What a hardly varying feature never was is then far out, yet finite.
    """
    exact = values.astype(np.float64)
    size, deviation = np.abs(exact).max(axis=0), exact.std(axis=0)
    nil = 1e-9 * size
    constant = 0.1 * np.where(size > 0, size, 1.0)
    return np.where(spread > nil, spread, np.where(deviation > nil, deviation, constant))
