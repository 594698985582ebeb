"""Which scale suits a metric: how well a profile fits on it, and how even what is left is in both directions."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vigil.fleet.kernels import online
from vigil.fleet.panel import Floats

TAIL = 0.02


class Fitted(NamedTuple):
    """Values of one series, what the model says of each on its scale, the spread there, and whether it is closed."""

    values: Floats
    scaled: Floats
    scale: NDArray[np.float32]
    closed: NDArray[np.bool_]


def misfit(fitted: Fitted, params: Floats) -> tuple[float, float]:
    """Return the mean error relative to the values' spread, and how uneven the tails of the residuals are, 0 to 1."""
    open_ = np.isfinite(fitted.values) & ~fitted.closed
    if not open_.any():
        return 0.0, 0.0
    values, scaled = fitted.values[open_], fitted.scaled[open_]
    size = np.abs(values - np.median(values)).mean()
    error = np.abs(values - backward(scaled, params)).mean() / max(float(size), 1e-12)
    residual = (forward(values, params) - scaled) / fitted.scale[open_]
    low, high = np.quantile(residual, [TAIL, 1 - TAIL])
    return float(error), float(abs(high + low) / max(high - low, 1e-12))


def forward(values: Floats, params: Floats) -> Floats:
    """Return values on the scale of a model, as the compiled code does."""
    ratio = values / params[online.UNIT]
    if params[online.LOGARITHMIC] == 0.0:
        return np.asarray(ratio)
    offset = params[online.OFFSET]
    scaled: Floats = np.where(
        ratio > 0.0, np.log(np.maximum(ratio, 0.0) + offset), np.log(offset) + np.minimum(ratio, 0.0) / offset
    )
    return scaled


def backward(scaled: Floats, params: Floats) -> Floats:
    """Return the values whose `forward` is given."""
    if params[online.LOGARITHMIC] == 0.0:
        return np.asarray(scaled * params[online.UNIT])
    offset = params[online.OFFSET]
    floor = np.log(offset)
    ratio = np.where(scaled > floor, np.exp(np.minimum(scaled, 60.0)) - offset, (scaled - floor) * offset)
    values: Floats = ratio * params[online.UNIT]
    return values
