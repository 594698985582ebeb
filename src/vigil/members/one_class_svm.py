"""One-class support vector machine, as a comparison: rows outside of a smooth boundary around the bulk."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vigil.members.base import Arrays, Facts, Matrix, Member, Scores, Stored
from vigil.members.kernels.radial import Bumps, sum_bumps, sum_bumps_without
from vigil.members.settings import MemberSettings


class OneClassSvmSettings(MemberSettings):
    """Settings of the one-class SVM. Its fit grows with the square of the rows, so it draws some of them."""

    KIND = "one_class_svm"

    nu: float = Field(default=0.05, gt=0, le=1, description="share of the training rows outside of the boundary")
    rows: int = Field(default=2000, ge=10, description="training rows, drawn at random")


@dataclass(frozen=True, eq=False)
class OneClassSvm(Member):
    """Scores are the opposite of scikit-learn's decision function: above 0 outside of the boundary."""

    kind = "one_class_svm"

    centre: NDArray[np.float64]
    """Median of each feature."""
    spread: NDArray[np.float64]
    bumps: Bumps
    offset: float

    def _score(self, values: Matrix) -> Scores:
        return self.offset - sum_bumps(self._scaled(values), self.bumps)

    def _explain(self, values: Matrix) -> Scores:
        """By how much the score would fall if the feature had its median."""
        scaled = self._scaled(values)
        return sum_bumps_without(scaled, self.bumps) - sum_bumps(scaled, self.bumps)[:, None]

    def _scaled(self, values: Matrix) -> NDArray[np.float64]:
        return (values - self.centre) / self.spread

    def _state(self) -> Facts:
        return {"gamma": self.bumps.gamma, "offset": self.offset}

    def _arrays(self) -> Arrays:
        heights, centres = self.bumps.heights, self.bumps.centres
        return {"centre": self.centre, "spread": self.spread, "centres": centres, "heights": heights}

    @classmethod
    def _restore(cls, stored: Stored) -> dict[str, Any]:
        arrays, features = stored.arrays, len(stored.feature_names)
        bumps = Bumps(arrays["centres"], arrays["heights"], float(stored.state["gamma"]))
        if bumps.centres.shape != (*bumps.heights.shape, features) or arrays["centre"].shape != (features,):
            raise ValueError("the support vectors do not fit the features")
        return {
            "centre": arrays["centre"],
            "spread": arrays["spread"],
            "bumps": bumps,
            "offset": float(stored.state["offset"]),
        }
