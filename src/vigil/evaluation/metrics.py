"""The metrics by name, each with an interval and a stated reason where there is no value: never a silent NaN."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict

from vigil.evaluation.bootstrap import Blocks, Statistics, blocks_of, interval, resampled
from vigil.evaluation.operating import (
    budget_ratios,
    calibration_ratios,
    card_statistics,
    ratio_statistics,
    threshold_ratios,
)
from vigil.evaluation.ranking import ranking_statistics
from vigil.evaluation.rows import FloatArray, ScoredRows
from vigil.evaluation.settings import MetricSettings

Need = Literal["threshold", "amounts", "entities", "negatives", "probabilities"]


@dataclass(frozen=True)
class Metric:
    """What a metric is called in a report, which direction is better, what it says, and what it cannot do without."""

    label: str
    better: Literal["higher", "lower", "neither"]
    meaning: str
    needs: frozenset[Need] = frozenset()


_AT_THRESHOLD: Final[frozenset[Need]] = frozenset({"threshold"})
_COST: Final[frozenset[Need]] = frozenset({"threshold", "amounts"})
_BOTH_LABELS: Final[frozenset[Need]] = frozenset({"negatives"})

METRICS = {
    "average_precision": Metric(
        "average precision", "higher", "precision averaged over the recall; chance is the share of positives"
    ),
    "roc_auc": Metric("AUC ROC", "higher", "chance that a positive row scores above a negative one", _BOTH_LABELS),
    "recall_at_fpr": Metric(
        "recall at few false positives", "higher", "positives found at the stated false positive rate", _BOTH_LABELS
    ),
    "card_precision": Metric(
        "card precision", "higher", "share of compromised cards among those looked at each day", frozenset({"entities"})
    ),
    "precision_at_budget": Metric(
        "precision at the budget", "higher", "share of true alerts among the daily budget of alerts"
    ),
    "recall_at_budget": Metric("recall at the budget", "higher", "share of positives among the daily budget of alerts"),
    "precision": Metric("precision", "higher", "share of true alerts at the threshold", _AT_THRESHOLD),
    "recall": Metric("recall", "higher", "share of positives alerted at the threshold", _AT_THRESHOLD),
    "false_positive_rate": Metric(
        "false positive rate", "lower", "share of negatives alerted at the threshold", _AT_THRESHOLD | _BOTH_LABELS
    ),
    "alerts_per_day": Metric("alerts per day", "neither", "at the threshold", _AT_THRESHOLD),
    "cost_per_1000": Metric("cost per 1,000 rows", "lower", "missed amounts and work on alerts, in currency", _COST),
    "cost_saved": Metric(
        "share of the loss saved", "higher", "against alerting nothing; negative is worse than nothing", _COST
    ),
    "accuracy": Metric("accuracy", "higher", "rows judged rightly at the threshold: see the next line", _AT_THRESHOLD),
    "trivial_accuracy": Metric(
        "accuracy of the trivial baseline", "neither", "of giving every row the majority's label", _AT_THRESHOLD
    ),
    "brier": Metric(
        "Brier score", "lower", "mean squared error of the score as a probability", frozenset({"probabilities"})
    ),
}
"""Every metric that `measure` knows, by its name in configuration."""

TOO_UNCERTAIN = "undefined in more than 5 % of the resamples: no interval"
_RANKING = frozenset({"average_precision", "roc_auc", "recall_at_fpr"})


class Measured(BaseModel):
    """The value of a metric with its interval; `value` or the interval is None where `note` says why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    rows: int
    positives: int
    note: str = ""


