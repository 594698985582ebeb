"""Sums of Gaussian bumps around support vectors."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vigil.members.kernels.jit import kernel


class Bumps(NamedTuple):
    """Bumps of one width, each with its height."""

    centres: NDArray[np.float64]
    """(bumps, features)."""
    heights: NDArray[np.float64]
    gamma: float
    """Of exp(-gamma * squared distance)."""


@kernel
def sum_bumps(rows: NDArray[np.float64], bumps: Bumps) -> NDArray[np.float64]:
    """Return the sum of the bumps at each row, (rows,)."""
    totals = np.zeros(rows.shape[0])
    for row in range(rows.shape[0]):
        for bump in range(bumps.heights.size):
            distance = 0.0
            for feature in range(rows.shape[1]):
                step = rows[row, feature] - bumps.centres[bump, feature]
                distance += step * step
            totals[row] += bumps.heights[bump] * math.exp(-bumps.gamma * distance)
    return totals


@kernel
def sum_bumps_without(rows: NDArray[np.float64], bumps: Bumps) -> NDArray[np.float64]:
    """Return the sum of the bumps at each row if one feature were 0, (rows, features)."""
    totals = np.zeros(rows.shape)
    for row in range(rows.shape[0]):
        for bump in range(bumps.heights.size):
            distance = 0.0
            for feature in range(rows.shape[1]):
                step = rows[row, feature] - bumps.centres[bump, feature]
                distance += step * step
            for feature in range(rows.shape[1]):
                centre = bumps.centres[bump, feature]
                step = rows[row, feature] - centre
                other = max(distance - step * step, 0.0) + centre * centre
                totals[row, feature] += bumps.heights[bump] * math.exp(-bumps.gamma * other)
    return totals
