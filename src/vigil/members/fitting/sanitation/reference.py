"""Rows where there are many times more than in a reference that is trusted: what density alone cannot tell."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vigil.members.base import FeatureMatrix, TrainingRows
from vigil.members.fitting.sanitation.finding import Finding, one_text
from vigil.members.fitting.sanitation.out_of_fold import Folds, out_of_fold
from vigil.members.fitting.sanitation.settings import SanitationSettings

_LEAST_WEIGHT = 10.0
"""Of a leaf: a crowd of fewer than about forty rows may be chance."""


@dataclass(frozen=True, eq=False)
class Reference:
    """Trusted rows of an earlier time without known frauds, such as those that the model in production learned from."""

    matrix: FeatureMatrix
    since: int | None = None
    """Event time (microseconds) from which rows are compared: earlier ones are trusted too. None: all are compared."""


def find_crowded(
    rows: TrainingRows, chosen: NDArray[np.int64], reference: Reference | None, settings: SanitationSettings
) -> Finding | str:
    """Return those of the chosen rows whose surroundings hold many times the reference's share, or why none is named.

    The ratio of the shares is the odds of a model that tells the two apart, seen out of fold. If that is so of more
    rows than poison would be, the world has moved, and no row is named: nobody can tell which ones are honest.
    """
    if reference is None:
        return "no trusted rows of an earlier time were given"
    new = chosen if reference.since is None else chosen[rows.times[chosen] >= reference.since]
    for count, what in ((len(new), "new rows"), (len(reference.matrix), "trusted rows of an earlier time")):
        if count < settings.least_rows:
            return f"{count} {what} are too few to compare, it needs {settings.least_rows} (least_rows)"
    screen = settings.reference
    crowded = _odds(rows.matrix.values[new], reference.matrix.select(rows.matrix.names), settings) >= screen.times
    if crowded.mean() > screen.most:
        return (
            f"{crowded.mean():.1%} of {len(new):,} new rows lie where there are {screen.times:g} times more than "
            f"before: the world has moved (more than {screen.most:.1%}), so none was left out"
        )
    text = f"its surroundings hold at least {screen.times:g} times as large a share of the rows as of the reference"
    return one_text("crowded", crowded, text).among(new)


def _odds(
    values: NDArray[np.float32], trusted: NDArray[np.float32], settings: SanitationSettings
) -> NDArray[np.float64]:
    """Return how many times the share of the trusted rows the surroundings of each row hold, (rows,)."""
    both = np.concatenate([values, trusted])
    is_new = np.arange(len(both)) < len(values)
    folds = Folds(settings.reference.folds, settings.reference.rounds, settings.seed, _LEAST_WEIGHT)
    probability = out_of_fold(both, is_new, folds)[: len(values)]
    odds: NDArray[np.float64] = probability / np.maximum(1 - probability, 1e-12) * len(trusted) / len(values)
    return odds
