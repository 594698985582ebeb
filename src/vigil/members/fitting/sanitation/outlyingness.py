"""How far out each row is, by a first-pass forest that copies and tight clusters cannot mislead."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vigil.members.base import LEGITIMATE, FeatureMatrix, Matrix, TrainingRows
from vigil.members.fitting import isolation_forest
from vigil.members.fitting.sanitation.cells import Groups, cells, equal_rows, places_in_group
from vigil.members.fitting.sanitation.scales import deviations, log_like
from vigil.members.fitting.sanitation.settings import ClusterScreen
from vigil.members.isolation_forest import IsolationForestSettings

_FITTED = 20_000
"""Rows that the forest is fitted on, at most."""
_ALIKE = 4
"""Rows of one cell that it is fitted on, at most: more of them would look usual by their number alone."""


@dataclass(frozen=True, eq=False)
class Landscape:
    """Where each row lies among the others; all of (rows,) but `scaled`."""

    scaled: Matrix
    """Robust deviations on a log-like scale, (rows, features)."""
    equal: Groups
    cells: list[Groups]
    far: NDArray[np.float64]
    """Robust deviations of the forest's score from its median; higher is further out."""
    names: tuple[str, ...]


def survey(matrix: FeatureMatrix, settings: ClusterScreen, seed: int) -> Landscape:
    """Return where each row lies; the same rows and seed give the same."""
    scaled = log_like(matrix.values)
    divided = cells(scaled, settings, seed)
    fitted = np.flatnonzero(places_in_group(divided[0]) < _ALIKE)
    if len(fitted) > _FITTED:
        fitted = np.sort(np.random.default_rng(seed).choice(fitted, _FITTED, replace=False))
    forest = isolation_forest.fit(IsolationForestSettings(trees=100, seed=seed), _rows(scaled[fitted], matrix.names))
    scores = forest.score(FeatureMatrix(scaled, matrix.names))
    return Landscape(scaled, equal_rows(matrix.values), divided, deviations(scores), matrix.names)


def _rows(values: Matrix, names: tuple[str, ...]) -> TrainingRows:
    count = len(values)
    matrix = FeatureMatrix(np.ascontiguousarray(values), names)
    return TrainingRows(matrix, np.zeros(count, dtype=np.int64), np.full(count, LEGITIMATE, dtype=np.int8))
