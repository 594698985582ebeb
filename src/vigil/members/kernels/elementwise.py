"""Functions of one number for whole arrays, always by the same scalar code.

numpy picks other instructions, and so at times other last bits, by the length and place of an array.
"""

import math

import numpy as np
from numpy.typing import NDArray

from vigil.members.kernels.jit import kernel


@kernel
def halve(exponents: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 2 ** -exponent for each exponent."""
    result = np.empty(exponents.size)
    for row in range(exponents.size):
        result[row] = 2.0 ** -exponents[row]
    return result


@kernel
def squash(margins: NDArray[np.float64], low: float, high: float, shift: float) -> NDArray[np.float64]:
    """Return 1 / (1 + exp(-z)) with z = high * log(1 + exp(m)) - low * log(1 + exp(-m)) + shift for each margin m.

    With low = high = 1 and no shift that is the logistic function.
    """
    result = np.empty(margins.size)
    for row in range(margins.size):
        margin = margins[row]
        tail = math.log1p(math.exp(-abs(margin)))
        z = high * (max(margin, 0.0) + tail) - low * (max(-margin, 0.0) + tail) + shift
        result[row] = 1.0 / (1.0 + math.exp(-z)) if z > 0.0 else math.exp(z) / (1.0 + math.exp(z))
    return result


@kernel
def log_odds(probability: np.float32) -> np.float32:
    """Return the logarithm of the odds in float32, by the C library's function, as XGBoost does."""
    return np.float32(-math.log(np.float32(1.0) / probability - np.float32(1.0)))
