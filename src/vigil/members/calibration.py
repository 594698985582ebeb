"""From log-odds to the probability of fraud: curves that never fall, fitted on rows that the model has not seen."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vigil.members.base import Arrays, Scores
from vigil.members.kernels.elementwise import squash


@dataclass(frozen=True, eq=False)
class LogisticCurve:
    """A logistic curve with a slope for margins below 0, one for those above, and a shift (beta calibration).

    With equal slopes it is Platt's; with slopes 1 and no shift, the plain logistic function. It never makes two
    different margins equal.
    """

    low: float
    high: float
    shift: float

    def probabilities(self, margins: Scores) -> Scores:
        """Return the probability of fraud for each margin, (rows,)."""
        return squash(margins, self.low, self.high, self.shift)

    def to_arrays(self) -> Arrays:
        """Return the curve as arrays."""
        return {"calibration": np.array([self.low, self.high, self.shift])}


@dataclass(frozen=True, eq=False)
class StepCurve:
    """Isotonic regression: straight between knots, level beyond them. Rows on a level part get the same score."""

    margins: NDArray[np.float64]
    levels: NDArray[np.float64]

    def probabilities(self, margins: Scores) -> Scores:
        """Return the probability of fraud for each margin, (rows,)."""
        return np.interp(margins, self.margins, self.levels)

    def to_arrays(self) -> Arrays:
        """Return the curve as arrays."""
        return {"calibration": np.stack([self.margins, self.levels])}


Curve = LogisticCurve | StepCurve


def restore_curve(arrays: Arrays) -> Curve:
    """Return the curve whose `to_arrays` these are, or raise ValueError if it would fall or leave [0, 1]."""
    stored = arrays["calibration"]
    if stored.shape == (3,) and np.isfinite(stored).all() and (stored[:2] >= 0).all() and stored[:2].any():
        return LogisticCurve(*(float(value) for value in stored))
    rises = stored.ndim == 2 and len(stored) == 2 and stored.size and (np.diff(stored) >= 0).all()
    if rises and 0 <= stored[1, 0] and stored[1, -1] <= 1:
        return StepCurve(np.ascontiguousarray(stored[0]), np.ascontiguousarray(stored[1]))
    raise ValueError("the calibration is no rising curve of probabilities")
