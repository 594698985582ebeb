"""Metrics of the order of the scores, for many resamples at once: average precision, AUC ROC, recall at a rate."""

from dataclasses import dataclass

import numpy as np

from vigil.evaluation.bootstrap import Blocks, Statistics, count_cells, ratio
from vigil.evaluation.rows import BoolArray, FloatArray


@dataclass(frozen=True, eq=False)
class Passed:
    """Weighted counts of the rows at and above each distinct score of a positive row, highest first.

    `true` and `false` have shape (levels, resamples), `tied` are the negatives with exactly that score, `positives` and
    `negatives` the totals, shape (resamples,).
    """

    true: FloatArray
    false: FloatArray
    tied: FloatArray
    positives: FloatArray
    negatives: FloatArray


class Ranking:
    """Rows counted by block and by the distinct scores of positive rows.

    Between two such scores no metric changes but by the number of negatives passed. So each resample costs one product
    with a sparse matrix of counts instead of a sort.
    """

    def __init__(self, scores: FloatArray, labels: BoolArray, blocks: Blocks) -> None:
        self.levels: FloatArray = -np.unique(-scores[labels])
        width = len(self.levels)
        level = np.searchsorted(-self.levels, -scores, side="left")
        tied = ~labels & (level < width)
        tied[tied] = scores[tied] == self.levels[level[tied]]
        shape = (width, blocks.count)
        self._positive = count_cells(level[labels], blocks.code[labels], shape)
        self._negative = count_cells(level[~labels], blocks.code[~labels], (width + 1, blocks.count))
        self._tied = count_cells(level[tied], blocks.code[tied], shape)

    def passed(self, weights: FloatArray) -> Passed:
        """Return the counts under block weights of shape (resamples, blocks)."""
        positives = self._positive @ weights.T
        negatives = self._negative @ weights.T
        return Passed(
            true=np.cumsum(positives, axis=0),
            false=np.cumsum(negatives[:-1], axis=0),
            tied=self._tied @ weights.T,
            positives=positives.sum(axis=0),
            negatives=negatives.sum(axis=0),
        )


def ranking_statistics(scores: FloatArray, labels: BoolArray, blocks: Blocks, rate: float) -> Statistics:
    """Return the function from block weights to `average_precision`, `roc_auc` and `recall_at_fpr`."""
    ranking = Ranking(scores, labels, blocks)

    def statistics(weights: FloatArray) -> dict[str, FloatArray]:
        passed = ranking.passed(weights)
        gained = np.diff(passed.true, axis=0, prepend=0.0)
        precision = np.nan_to_num(ratio(passed.true, passed.true + passed.false))
        beaten = passed.negatives - passed.false + 0.5 * passed.tied
        allowed = np.where(passed.false <= rate * passed.negatives, passed.true, 0.0).max(axis=0, initial=0.0)
        return {
            "average_precision": ratio((gained * precision).sum(axis=0), passed.positives),
            "roc_auc": ratio((gained * beaten).sum(axis=0), passed.positives * passed.negatives),
            "recall_at_fpr": ratio(np.where(passed.negatives > 0, allowed, np.nan), passed.positives),
        }

    return statistics
