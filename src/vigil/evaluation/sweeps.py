"""What other thresholds would do: A/B of two sets, a sweep of thresholds, a sweep of contaminations, a proposal."""

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from vigil.contracts.keys import ContentHash
from vigil.errors import ContractError
from vigil.evaluation.comparison import Comparison, Scorer, compare
from vigil.evaluation.metrics import Measured, measure
from vigil.evaluation.operating import threshold_ratios
from vigil.evaluation.rows import FloatArray, ScoredRows
from vigil.evaluation.settings import MetricSettings
from vigil.evaluation.thresholds import Thresholds, budget_threshold, cost_threshold

CONTAMINATIONS = (0.1, 0.08, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
_AB_METRICS = ("alerts_per_day", "precision", "recall", "false_positive_rate", "cost_per_1000", "cost_saved")


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ThresholdComparison(_Data):
    """Two sets of thresholds on the same scores: what each costs, and what only one of them alerts."""

    a: ContentHash
    b: ContentHash
    metrics_a: dict[str, Measured]
    metrics_b: dict[str, Measured]
    only_a: int
    only_a_positives: int
    only_b: int
    only_b_positives: int
    cheaper_b: Comparison


class OperatingPoint(_Data):
    """What one threshold does on a set of rows; None is undefined, such as the precision without alerts."""

    threshold: float
    alerts_per_day: float
    precision: float | None
    recall: float | None
    false_positive_rate: float | None
    cost_per_1000: float | None
    contamination: float | None = None


class Proposal(_Data):
    """A threshold for the analysts to consider, found on calibration rows, with what it does on the test rows."""

    name: str
    reason: str
    point: OperatingPoint


def compare_thresholds(a: Thresholds, b: Thresholds, rows: ScoredRows, settings: MetricSettings) -> ThresholdComparison:
    """Return the A/B of two sets of thresholds on rows that neither was set on; labels and amounts are needed."""
    at_a, at_b = a.for_rows(rows), b.for_rows(rows)
    labels = rows.need_labels("an A/B of thresholds")
    only_a = (rows.scores >= at_a) & (rows.scores < at_b)
    only_b = (rows.scores >= at_b) & (rows.scores < at_a)
    found_a, found_b = measure(rows, settings, at_a), measure(rows, settings, at_b)
    return ThresholdComparison(
        a=a.content_hash,
        b=b.content_hash,
        metrics_a={name: found_a[name] for name in _AB_METRICS},
        metrics_b={name: found_b[name] for name in _AB_METRICS},
        only_a=int(only_a.sum()),
        only_a_positives=int((only_a & labels).sum()),
        only_b=int(only_b.sum()),
        only_b_positives=int((only_b & labels).sum()),
        cheaper_b=compare(
            rows, Scorer("b", rows.scores, at_b), Scorer("a", rows.scores, at_a), "cost_per_1000", settings
        ),
    )


def operating_point(
    rows: ScoredRows, threshold: float, settings: MetricSettings, contamination: float | None = None
) -> OperatingPoint:
    """Return what one threshold does on the rows, which must not be empty."""
    if not len(rows):
        raise ContractError("there are no rows to try a threshold on")
    found: dict[str, float | None] = {}
    for name, part in threshold_ratios(rows, threshold, settings).items():
        bottom = float(part.denominator.sum())
        found[name] = part.offset + float(part.numerator.sum()) / bottom if bottom > 0 else None
    return OperatingPoint(
        threshold=threshold,
        alerts_per_day=found["alerts_per_day"] or 0.0,
        precision=found["precision"],
        recall=found["recall"],
        false_positive_rate=found["false_positive_rate"],
        cost_per_1000=found.get("cost_per_1000"),
        contamination=contamination,
    )


def sweep_thresholds(
    rows: ScoredRows, settings: MetricSettings, thresholds: Sequence[float] | None = None, count: int = 15
) -> list[OperatingPoint]:
    """Return what each threshold does; without any given, `count` that alert from one row to a tenth of all."""
    if thresholds is None:
        shares = np.geomspace(1 / max(1, len(rows)), 0.1, count)
        thresholds = sorted({float(t) for t in np.quantile(rows.scores, 1 - shares, method="higher")}, reverse=True)
    return [operating_point(rows, threshold, settings) for threshold in thresholds]


def sweep_contamination(
    calibration_scores: FloatArray,
    rows: ScoredRows,
    settings: MetricSettings,
    values: Sequence[float] = CONTAMINATIONS,
) -> list[OperatingPoint]:
    """Return what each contamination does on the rows: its threshold is that quantile of the calibration scores."""
    if wrong := [value for value in values if not 0 < value < 1]:
        raise ContractError(f"contamination {wrong[0]} is a share of the rows: between 0 and 1")
    thresholds = np.quantile(calibration_scores, [1 - value for value in values], method="higher")
    return [operating_point(rows, float(t), settings, value) for t, value in zip(thresholds, values, strict=True)]


def propose_thresholds(calibration: ScoredRows, rows: ScoredRows, settings: MetricSettings) -> list[Proposal]:
    """Return the thresholds of least cost and of the alert budget on the calibration rows, and what they do later."""
    days = len(np.unique(calibration.days))
    budget = budget_threshold(calibration.scores, settings.alerts_per_day * days)
    reason = f"{settings.alerts_per_day:g} alerts a day on the calibration rows"
    found = [Proposal(name="budget", reason=reason, point=operating_point(rows, budget, settings))]
    if calibration.labels is not None and calibration.labels.any() and calibration.amounts is not None:
        cheapest = cost_threshold(calibration.scores, calibration.labels, calibration.amounts, settings.cost_per_alert)
        reason = f"least cost on the calibration rows at {settings.cost_per_alert:g} an alert"
        found.append(Proposal(name="cost", reason=reason, point=operating_point(rows, cheapest, settings)))
    return found
