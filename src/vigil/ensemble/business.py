"""The business score: five parts in [0, 1], weighted by configuration, shown beside the models' score."""

from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from vigil.members.base import FeatureMatrix, Scores

PREFIX = "business_"
"""Features whose names begin so are the parts; a negative value says that the part is missing."""


class BusinessWeights(BaseModel):
    """What each part counts for. A missing part's weight is shared out among the others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    high_value: float = Field(default=0.30, ge=0, le=1)
    low_stock: float = Field(default=0.20, ge=0, le=1)
    customer_behavior: float = Field(default=0.20, ge=0, le=1)
    churn: float = Field(default=0.10, ge=0, le=1)
    outlier: float = Field(default=0.20, ge=0, le=1)

    @model_validator(mode="after")
    def _check_sum(self) -> "BusinessWeights":
        total = sum(self.model_dump().values())
        if abs(total - 1) > 1e-9:
            raise ValueError(f"the weights of the business score sum to {total:g}, not to 1")
        return self


@dataclass(frozen=True, eq=False)
class BusinessScores:
    """Scores and parts of rows; a part is NaN where it is missing, a score where all of them are."""

    score: Scores
    """(rows,), in [0, 1]"""
    parts: Scores
    """(rows, parts)"""
    names: tuple[str, ...]


def score_business(matrix: FeatureMatrix, weights: BusinessWeights) -> BusinessScores:
    """Return the business score of each row: the weighted mean of the parts that are there."""
    by_name = weights.model_dump()
    names = tuple(by_name)
    parts = matrix.select(tuple(PREFIX + name for name in names)).astype(np.float64)
    present = parts >= 0
    weight = np.where(present, np.array(list(by_name.values())), 0.0)
    total = weight.sum(axis=1)
    weighted = (np.where(present, parts, 0.0) * weight).sum(axis=1)
    score = np.divide(weighted, total, out=np.full(len(parts), np.nan), where=total > 0)
    return BusinessScores(score, np.where(present, parts, np.nan), names)