def metric_statistics(
    rows: ScoredRows, blocks: Blocks, settings: MetricSettings, threshold: ArrayLike | None, only: str | None = None
) -> Statistics:
    """Return the function to every metric that the rows allow, or to the metric `only`."""
    families: list[Statistics] = []
    if only is None or only in _RANKING:
        labels = rows.need_labels("a metric")
        families.append(ranking_statistics(rows.scores, labels, blocks, settings.false_positive_rate))
    if rows.entities is not None and only in (None, "card_precision"):
        families.append(card_statistics(rows, blocks, settings))
    if only not in {*_RANKING, "card_precision"}:
        ratios = {**budget_ratios(rows, settings), **calibration_ratios(rows)}
        ratios |= threshold_ratios(rows, threshold, settings) if threshold is not None else {}
        wanted = {name: part for name, part in ratios.items() if only in (None, name)}
        families.append(ratio_statistics(wanted, blocks))

    def statistics(weights: FloatArray) -> dict[str, FloatArray]:
        return {name: values for family in families for name, values in family(weights).items()}

    return statistics


def drawn_blocks(rows: ScoredRows, settings: MetricSettings) -> tuple[Blocks, str]:
    """Return the blocks to draw, and why no interval can be given, or nothing."""
    if settings.block == "entity" and rows.entities is None:
        return Blocks(np.zeros(len(rows), np.int64), 1), "no entity ids to draw by: no interval"
    blocks = blocks_of(rows, settings)
    positives = int(rows.need_labels("an interval").sum())
    for name, count, least in (
        ("rows", len(rows), settings.minimum_rows),
        ("positive rows", positives, settings.minimum_positives),
        ("days" if settings.block == "day" else "entities", blocks.count, settings.minimum_blocks),
    ):
        if count < least:
            return blocks, f"only {count} {name}, fewer than {least}: no interval"
    return blocks, ""


def why_undefined(metric: str, rows: ScoredRows, threshold: ArrayLike | None) -> str:
    """Return why a metric that has no value on these rows has none."""
    labels, needs = rows.need_labels("a metric"), METRICS[metric].needs
    reasons = [
        (not len(rows), "no rows"),
        ("threshold" in needs and threshold is None, "no threshold was given"),
        ("amounts" in needs and rows.amounts is None, "no amounts were given"),
        ("entities" in needs and rows.entities is None, "no entity ids were given"),
        ("probabilities" in needs, "the scores are not probabilities: some lie outside [0, 1]"),
        (metric == "precision", "nothing is alerted at this threshold"),
        ("negatives" in needs and bool(labels.all()), "no negative rows"),
        (not labels.any(), "no positive rows"),
        (metric == "cost_saved", "the positive rows have no amount to lose"),
    ]
    return next((reason for applies, reason in reasons if applies), "undefined on these rows")


def point_value(values: dict[str, FloatArray], metric: str) -> float | None:
    """Return the first value of a metric, or None where it is absent or undefined."""
    value = float(values[metric][0]) if metric in values else np.nan
    return value if np.isfinite(value) else None


def measure(rows: ScoredRows, settings: MetricSettings, threshold: ArrayLike | None = None) -> dict[str, Measured]:
    """Return every metric of `METRICS`, in that order; `threshold` is one number or one for each row."""
    values: dict[str, FloatArray] = {}
    samples: dict[str, FloatArray] = {}
    obstacle = ""
    if len(rows):
        blocks, obstacle = drawn_blocks(rows, settings)
        statistics = metric_statistics(rows, blocks, settings, threshold)
        values = statistics(np.ones((1, blocks.count)))
        samples = {} if obstacle else resampled(statistics, blocks.count, settings)

    def measured(metric: str) -> Measured:
        value = point_value(values, metric)
        bounds = interval(samples[metric], settings.confidence) if value is not None and samples else None
        note = obstacle or ("" if bounds else TOO_UNCERTAIN)
        return Measured(
            metric=metric,
            value=value,
            low=bounds and bounds[0],
            high=bounds and bounds[1],
            rows=len(rows),
            positives=int(rows.need_labels("a metric").sum()),
            note=note if value is not None else why_undefined(metric, rows, threshold),
        )

    return {name: measured(name) for name in METRICS}
