"""Isolation Forest: rows that random splits isolate early are anomalous. Fitted by scikit-learn, served as arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from vigil.members.base import Arrays, Facts, Matrix, Member, Scores, Stored
from vigil.members.kernels.elementwise import halve
from vigil.members.settings import MemberSettings
from vigil.members.trees import TreeSum


class IsolationForestSettings(MemberSettings):
    """Settings of an Isolation Forest. A scaler would change nothing: a split is drawn between a feature's extremes."""

    KIND = "isolation_forest"
    PROFILES: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "general": {"contamination": 0.1},
        "retail": {"contamination": 0.08},
        "stream": {"contamination": 0.01, "trees": 200, "seed": 42},
    }

    contamination: float = Field(default=0.1, gt=0, le=0.5, description="share of training rows above the threshold")
    trees: int = Field(default=100, ge=1, description="number of trees")
    max_samples: int = Field(default=256, ge=2, description="training rows drawn for each tree")


@dataclass(frozen=True, eq=False)
class IsolationForest(Member):
    """Scores are 2 ** -(mean path length / expected path length), in (0, 1]: scikit-learn's `-score_samples`."""

    kind = "isolation_forest"

    trees: TreeSum
    """Adds up the path lengths."""
    scale: float
    """Number of trees times the expected path length."""

    def _score(self, values: Matrix) -> Scores:
        lengths = np.zeros(len(values))
        self.trees.add_to(lengths, values)
        return halve(lengths / self.scale)

    def _explain(self, values: Matrix) -> Scores:
        """Shapley values of the shortening of the path: a row's sum is log2(score) less that of a mean path."""
        return -self.trees.contributions(values) / self.scale

    def _state(self) -> Facts:
        return {"scale": self.scale}

    def _arrays(self) -> Arrays:
        return self.trees.to_arrays()

    @classmethod
    def _restore(cls, stored: Stored) -> dict[str, Any]:
        trees = TreeSum.from_arrays(stored.arrays, features=len(stored.feature_names))
        return {"trees": trees, "scale": float(stored.state["scale"])}
