"""Two scorers on the same rows: the paired bootstrap that the gates rest on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict

from vigil.contracts.keys import ContentHash
from vigil.errors import ContractError
from vigil.evaluation.bootstrap import interval, resampled
from vigil.evaluation.metrics import METRICS, TOO_UNCERTAIN, drawn_blocks, metric_statistics, point_value, why_undefined
from vigil.evaluation.rows import FloatArray, ScoredRows
from vigil.evaluation.settings import MetricSettings


class Comparison(BaseModel):
    """Two scorers on the same rows: `difference` is positive where the candidate is better, whatever the metric."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    candidate: str
    reference: str
    candidate_value: float | None
    reference_value: float | None
    difference: float | None
    low: float | None = None
    high: float | None = None
    confidence: float
    rows: int
    positives: int
    rows_hash: ContentHash
    note: str = ""


@dataclass(frozen=True, eq=False)
class Scorer:
    """A scorer's name, its scores of the rows, shape (n,), and its threshold or thresholds where one is needed."""

    name: str
    scores: ArrayLike
    threshold: ArrayLike | None = None


def compare(
    rows: ScoredRows, candidate: Scorer, reference: Scorer, metric: str, settings: MetricSettings
) -> Comparison:
    """Return the paired difference of two scorers in one metric, with the interval of a paired block bootstrap.

    Both are measured on the same draws of the same rows; the rows' own scores play no part.
    """
    sign = _direction(metric)
    values, samples, note = _both(rows, (candidate, reference), metric, settings)
    first, second = values
    bounds = None if samples is None else interval(sign * samples, settings.confidence)
    return Comparison(
        metric=metric,
        candidate=candidate.name,
        reference=reference.name,
        candidate_value=first,
        reference_value=second,
        difference=sign * (first - second) if first is not None and second is not None else None,
        low=bounds and bounds[0],
        high=bounds and bounds[1],
        confidence=settings.confidence,
        rows=len(rows),
        positives=int(rows.need_labels("a comparison").sum()),
        rows_hash=rows.rows_hash,
        note=note or ("" if bounds else TOO_UNCERTAIN),
    )


def _direction(metric: str) -> float:
    if metric not in METRICS or METRICS[metric].better == "neither":
        known = ", ".join(name for name, known in METRICS.items() if known.better != "neither")
        raise ContractError(f"two scorers cannot be compared by {metric!r} (known: {known})")
    return 1.0 if METRICS[metric].better == "higher" else -1.0


def _both(
    rows: ScoredRows, pair: tuple[Scorer, Scorer], metric: str, settings: MetricSettings
) -> tuple[tuple[float | None, float | None], FloatArray | None, str]:
    """Return both values, the resampled differences where both are defined, and why there are none."""
    if not len(rows):
        return (None, None), None, "no rows"
    blocks, obstacle = drawn_blocks(rows, settings)
    first, second = (
        metric_statistics(rows.with_scores(one.scores), blocks, settings, one.threshold, metric) for one in pair
    )
    weights = np.ones((1, blocks.count))
    values = point_value(first(weights), metric), point_value(second(weights), metric)
    for one, value in zip(pair, values, strict=True):
        if value is None:
            reason = why_undefined(metric, rows.with_scores(one.scores), one.threshold)
            return values, None, f"{one.name}: {reason}"
    if obstacle:
        return values, None, obstacle

    def differences(weights: FloatArray) -> dict[str, FloatArray]:
        return {metric: first(weights)[metric] - second(weights)[metric]}

    return values, resampled(differences, blocks.count, settings)[metric], ""
