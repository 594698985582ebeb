"""The curves of a report as numbers: precision over recall, ROC, calibration, cost, and the scores' distribution."""

from collections.abc import Callable

import numpy as np
from pydantic import BaseModel, ConfigDict

from vigil.evaluation.bootstrap import Blocks, draws, ratio
from vigil.evaluation.metrics import drawn_blocks
from vigil.evaluation.operating import costs
from vigil.evaluation.ranking import Passed, Ranking
from vigil.evaluation.rows import FloatArray, ScoredRows
from vigil.evaluation.settings import MetricSettings
from vigil.evaluation.thresholds import cost_curve

RECALLS = np.linspace(0.01, 1.0, 100)
RATES = np.geomspace(1e-4, 1.0, 81)
_CURVE_RESAMPLES = 200
_COST_POINTS = 120
_SCORE_BINS = 40


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Curve(_Data):
    """Points of a curve with a pointwise interval; `low` and `high` are empty where there is none."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


class CalibrationBin(_Data):
    """Rows with a score in [low, high): the mean score, the share of positives, and its Wilson interval."""

    low: float
    high: float
    rows: int
    mean_score: float
    share: float
    share_low: float
    share_high: float


class CostCurve(_Data):
    """Cost per 1,000 rows by alerts a day: of the model, and of the two trivial ways to work."""

    alerts_per_day: tuple[float, ...]
    cost_per_1000: tuple[float, ...]
    nothing_alerted: float
    everything_alerted: float


class ScoreBins(_Data):
    """Rows of each label by score."""

    edges: tuple[float, ...]
    negatives: tuple[int, ...]
    positives: tuple[int, ...]


def precision_recall(rows: ScoredRows, settings: MetricSettings) -> Curve | None:
    """Return the precision where each recall is first reached; None without positive rows."""
    return _curve(rows, settings, RECALLS, _precision_at)


def roc(rows: ScoredRows, settings: MetricSettings) -> Curve | None:
    """Return the highest recall within each false positive rate; None without rows of both labels."""
    return _curve(rows, settings, RATES, _recall_within)


def _precision_at(passed: Passed) -> FloatArray:
    recall = ratio(passed.true, passed.positives[None, :])
    precision = ratio(passed.true, passed.true + passed.false)
    rounding = 1e-12
    first = np.stack([np.searchsorted(column, RECALLS - rounding) for column in recall.T])
    return np.take_along_axis(precision.T, np.minimum(first, len(recall) - 1), axis=1)


def _recall_within(passed: Passed) -> FloatArray:
    rate = ratio(passed.false, passed.negatives[None, :])
    recall = np.vstack([np.zeros(rate.shape[1]), ratio(passed.true, passed.positives[None, :])])
    last = np.stack([np.searchsorted(column, RATES, side="right") for column in rate.T])
    return np.take_along_axis(recall.T, last, axis=1)


def _curve(
    rows: ScoredRows, settings: MetricSettings, x: FloatArray, of: Callable[[Passed], FloatArray]
) -> Curve | None:
    labels = rows.need_labels("a curve")
    if not labels.any() or labels.all():
        return None
    blocks, obstacle = drawn_blocks(rows, settings)
    whole = Ranking(rows.scores, labels, Blocks(np.zeros(len(rows), np.int64), 1))
    y = of(whole.passed(np.ones((1, 1))))[0]
    if obstacle:
        return Curve(x=tuple(x.tolist()), y=tuple(y.tolist()))
    ranking = Ranking(rows.scores, labels, blocks)
    fewer = settings.model_copy(update={"resamples": min(settings.resamples, _CURVE_RESAMPLES)})
    samples = np.concatenate([of(ranking.passed(weights)) for weights in draws(blocks.count, fewer)])
    tail = (1 - settings.confidence) / 2
    low, high = np.nanquantile(samples, [tail, 1 - tail], axis=0)
    return Curve(x=tuple(x.tolist()), y=tuple(y.tolist()), low=tuple(low.tolist()), high=tuple(high.tolist()))


def calibration(rows: ScoredRows, bins: int = 10, minimum_rows: int = 5) -> tuple[CalibrationBin, ...]:
    """Return the bins of equal width with enough rows; none where scores lie outside [0, 1]."""
    labels = rows.need_labels("the calibration")
    if not len(rows) or rows.scores.min() < 0 or rows.scores.max() > 1:
        return ()
    index = np.minimum((rows.scores * bins).astype(np.int64), bins - 1)
    found = []
    for k in range(bins):
        inside = index == k
        count = int(inside.sum())
        if count < minimum_rows:
            continue
        share = float(labels[inside].mean())
        low, high = wilson(share, count)
        mean = float(rows.scores[inside].mean())
        found.append(
            CalibrationBin(
                low=k / bins,
                high=(k + 1) / bins,
                rows=count,
                mean_score=mean,
                share=share,
                share_low=low,
                share_high=high,
            )
        )
    return tuple(found)


def wilson(share: float, count: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the Wilson interval of a share of `count` rows."""
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return float(np.clip(middle - half, 0.0, share)), float(np.clip(middle + half, share, 1.0))


def calibration_error(bins: tuple[CalibrationBin, ...]) -> float | None:
    """Return the mean distance of score and share over the rows of the bins; None without bins."""
    total = sum(one.rows for one in bins)
    return sum(one.rows * abs(one.mean_score - one.share) for one in bins) / total if total else None


def cost_by_alerts(rows: ScoredRows, settings: MetricSettings) -> CostCurve | None:
    """Return the cost of every number of alerts a day up to a fifth of the rows; None without amounts or rows."""
    if rows.amounts is None or not len(rows):
        return None
    labels = rows.need_labels("the cost curve")
    thresholds, cost = cost_curve(rows.scores, labels, rows.amounts, settings.cost_per_alert)
    alerted = len(rows) - np.searchsorted(np.sort(rows.scores), thresholds, side="left")
    wanted = np.unique(np.r_[0, np.geomspace(1, max(1, len(rows) // 5), _COST_POINTS).astype(np.int64)])
    picked = np.unique(np.searchsorted(alerted, wanted, side="right") - 1)
    days = len(np.unique(rows.days))
    extremes = [
        costs(np.full(len(rows), everything), labels, rows.amounts, settings.cost_per_alert).mean() * 1000
        for everything in (False, True)
    ]
    return CostCurve(
        alerts_per_day=tuple((alerted[picked] / days).tolist()),
        cost_per_1000=tuple((cost[picked] / len(rows) * 1000).tolist()),
        nothing_alerted=float(extremes[0]),
        everything_alerted=float(extremes[1]),
    )


def score_bins(rows: ScoredRows) -> ScoreBins | None:
    """Return the scores' distribution by label; None without rows."""
    if not len(rows):
        return None
    labels = rows.need_labels("the distribution of scores")
    edges = np.histogram_bin_edges(rows.scores, bins=_SCORE_BINS)
    negatives, positives = (np.histogram(rows.scores[mask], bins=edges)[0] for mask in (~labels, labels))
    return ScoreBins(
        edges=tuple(edges.tolist()), negatives=tuple(negatives.tolist()), positives=tuple(positives.tolist())
    )
