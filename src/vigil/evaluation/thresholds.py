"""Thresholds as versioned data: set by cost or by alert budget on a calibration window, never on the test."""

from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vigil.clock import DAY
from vigil.contracts.keys import ContentHash, canonical_json, hash_json
from vigil.errors import ContractError
from vigil.evaluation.rows import AnyArray, BoolArray, FloatArray, ScoredRows, codes
from vigil.evaluation.splits import Window

SEPARATOR = "|"
"""Between the parts of the key of a threshold by several segments, such as `amount|site 12`."""


class ThresholdPolicy(BaseModel):
    """How thresholds are set. A row is alerted when its score reaches the threshold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    rule: Literal["cost", "budget"] = Field(
        default="budget", description="least expected cost, or so many alerts a day"
    )
    alerts_per_day: float = Field(default=100, gt=0, description="of all segments together; shared out by their rows")
    cost_per_alert: float = Field(default=5.0, gt=0, description="currency units to look at one alert")
    by: tuple[str, ...] = Field(default=(), description="segments that get a threshold of their own, such as site")
    floor: float = Field(default=0.0, ge=0, le=1, description="no threshold lies below")
    ceiling: float = Field(default=1.0, ge=0, le=1, description="no threshold lies above")
    minimum_rows: int = Field(default=1000, ge=1, description="a segment with fewer uses the global threshold")
    minimum_positives: int = Field(default=20, ge=1, description="the same, where the rule is cost")
    maximum_step: float = Field(default=0.2, gt=0, le=1, description="most that a recalculation may move a threshold")

    @model_validator(mode="after")
    def _ordered(self) -> "ThresholdPolicy":
        if self.floor > self.ceiling:
            raise ValueError(f"floor {self.floor} lies above ceiling {self.ceiling}")
        return self


class Thresholds(BaseModel):
    """A global threshold and those of single segments, with all that is needed to make them again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: ThresholdPolicy
    overall: float
    by_key: dict[str, float] = Field(default_factory=dict, description="threshold of each segment that has its own")
    fallbacks: dict[str, str] = Field(default_factory=dict, description="why a segment uses the global threshold")
    notes: tuple[str, ...] = Field(default=(), description="what the rule wanted and the limits did not allow")
    window: Window = Field(description="of the calibration rows")
    rows: int
    rows_hash: ContentHash

    @property
    def content_hash(self) -> ContentHash:
        """The version of these thresholds."""
        return hash_json(self.model_dump(mode="json"))

    def of(self, keys: AnyArray) -> FloatArray:
        """Return the threshold of each key; an unknown key has the global one."""
        distinct, code = codes(keys)
        return np.array([self.by_key.get(str(key), self.overall) for key in distinct], np.float64)[code]

    def for_rows(self, rows: ScoredRows) -> FloatArray:
        """Return the threshold of each row, or raise ContractError where a row was used to set them."""
        if len(rows) and (inside := self.window.holds(rows.event_time)).any():
            raise ContractError(
                f"{int(inside.sum())} rows lie in the window that the thresholds were set on ({self.window}): "
                "measure them on later rows"
            )
        return self.of(segment_keys(rows, self.policy.by)) if self.policy.by else np.full(len(rows), self.overall)


def segment_keys(rows: ScoredRows, by: tuple[str, ...]) -> AnyArray:
    """Return each row's key over one or several segments."""
    parts = [np.asarray(rows.segment(name)).astype(str) for name in by]
    keys = parts[0]
    for part in parts[1:]:
        keys = np.char.add(np.char.add(keys, SEPARATOR), part)
    return keys


def fit_thresholds(rows: ScoredRows, policy: ThresholdPolicy, window: Window) -> Thresholds:
    """Return the thresholds that the policy sets on the rows of a calibration window.

    The rule `budget` needs no labels. Rows outside the window are refused: a day without rows counts as a day.
    """
    outside = ~window.holds(rows.event_time)
    if not len(rows) or outside.any():
        raise ContractError(f"{int(outside.sum())} of {len(rows)} rows lie outside the calibration window {window}")
    if obstacle := _too_few(rows, policy):
        raise ContractError(f"no threshold can be set on the window {window}: {obstacle}")
    notes: list[str] = []
    overall = _limited("all rows", _wanted(rows, policy, window, 1.0), policy, notes)
    by_key: dict[str, float] = {}
    fallbacks: dict[str, str] = {}
    keys, code = codes(segment_keys(rows, policy.by)) if policy.by else (np.zeros(0, str), np.zeros(0, np.int64))
    order = np.argsort(code, kind="stable")
    edges = np.searchsorted(code[order], np.arange(len(keys) + 1))
    for key, (start, end) in zip(map(str, keys), pairwise(edges), strict=False):
        part = rows.take(order[start:end])
        if obstacle := _too_few(part, policy):
            fallbacks[key] = f"{obstacle}: the global threshold"
        else:
            by_key[key] = _limited(key, _wanted(part, policy, window, len(part) / len(rows)), policy, notes)
    return Thresholds(
        policy=policy,
        overall=overall,
        by_key=by_key,
        fallbacks=fallbacks,
        notes=tuple(notes),
        window=window,
        rows=len(rows),
        rows_hash=rows.rows_hash,
    )


