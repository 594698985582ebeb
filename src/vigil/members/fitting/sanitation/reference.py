"""Rows where there are many times more than in a reference that is trusted: what density alone cannot tell."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vigil.members.base import FeatureMatrix, Matrix, TrainingRows
from vigil.members.fitting.sanitation.finding import Finding, one_text
from vigil.members.fitting.sanitation.out_of_fold import Folds, out_of_fold
from vigil.members.fitting.sanitation.settings import ReferenceScreen, SanitationSettings

_LEAST_WEIGHT = 10.0
"""Of a leaf: a crowd of fewer than about forty rows may be chance."""
_TELLING = 0.01
"""Share of crowded rows from which a feature tells the time."""


@dataclass(frozen=True, eq=False)
class Reference:
    """Trusted rows of an earlier time without known frauds, such as those that the model in production learned from."""

    matrix: FeatureMatrix
    times: NDArray[np.int64]
    """Event time (microseconds) of each."""
    since: int | None = None
    """Event time (microseconds) from which rows are compared: earlier ones are trusted too. None: all are compared."""


def find_crowded(
    rows: TrainingRows, chosen: NDArray[np.int64], reference: Reference | None, settings: SanitationSettings
) -> Finding | str:
    """Return those of the chosen rows whose surroundings hold many times the reference's share, or why none is named.

    The ratio of the shares is the odds of a model that tells the two apart, seen out of fold. Features that tell the
    latest trusted rows from those before them tell the time, and are not asked. By the others, the ratio has to be
    higher than it is in nearly all of those rows. If more rows are beyond that than poison would be, the world has
    moved, and no row is named: nobody can tell which ones are honest.
    """
    screen = settings.reference
    if screen is None or reference is None:
        return "not asked for" if screen is None else "no trusted rows of an earlier time were given"
    new = chosen if reference.since is None else chosen[rows.times[chosen] >= reference.since]
    for count, what in ((len(new), "new rows"), (len(reference.matrix), "trusted rows of an earlier time")):
        if count < settings.least_rows:
            return f"{count} {what} are too few to compare, it needs {settings.least_rows} (least_rows)"
    comparing = _Comparing(screen, settings.seed, settings.least_rows // 2)
    trusted, span = reference.matrix.select(rows.matrix.names), int(np.ptp(rows.times[new]))
    past = _Past.of(trusted, reference.times, span, comparing)
    if not len(past.steady):
        return "every feature tells the latest trusted rows from those before them"
    values = np.ascontiguousarray(rows.matrix.values[new][:, past.steady])
    crowded = comparing.odds(values, past.values) >= past.limit
    if crowded.mean() > screen.most:
        return (
            f"{crowded.mean():.1%} of {len(new):,} new rows lie where there are {past.limit:.1f} times more than "
            f"before: the world has moved (more than {screen.most:.1%}), so none was left out"
        )
    text = f"its surroundings hold at least {past.limit:.1f} times as large a share of the rows as of the reference"
    return one_text("crowded", crowded, text).among(new)


@dataclass(frozen=True)
class _Comparing:
    """How rows are held against trusted ones."""

    screen: ReferenceScreen
    seed: int
    least: int
    """Rows on either side, at least."""

    def odds(self, values: Matrix, trusted: Matrix) -> NDArray[np.float64]:
        """Return how many times the share of the trusted rows the surroundings of each row hold, (rows,)."""
        both = np.concatenate([values, trusted])
        is_new = np.arange(len(both)) < len(values)
        folds = Folds(self.screen.folds, self.screen.rounds, self.seed, _LEAST_WEIGHT)
        probability = out_of_fold(both, is_new, folds)[: len(values)]
        odds: NDArray[np.float64] = probability / np.maximum(1 - probability, 1e-12) * len(trusted) / len(values)
        return odds

    def tells_time(self, column: Matrix, late: NDArray[np.bool_]) -> bool:
        """Return whether a feature alone tells late from early rows, as one does that grows with the history known."""
        return float((self.odds(column[late], column[~late]) >= self.screen.times).mean()) > _TELLING


@dataclass(frozen=True, eq=False)
class _Past:
    """What the trusted rows say of how crowded places usually get within a span of time."""

    steady: NDArray[np.int64]
    """Columns of the features that are asked."""
    values: Matrix
    """Of those features."""
    limit: float
    """Ratio from which a place is crowded."""

    @classmethod
    def of(cls, trusted: Matrix, times: NDArray[np.int64], span: int, comparing: _Comparing) -> "_Past":
        """Hold the latest rows of such a span against the earlier ones; half of all if the span is longer than that.

        Too few rows on either side say nothing: all features are asked then, by the least ratio.
        """
        late = times >= max(times.max() - span, int(np.median(times)))
        columns, least = np.arange(trusted.shape[1]), comparing.screen.times
        if min(late.sum(), (~late).sum()) < comparing.least:
            return cls(columns, trusted, least)
        steady = np.array([k for k in columns if not comparing.tells_time(trusted[:, k : k + 1], late)], np.int64)
        values = np.ascontiguousarray(trusted[:, steady])
        if not len(steady):
            return cls(steady, values, least)
        usual = np.quantile(comparing.odds(values[late], values[~late]), 1 - comparing.screen.usual)
        return cls(steady, values, max(least, float(usual)))
