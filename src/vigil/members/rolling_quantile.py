"""A member that follows its features between retrainings: usual is what the last rows were."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pydantic import Field

from vigil.members.base import Arrays, Facts, FeatureMatrix, Matrix, Stored
from vigil.members.deviation import Band, DeviationMember, usable_spread
from vigil.members.settings import MemberSettings


class RollingQuantileSettings(MemberSettings):
    """Settings of the rolling quantiles."""

    KIND = "rolling_quantile"

    window: int = Field(default=10_000, ge=10, description="latest rows that say what is usual")
    lower: float = Field(default=0.01, ge=0, lt=0.5, description="quantile below which a value is unusual")
    upper: float = Field(default=0.99, gt=0.5, le=1, description="quantile above which a value is unusual")
    limit: float = Field(default=1.0, gt=0, description="threshold: distance from the quantiles, in their distance")
    learn_below: float | None = Field(
        default=None, gt=0, description="rows that score higher are not learned from; null to learn from all"
    )


@dataclass(frozen=True, eq=False)
class RollingQuantile(DeviationMember):
    """Scores are the largest distance from the quantiles of the latest rows, in multiples of the quantiles' distance.

    Scoring changes nothing. `after` returns another member, which has learned from more rows: each version can be kept,
    named and asked again.
    """

    kind = "rolling_quantile"

    latest: Matrix
    """The latest rows, (at most window, features), in the order of time."""
    window: int
    lower: float
    upper: float
    learn_below: float | None

    def after(self, matrix: FeatureMatrix) -> "RollingQuantile":
        """Return the member that has also seen these rows, the next in time.

        An update costs a sort of the window: give it a batch, not single rows.
        """
        values = matrix.select(self.feature_names)
        if self.learn_below is not None:
            values = values[self._score(values) <= self.learn_below]
        latest = np.concatenate([self.latest, values])[-self.window :]
        return replace(self, latest=latest, band=band_of(latest, self.lower, self.upper))

    def _state(self) -> Facts:
        return {"window": self.window, "lower": self.lower, "upper": self.upper, "learn_below": self.learn_below}

    def _arrays(self) -> Arrays:
        return {"latest": self.latest}

    @classmethod
    def _restore(cls, stored: Stored) -> dict[str, Any]:
        latest, state = stored.arrays["latest"], stored.state
        if latest.dtype != np.float32 or latest.ndim != 2 or latest.shape[1] != len(stored.feature_names):
            raise ValueError("the latest rows do not fit the features")
        band = band_of(latest, state["lower"], state["upper"])
        return {"latest": latest, "band": band, **state}


def band_of(latest: Matrix, lower: float, upper: float) -> Band:
    """Return the band between two quantiles of each column."""
    low, high = np.quantile(latest.astype(np.float64), [lower, upper], axis=0)
    return Band(low, high, usable_spread(high - low, latest))