def _too_few(rows: ScoredRows, policy: ThresholdPolicy) -> str:
    if len(rows) < policy.minimum_rows:
        return f"{len(rows)} rows, fewer than {policy.minimum_rows}"
    if policy.rule == "cost":
        positives = int(rows.need_labels("a threshold by cost").sum())
        if positives < policy.minimum_positives:
            return f"{positives} positive rows, fewer than {policy.minimum_positives}"
    return ""


def _wanted(rows: ScoredRows, policy: ThresholdPolicy, window: Window, share: float) -> float:
    if policy.rule == "budget":
        return budget_threshold(rows.scores, policy.alerts_per_day * share * (window.end - window.start) / DAY)
    amounts = rows.need_amounts("a threshold by cost")
    return cost_threshold(rows.scores, rows.need_labels("a threshold by cost"), amounts, policy.cost_per_alert)


def _limited(key: str, wanted: float, policy: ThresholdPolicy, notes: list[str]) -> float:
    limited = min(max(wanted, policy.floor), policy.ceiling)
    if limited != wanted:
        notes.append(f"{key}: the rule wants {wanted:.6g}, the limits give {limited:.6g}")
    return limited


def _above(score: float) -> float:
    return float(np.nextafter(score, np.inf))


def budget_threshold(scores: FloatArray, alerts: float) -> float:
    """Return the lowest threshold that at most `alerts` scores reach; tied scores go together."""
    levels, counts = np.unique(-scores, return_counts=True)
    affordable = np.cumsum(counts) <= alerts
    return float(-levels[affordable][-1]) if affordable.any() else _above(float(-levels[0]))


def cost_curve(
    scores: FloatArray, labels: BoolArray, amounts: FloatArray, cost_per_alert: float
) -> tuple[FloatArray, FloatArray]:
    """Return every distinct threshold, highest first and one above all scores, with the cost of alerting from it on."""
    order = np.argsort(-scores, kind="stable")
    missed = np.where(labels, np.maximum(amounts, 0.0), 0.0)[order]
    cost = missed.sum() + np.r_[0.0, np.cumsum(cost_per_alert - missed)]
    last = np.r_[True, np.diff(scores[order]) != 0, True]
    thresholds = np.r_[_above(float(scores.max())), scores[order]]
    return thresholds[last], cost[last]


def cost_threshold(scores: FloatArray, labels: BoolArray, amounts: FloatArray, cost_per_alert: float) -> float:
    """Return the threshold of least cost: missed amounts plus the work on alerts; of equals the highest."""
    thresholds, cost = cost_curve(scores, labels, amounts, cost_per_alert)
    return float(thresholds[np.argmin(cost)])


class ThresholdChange(BaseModel):
    """What a recalculation proposes, and the thresholds that it held back because they would have moved too far."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    before: Thresholds
    after: Thresholds
    moved: dict[str, float] = Field(description="change by key; the global one is `overall`")
    held: dict[str, str] = Field(description="reason by key")


def recalculate(before: Thresholds, rows: ScoredRows, window: Window) -> ThresholdChange:
    """Return the thresholds that the same policy sets on recent rows, no step longer than `maximum_step`."""
    if window.end <= before.window.end:
        raise ContractError(f"window {window} is not more recent than that of the thresholds ({before.window})")
    wanted = fit_thresholds(rows, before.policy, window)
    held: dict[str, str] = {}
    step = before.policy.maximum_step

    def limited(key: str, old: float, new: float) -> float:
        if abs(new - old) <= step:
            return new
        held[key] = f"wants {new:.6g} after {old:.6g}: more than one step of {step:g}"
        return old + step if new > old else old - step

    overall = limited("overall", before.overall, wanted.overall)
    by_key = {key: limited(key, before.by_key.get(key, before.overall), new) for key, new in wanted.by_key.items()}
    after = wanted.model_copy(update={"overall": overall, "by_key": by_key})
    moved = {key: new - before.by_key.get(key, before.overall) for key, new in by_key.items()}
    return ThresholdChange(before=before, after=after, moved={"overall": overall - before.overall, **moved}, held=held)


def write_thresholds(thresholds: Thresholds, path: Path) -> ContentHash:
    """Write the thresholds as canonical JSON and return their version."""
    path.write_bytes(canonical_json(thresholds.model_dump(mode="json")) + b"\n")
    return thresholds.content_hash


def read_thresholds(path: Path) -> Thresholds:
    """Return the thresholds of a file, or raise ContractError naming the field that is wrong."""
    try:
        return Thresholds.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise ContractError(f"there are no thresholds at {path}") from None
    except ValidationError as error:
        first: Any = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ContractError(f"{path} holds no thresholds: {place}: {first['msg']}") from error
