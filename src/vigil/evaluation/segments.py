"""Metrics per site or per other segment, and how fairly the false alarms are spread over them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field

from vigil.evaluation.bootstrap import Counts, blocks_of, count_cells, draws, interval, ratio
from vigil.evaluation.metrics import Measured, measure
from vigil.evaluation.operating import threshold_array
from vigil.evaluation.rows import FloatArray, ScoredRows, codes
from vigil.evaluation.settings import MetricSettings

REST = "(the rest)"
"""Name of the segments that are too small, or beyond the maximum, taken together."""


class SegmentSettings(BaseModel):
    """How much a segment needs to be looked at on its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    minimum_rows: int = Field(default=500, ge=1, description="smaller segments are measured together")
    minimum_positives: int = Field(default=5, ge=0, description="segments with fewer are measured together")
    maximum: int = Field(default=30, ge=1, description="segments shown, the ones with the most rows")


class SegmentMetrics(BaseModel):
    """The metrics of one segment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    segment: str
    rows: int
    positives: int
    metrics: dict[str, Measured]


class SegmentRate(BaseModel):
    """The false positive rate of a segment against all other segments; None with a note where it cannot be said."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: str
    segment: str
    rows: int
    negatives: int
    rate: float | None
    others: float | None
    difference: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    note: str = ""


def measure_segments(
    rows: ScoredRows,
    by: str,
    settings: MetricSettings,
    threshold: ArrayLike | None = None,
    segments: SegmentSettings | None = None,
) -> list[SegmentMetrics]:
    """Return the metrics of each large enough segment, largest first, and those of the rest taken together."""
    limits = segments or SegmentSettings()
    labels = rows.need_labels("metrics by segment")
    keys, code = codes(rows.segment(by))
    size = np.bincount(code, minlength=len(keys))
    positives = np.bincount(code, weights=labels, minlength=len(keys))
    enough = (size >= limits.minimum_rows) & (positives >= limits.minimum_positives)
    shown = [k for k in np.argsort(-size, kind="stable") if enough[k]][: limits.maximum]
    masks = [(str(keys[k]), code == k) for k in shown]
    if len(shown) < len(keys):
        masks.append((f"{REST}: {len(keys) - len(shown)}", ~np.isin(code, shown)))
    thresholds = None if threshold is None else threshold_array(threshold, len(rows))
    found = []
    for name, mask in masks:
        metrics = measure(rows.take(mask), settings, None if thresholds is None else thresholds[mask])
        count = int(labels[mask].sum())
        found.append(SegmentMetrics(segment=name, rows=int(mask.sum()), positives=count, metrics=metrics))
    return found


def false_positive_rates(
    rows: ScoredRows, by: str, threshold: ArrayLike, settings: MetricSettings, minimum_negatives: int = 500
) -> list[SegmentRate]:
    """Return each segment's false positive rate against that of all the others, with the interval of their ratio.

    Half a false alarm is added on both sides of the ratio, so that a segment without any still has one.
    """
    negative = ~rows.need_labels("false positive rates")
    alarm = negative & (rows.scores >= threshold_array(threshold, len(rows)))
    blocks = blocks_of(rows, settings)
    keys, code = codes(rows.segment(by))
    counts = [count_cells(code[kind], blocks.code[kind], (len(keys), blocks.count)) for kind in (negative, alarm)]
    values = _rates(counts, np.ones((1, blocks.count)))
    samples = np.concatenate([_rates(counts, weights)[2] for weights in draws(blocks.count, settings)], axis=1)
    size = np.bincount(code, minlength=len(keys)).tolist()
    negatives = np.bincount(code[negative], minlength=len(keys)).tolist()

    def rate_of(k: int) -> SegmentRate:
        rate, others, relation = (_finite(part[k, 0]) for part in values)
        found = SegmentRate(by=by, segment=str(keys[k]), rows=size[k], negatives=negatives[k], rate=rate, others=others)
        if others is None or rate is None:
            return found.model_copy(update={"note": "no negative rows" if rate is None else "no other segment"})
        if negatives[k] < minimum_negatives:
            return found.model_copy(update={"note": f"{negatives[k]} negative rows, fewer than {minimum_negatives}"})
        low, high = interval(samples[k], settings.confidence) or (None, None)
        return found.model_copy(
            update={"difference": rate - others, "ratio": relation, "ratio_low": low, "ratio_high": high}
        )

    return [rate_of(k) for k in range(len(keys))]


def _rates(counts: Sequence[Counts], weights: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return rate, rate of the others, and smoothed ratio of the two, each of shape (segments, resamples)."""
    negatives, alarms = (np.asarray(count @ weights.T) for count in counts)
    other_negatives, other_alarms = negatives.sum(axis=0) - negatives, alarms.sum(axis=0) - alarms
    smooth = ratio(ratio(alarms + 0.5, negatives), ratio(other_alarms + 0.5, other_negatives))
    return ratio(alarms, negatives), ratio(other_alarms, other_negatives), smooth


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
