"""Boosted trees: what labels teach. Fitted by XGBoost, served from its file as flat arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from vigil.members.base import Arrays, Facts, FeatureMatrix, Matrix, Member, Scores, Stored
from vigil.members.calibration import Curve, restore_curve
from vigil.members.files import Files, named
from vigil.members.settings import MemberSettings
from vigil.members.trees import TreeSum
from vigil.members.xgboost_file import read_booster


class BoostedSettings(MemberSettings):
    """Settings of the boosted trees."""

    KIND = "boosted"
    PROFILES: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "general": {},
        "quick": {"rounds": 100, "learning_rate": 0.2, "max_bin": 256},
        "bagged": {"bags": 5, "subsample": 0.6, "column_sample": 0.6},
    }

    rounds: int = Field(default=600, ge=1, description="trees of each bag, at most")
    early_stopping: int | None = Field(
        default=50, ge=1, description="rounds without a gain on the held-out rows before it stops; null for all rounds"
    )
    learning_rate: float = Field(default=0.05, gt=0, le=1)
    max_depth: int = Field(default=6, ge=1, le=16)
    least_child_weight: float = Field(default=1.0, ge=0)
    subsample: float = Field(default=0.8, gt=0, le=1, description="share of the rows that each tree sees")
    column_sample: float = Field(default=0.8, gt=0, le=1, description="share of the features that each tree sees")
    l2: float = Field(default=1.0, ge=0)
    max_bin: int = Field(default=1024, ge=2, description="candidate splits of a feature; 256 costs precision on fraud")
    fraud_weight: float | Literal["balanced", "root"] = Field(
        default="root",
        description="weight of a fraud against a legitimate row: a number, their ratio, or the root of it",
    )
    monotone: Mapping[str, Literal[-1, 1]] = Field(
        default_factory=dict, description="features whose larger values must never lower (1) or raise (-1) the score"
    )
    bags: int = Field(default=1, ge=1, le=100, description="models of different seeds, whose margins are averaged")
    held_out: float = Field(default=0.2, gt=0, lt=1, description="latest share of the rows: stopping and calibration")
    calibration: Literal["beta", "platt", "isotonic"] = "beta"
    refit: bool = Field(default=True, description="fit again on all rows once the rounds and the calibration are known")
    least_frauds: int = Field(default=50, ge=2, description="labelled frauds below which the member abstains")
    threads: int = Field(default=1, ge=1, description="of the fit")


@dataclass(frozen=True, eq=False)
class Boosted(Member):
    """Scores are calibrated probabilities of fraud."""

    kind = "boosted"

    boosters: tuple[bytes, ...]
    """XGBoost's JSON, one for each bag."""
    curve: Curve
    """From margin to probability."""

    def __post_init__(self) -> None:
        _ = self._bags  # a damaged file is refused here, not at the first score

    def margins(self, matrix: FeatureMatrix) -> Scores:
        """Return the log-odds of fraud before calibration, (rows,): the mean over the bags of XGBoost's margins."""
        return self._margins(matrix.select(self.feature_names))

    @property
    def expected_margin(self) -> float:
        """The mean margin of the training rows: a row's margin is this plus the sum of its `explain`."""
        return float(np.mean([start + trees.expectation for trees, start in self._bags]))

    def _margins(self, values: Matrix) -> Scores:
        total = np.zeros(len(values))
        for trees, start in self._bags:
            margins = np.full(len(values), start)
            trees.add_to(margins, values)
            total += margins
        return total / len(self._bags)

    def _score(self, values: Matrix) -> Scores:
        return self.curve.probabilities(self._margins(values))

    def _explain(self, values: Matrix) -> Scores:
        """Return TreeSHAP values in log-odds."""
        mean: Scores = np.mean([trees.contributions(values) for trees, _ in self._bags], axis=0)
        return mean

    @cached_property
    def _bags(self) -> tuple[tuple[TreeSum, np.float32], ...]:
        features = len(self.feature_names)
        return tuple(read_booster(content, _file(bag), features) for bag, content in enumerate(self.boosters))

    def _state(self) -> Facts:
        return {"bags": len(self.boosters)}

    def _arrays(self) -> Arrays:
        return self.curve.to_arrays()

    def _other_files(self) -> Files:
        return {_file(bag): content for bag, content in enumerate(self.boosters)}

    @classmethod
    def _restore(cls, stored: Stored) -> dict[str, Any]:
        boosters = tuple(named(stored.files, _file(bag)) for bag in range(stored.state["bags"]))
        return {"boosters": boosters, "curve": restore_curve(stored.arrays)}


def _file(bag: int) -> str:
    return f"booster_{bag}.json"
