"""How a calibration curve is fitted."""

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from vigil.members.base import Scores
from vigil.members.calibration import Curve, LogisticCurve, StepCurve

_LITTLE = 1e6
"""Inverse strength of the regularisation: just enough for separable rows to have an answer."""


def fit_curve(method: str, margins: Scores, frauds: NDArray[np.bool_]) -> Curve:
    """Return the curve from margin to probability: `beta`, `platt` or `isotonic`.

    Rows whose order is worse than chance cannot set a slope: the plain logistic function, shifted, is all they give.
    """
    if method == "isotonic":
        return _isotonic(margins, frauds)
    low, high = np.logaddexp(0.0, -margins), np.logaddexp(0.0, margins)
    if method == "platt":
        (slope,), shift = _regress(np.stack([high - low]), frauds)
        return LogisticCurve(slope, slope, shift) if slope > 0 else _shifted(margins, frauds)
    return _beta(low, high, margins, frauds)


def _beta(low: Scores, high: Scores, margins: Scores, frauds: NDArray[np.bool_]) -> Curve:
    slopes, shift = _regress(np.stack([-low, high]), frauds)
    if (slopes > 0).all():
        return LogisticCurve(slopes[0], slopes[1], shift)
    return fit_curve("platt", margins, frauds)


def _isotonic(margins: Scores, frauds: NDArray[np.bool_]) -> StepCurve:
    model = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(margins, frauds.astype(float))
    return StepCurve(model.X_thresholds_.astype(np.float64), model.y_thresholds_.astype(np.float64))


def _shifted(margins: Scores, frauds: NDArray[np.bool_]) -> LogisticCurve:
    observed = np.clip(frauds.mean(), 1e-6, 1 - 1e-6)
    return LogisticCurve(1.0, 1.0, float(np.log(observed / (1 - observed)) - margins.mean()))


def _regress(columns: Scores, frauds: NDArray[np.bool_]) -> tuple[Scores, float]:
    model = LogisticRegression(C=_LITTLE, max_iter=1000).fit(columns.T, frauds)
    return model.coef_[0].astype(np.float64), float(model.intercept_[0])
