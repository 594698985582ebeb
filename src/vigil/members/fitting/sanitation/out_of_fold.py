"""What models say of rows that they were not fitted on."""

from dataclasses import dataclass

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from vigil.members.base import Matrix
from vigil.members.fitting.sanitation.cells import equal_rows

_FITTED = 80_000
"""Rows that a model is fitted on, at most."""


@dataclass(frozen=True)
class Folds:
    """How the rows are divided, and how many trees each model has."""

    folds: int
    rounds: int
    seed: int
    weight: float = 5.0
    """Least weight of a leaf: the more, the less is made of a few rows."""


def out_of_fold(values: Matrix, is_positive: NDArray[np.bool_], folds: Folds) -> NDArray[np.float64]:
    """Return each row's probability by the model of the other folds, (rows,); equal rows share a fold."""
    groups = equal_rows(values)
    random = np.random.default_rng(folds.seed)
    fold = random.permutation(groups.max() + 1)[groups] % folds.folds
    found = np.empty(len(values))
    for number in range(folds.folds):
        taught, asked = np.flatnonzero(fold != number), fold == number
        if len(taught) > _FITTED:
            taught = np.sort(random.permutation(taught)[:_FITTED])
        found[asked] = _predict(values[taught], is_positive[taught], values[asked], folds)
    return found


def _predict(values: Matrix, is_positive: NDArray[np.bool_], asked: Matrix, folds: Folds) -> NDArray[np.float64]:
    parameters = {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "max_depth": 5,
        "learning_rate": 0.15,
        "min_child_weight": folds.weight,
        "subsample": 0.8,
        "max_bin": 256,
        "seed": folds.seed,
        "nthread": 1,
        "verbosity": 0,
    }
    data = xgb.QuantileDMatrix(values, label=is_positive, max_bin=256, nthread=1)
    booster = xgb.train(parameters, data, folds.rounds)
    found: NDArray[np.float64] = booster.inplace_predict(asked).astype(np.float64)
    return found
