"""Makes the members' raw scores comparable, here and nowhere else: each becomes a surprise, and from it [0, 1].

The surprise of a score is `-ln p`, where p is the share of reference rows that score at least as high. Beyond the
reference it goes on rising, so no two scores of the far tail are made equal. The level in [0, 1] is `1 - p`.
"""

from dataclasses import dataclass

import numpy as np

from vigil.errors import ContractError
from vigil.members.base import Arrays, Scores

LEAST_ROWS = 100
"""Reference rows without which a tail cannot be told."""

_KNOTS = 512
_TAIL_ROWS = 20
"""Rows of the upper end from which the slope beyond it is taken."""


@dataclass(frozen=True, eq=False)
class TailCurve:
    """A rising, piecewise linear map from raw scores to surprises."""

    scores: Scores
    surprises: Scores
    slope: float
    """Surprise per unit of score beyond the last knot."""

    def surprise(self, raw: Scores) -> Scores:
        """Return `-ln p` for each raw score, (rows,), at least 0."""
        beyond = np.maximum(raw - self.scores[-1], 0.0) * self.slope
        return np.asarray(np.interp(raw, self.scores, self.surprises) + beyond)

    def level(self, raw: Scores) -> Scores:
        """Return the share of reference rows that score lower, (rows,), in [0, 1)."""
        return np.asarray(-np.expm1(-self.surprise(raw)))

    def to_array(self) -> Scores:
        """Return the curve as one array, (2, knots + 1): the last column holds the slope."""
        return np.stack([np.append(self.scores, self.slope), np.append(self.surprises, 0.0)])


def restore_tail(stored: Scores) -> TailCurve:
    """Return the curve whose `to_array` this is, or raise ContractError if it would fall."""
    sound = stored.ndim == 2 and stored.shape[0] == 2 and stored.shape[1] > 1 and np.isfinite(stored).all()
    if not sound or (np.diff(stored[:, :-1], axis=1) < 0).any() or stored[0, -1] < 0:
        raise ContractError("a calibration curve is damaged: it must rise; restore the bundle or fit it again")
    return TailCurve(np.ascontiguousarray(stored[0, :-1]), np.ascontiguousarray(stored[1, :-1]), float(stored[0, -1]))


def fit_tail(raw: Scores) -> TailCurve:
    """Return the curve of the raw scores of reference rows, which the member was not fitted on."""
    if len(raw) < LEAST_ROWS:
        raise ContractError(f"{len(raw)} rows calibrate a member, at least {LEAST_ROWS} are needed: widen the window")
    ordered = np.sort(raw)
    count = len(ordered)
    wanted = np.unique(np.geomspace(1, count, _KNOTS).astype(int))
    position = np.unique(np.append(count - wanted, 0))
    scores = np.unique(ordered[position])
    at_least = count - np.searchsorted(ordered, scores, side="left")
    surprises = np.log(count) - np.log(at_least + 0.5) + np.log1p(0.5 / count)
    return TailCurve(scores, np.maximum(surprises, 0.0), _tail_slope(ordered))


def _tail_slope(ordered: Scores) -> float:
    """Return the rate of an exponential tail: the inverse mean excess of the highest rows (Hill's idea)."""
    tail = ordered[-_TAIL_ROWS:]
    excess = float((tail - tail[0]).mean())
    spread = float(ordered[-1] - ordered[0])
    return 1.0 / excess if excess > 0 else (1.0 / spread if spread > 0 else 1.0)


def arrays_of(curves: dict[str, TailCurve]) -> Arrays:
    """Return the curves of members by name as arrays."""
    return {name: curve.to_array() for name, curve in curves.items()}
