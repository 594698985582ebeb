"""Scales on which features can be compared, measured so that a few odd rows cannot move them."""

import numpy as np
from numpy.typing import NDArray

from vigil.members.base import Matrix

_NORMAL_MAD = 1.4826
"""Standard deviations in a median absolute deviation of a normal distribution."""


def log_like(values: Matrix) -> Matrix:
    """Return robust deviations from the median on a log-like scale, (rows, features).

    Each value becomes sign * log(1 + |value| / unit), the unit being the median size of the values that are not zero.
    Where most values are the same, the spread is that of the others: a rare value is then not far out by itself.
    """
    scaled = np.empty_like(values)
    for column in range(values.shape[1]):
        scaled[:, column] = _scaled(values[:, column].astype(np.float64))
    return scaled


def deviations(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far each score lies above the median, in robust deviations of the upper half."""
    median, three_quarters = np.quantile(scores, [0.5, 0.75])
    spread = (three_quarters - median) * _NORMAL_MAD
    above: NDArray[np.float64] = (scores - median) / max(spread, 1e-12)
    return above


def _scaled(column: NDArray[np.float64]) -> NDArray[np.float64]:
    size = np.abs(column)
    unit = np.median(size[size > 0]) if size.any() else 1.0
    logs = np.sign(column) * np.log1p(size / unit)
    apart = logs - np.median(logs)
    distance = np.abs(apart)
    spread = _NORMAL_MAD * np.median(distance)
    if spread <= 0:
        spread = np.median(distance[distance > 0]) if distance.any() else 1.0
    scaled: NDArray[np.float64] = apart / spread
    return scaled
