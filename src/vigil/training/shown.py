"""What the pipeline's user interface shows: numbers and curves that every JSON writer takes."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_POINTS = 200
"""Of a curve; the interface draws no more anyway."""

Scalar = str | int | float | bool


def plain(values: Mapping[str, Any]) -> dict[str, Scalar]:
    """Return the values that can be shown: numpy's become Python's, what is no finite number or text is left out."""
    shown = {name: _scalar(value) for name, value in values.items()}
    return {name: value for name, value in shown.items() if value is not None}


def _scalar(value: object) -> Scalar | None:
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, str):
        return value
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return None


def roc_points(scores: Iterable[float], labels: Iterable[bool]) -> tuple[list[float], list[float], list[float]]:
    """Return false positive rates, true positive rates and thresholds of at most 200 points, without infinity.

    Rows of one label only have no curve: all three lists are empty.
    """
    values, positive = np.asarray(list(scores), np.float64), np.asarray(list(labels), np.bool_)
    finite = np.isfinite(values)
    values, positive = values[finite], positive[finite]
    if not positive.any() or positive.all():
        return [], [], []
    order = np.argsort(-values, kind="stable")
    last = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
    true = np.cumsum(positive[order])[last]
    false = last + 1 - true
    thresholds = np.append(values.max(), values[order][last])
    fpr, tpr = np.append(0.0, false / (~positive).sum()), np.append(0.0, true / positive.sum())
    kept = _thinned(fpr, tpr)
    return fpr[kept].tolist(), tpr[kept].tolist(), thresholds[kept].tolist()


def _thinned(fpr: NDArray[np.float64], tpr: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the places of points that are spread evenly along the curve, both ends among them."""
    if len(fpr) <= MOST_POINTS:
        return np.arange(len(fpr))
    length = np.append(0.0, np.cumsum(np.hypot(np.diff(fpr), np.diff(tpr))))
    inner: NDArray[np.int64] = np.searchsorted(length, np.linspace(0.0, length[-1], MOST_POINTS - 1)).astype(np.int64)
    return np.asarray(np.unique(np.append(np.minimum(inner, len(fpr) - 1), len(fpr) - 1)))


def confusion(found: int, missed: int, false_alarms: int, passed: int) -> list[list[int]]:
    """Return the matrix as the interface takes it: a row for each truth, legitimate first."""
    return [[int(passed), int(false_alarms)], [int(missed), int(found)]]
