"""Rows that look like known frauds and are not called so: they would teach that frauds are usual."""

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from vigil.members.base import FRAUD, Matrix, TrainingRows
from vigil.members.fitting.sanitation.finding import Finding, one_text
from vigil.members.fitting.sanitation.scales import log_like
from vigil.members.fitting.sanitation.settings import LikenessScreen

_FITTED = 80_000
"""Rows beside the known frauds that the model is fitted on, at most."""
_FURTHEST = 10.0
"""Robust deviations beyond which a value says no more."""
_WEAK = 0.1
"""Inverse of the penalty on weights: few frauds are not to be learned by heart."""


def fraud_lift(rows: TrainingRows, seed: int) -> NDArray[np.float64]:
    """Return how many times likelier than on average each row is a known fraud, (rows,), by all rows together.

    The model is linear on purpose. Trees learn that poison in a place of its own is legitimate, and find a half to a
    quarter as much of it; what lies between the usual and the frauds is likelier for a line as well.
    """
    scaled = np.clip(log_like(rows.matrix.values), -_FURTHEST, _FURTHEST)
    is_fraud = rows.labels == FRAUD
    others = np.flatnonzero(~is_fraud)
    taught = np.random.default_rng(seed).permutation(others)[:_FITTED]
    odds = np.exp(_log_odds(scaled, is_fraud, np.sort(taught))) * (len(taught) / len(others))
    lift: NDArray[np.float64] = odds / (1 + odds) / is_fraud.mean()
    return lift


def _log_odds(scaled: Matrix, is_fraud: NDArray[np.bool_], others: NDArray[np.int64]) -> NDArray[np.float64]:
    exact, chosen = scaled.astype(np.float64), np.concatenate([np.flatnonzero(is_fraud), others])
    model = LogisticRegression(C=_WEAK, solver="newton-cholesky", max_iter=100)
    found: NDArray[np.float64] = model.fit(exact[chosen], is_fraud[chosen]).decision_function(exact)
    return found


def find_like_frauds(lift: NDArray[np.float64], settings: LikenessScreen) -> Finding:
    """Return the rows that look like known frauds."""
    text = f"at least {settings.lift:g} times likelier than a row on average to be like the known frauds"
    return one_text("like_known_fraud", lift >= settings.lift, text)
