"""Time splits that an evaluation can trust: train, wait until the labels are known, keep a gap, test."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field

from vigil.clock import DAY, from_micros, to_micros
from vigil.errors import ContractError
from vigil.evaluation.rows import AnyArray, BoolArray, IntArray


class Window(BaseModel):
    """A half-open stretch of event time, in microseconds since 1970: `start` belongs to it, `end` does not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: int
    end: int

    def model_post_init(self, _: object) -> None:
        """Refuse an empty window."""
        if self.end <= self.start:
            raise ContractError(f"window {self} ends before it starts")

    def __str__(self) -> str:
        return f"{from_micros(self.start):%Y-%m-%d %H:%M} to {from_micros(self.end):%Y-%m-%d %H:%M}"

    @property
    def days(self) -> float:
        """Its length in days."""
        return (self.end - self.start) / DAY

    def holds(self, event_time: IntArray) -> BoolArray:
        """Return which times lie in the window."""
        return (event_time >= self.start) & (event_time < self.end)

    def overlaps(self, other: "Window") -> bool:
        """Return whether the two share a moment."""
        return self.start < other.end and other.start < self.end


class SplitPlan(BaseModel):
    """How long each part of a fold is, in days. The model is fitted `delay_days` after its training window ends."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train_days: int = Field(default=28, ge=1, description="training window, its calibration part included")
    calibration_days: int = Field(default=0, ge=0, description="last days of it kept for calibration and thresholds")
    delay_days: int = Field(default=7, ge=0, description="time until a label is known")
    gap_days: int = Field(default=0, ge=0, description="time between the fit and the first test row")
    test_days: int = Field(default=7, ge=1, description="test window")
    step_days: int = Field(default=7, ge=1, description="from one fold to the next")

    def model_post_init(self, _: object) -> None:
        """Refuse a plan that leaves nothing to train on."""
        if self.calibration_days >= self.train_days:
            raise ContractError(
                f"calibration_days {self.calibration_days} leaves nothing of train_days {self.train_days}"
            )

    def fold(self, start: int, name: str = "fold") -> "Fold":
        """Return the fold whose training window starts at `start` (microseconds since 1970)."""
        trained = start + self.train_days * DAY
        fitted = trained + self.delay_days * DAY
        tested = fitted + self.gap_days * DAY
        calibration = (
            Window(start=trained - self.calibration_days * DAY, end=trained) if self.calibration_days else None
        )
        return Fold(
            name=name,
            train=Window(start=start, end=calibration.start if calibration else trained),
            calibration=calibration,
            fitted_at=fitted,
            test=Window(start=tested, end=tested + self.test_days * DAY),
        )


@dataclass(frozen=True)
class Fold:
    """One train and test split in time; nothing learned after `fitted_at` may reach the model."""

    name: str
    train: Window
    fitted_at: int
    test: Window
    calibration: Window | None = None


@dataclass(frozen=True)
class Split:
    """Row indices of a fold in event-time order, and how many rows were left out because their label came too late."""

    train: IntArray
    calibration: IntArray
    test: IntArray
    purged: int


def rolling_folds(plan: SplitPlan, first_start: int, count: int) -> tuple[Fold, ...]:
    """Return `count` folds, each `step_days` after the one before."""
    return tuple(plan.fold(first_start + i * plan.step_days * DAY, f"fold {i + 1}") for i in range(count))


def latest_fold(plan: SplitPlan, end: int) -> Fold:
    """Return the fold whose test window ends at `end` (microseconds since 1970)."""
    length = plan.train_days + plan.delay_days + plan.gap_days + plan.test_days
    return plan.fold(end - length * DAY, "latest")


def split(fold: Fold, event_time: ArrayLike, label_time: ArrayLike | None = None) -> Split:
    """Return the rows of each part. Rows to learn from whose `label_time` is after `fitted_at` are purged.

    `label_time` is when the label of a row was known (microseconds since 1970); without it every label is taken to be
    known after the fold's delay.
    """
    times = np.asarray(event_time, np.int64)
    known = np.ones(len(times), np.bool_)
    if label_time is not None:
        known = np.asarray(label_time, np.int64) <= fold.fitted_at
        if len(known) != len(times):
            raise ContractError(f"label_time has {len(known)} rows, event_time {len(times)}")
    in_train = fold.train.holds(times)
    in_calibration = fold.calibration.holds(times) if fold.calibration else np.zeros(len(times), np.bool_)
    return Split(
        train=_in_time_order(in_train & known, times),
        calibration=_in_time_order(in_calibration & known, times),
        test=_in_time_order(fold.test.holds(times), times),
        purged=int(((in_train | in_calibration) & ~known).sum()),
    )


def _in_time_order(mask: BoolArray, times: IntArray) -> IntArray:
    rows = np.flatnonzero(mask)
    return rows[np.argsort(times[rows], kind="stable")]


HANDBOOK_PLAN = SplitPlan(train_days=7, delay_days=7, test_days=7)
"""The published protocol of the Fraud Detection Handbook: 7 days of training, 7 of label delay, 7 of test."""

HANDBOOK_START = to_micros(datetime(2018, 7, 25, tzinfo=UTC))
HANDBOOK_FOLDS = rolling_folds(HANDBOOK_PLAN, HANDBOOK_START, 4)


def unknown_entities(
    fold: Fold, event_time: ArrayLike, entities: AnyArray, labels: ArrayLike, known_since: int | None = None
) -> BoolArray:
    """Return which rows lie in the fold's test window and belong to an entity not yet known as defrauded on that day.

    An entity is known on a test day by its positive rows from `known_since` (the start of training, unless given) to
    the start of that day less the label delay: somebody whose fraud is confirmed is blocked, not scored.
    """
    times = np.asarray(event_time, np.int64)
    positive = np.asarray(labels).astype(np.bool_)
    since = fold.train.start if known_since is None else known_since
    delay = fold.fitted_at - (fold.calibration or fold.train).end
    kept = np.zeros(len(times), np.bool_)
    for start in range(fold.test.start, fold.test.end, DAY):
        today = (times >= start) & (times < min(start + DAY, fold.test.end))
        known = np.unique(entities[positive & (times >= since) & (times < start - delay)])
        kept |= today & ~np.isin(entities, known)
    return kept


def with_history(fold: Fold, start: int) -> Fold:
    """Return the fold with a training window that begins earlier, at `start`; its test stays as it was."""
    return replace(fold, train=Window(start=start, end=fold.train.end))


def handbook_split(fold: Fold, event_time: ArrayLike, customers: AnyArray, labels: ArrayLike) -> Split:
    """Return the split of the published protocol: the fold's, without the customers known as defrauded in its test.

    A fold `with_history` has the very same test rows: the protocol looks for known customers from 14 days before the
    test on, whatever the model was trained on.
    """
    plain = split(fold, event_time)
    times = np.asarray(event_time, np.int64)
    known_since = fold.fitted_at - (HANDBOOK_PLAN.train_days + HANDBOOK_PLAN.delay_days) * DAY
    kept = unknown_entities(fold, times, customers, labels, known_since)
    return Split(plain.train, plain.calibration, _in_time_order(kept, times), plain.purged)
