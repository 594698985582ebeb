"""How the watch is set: what it counts as a window, how often it may be wrong, and what it tolerates."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from vigil.monitoring.detectors.settings import DetectorSettings


class WatchSettings(BaseModel):
    """Settings of the watch over one revision; the defaults suit hundreds to thousands of decisions a day."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window_rows: int = Field(default=25, ge=5, description="decisions that close a window")
    window_hours: float = Field(default=6.0, gt=0, description="event time that closes a window of fewer decisions")
    minimum_rows: int = Field(default=10, ge=1, description="a window of fewer decisions waits for more")
    lateness_seconds: float = Field(default=60.0, ge=0, description="how long a window waits for late events")
    warm_rows: int = Field(default=100, ge=1, description="judged decisions before which the watch is warming")
    learning_rows: int = Field(default=1000, ge=200, description="decisions that teach what the reference lacks")
    false_alarms_per_year: float = Field(default=0.5, gt=0, description="over everything that is watched together")
    features: tuple[str, ...] | None = Field(
        default=None,
        description="features that may raise an alarm; null for all, and in the detector service for those that no "
        "more than a day of events makes: what months make differs from the reference though nothing changed",
    )
    raw: tuple[str, ...] = Field(
        default=("amount",),
        description="features that are fields of the event as it came, whose unit a site may change",
    )
    ignore: tuple[str, ...] = Field(
        default=("hour", "weekday", "month", "quarter", "is_weekend", "is_night"),
        description="features that change with the calendar alone",
    )
    day_effect: float = Field(
        default=0.03, ge=0, description="what is expected of days that differ for no reason, in standard deviations"
    )
    output_day_effect: float | None = Field(
        default=None,
        ge=0,
        description="the same for the score and members' levels; null for `day_effect`, and in the detector service "
        "for 0.1 where a model looks at features that are not watched: what ages in them moves its scores",
    )
    day_memory: float = Field(default=2.0, gt=0, description="days after which the effect of a day is mostly forgotten")
    wander_per_day: float = Field(
        default=0.005,
        ge=0,
        description="how far a mean may wander in a day, in standard deviations; the year does this",
    )
    wander_at_most: float = Field(
        default=0.35, gt=0, description="standard deviations from the reference beyond which a slow move is told"
    )
    anomaly_rate_limit: float = Field(
        default=0.2, gt=0, lt=1, description="flagged share that is told whatever came before"
    )
    flagged_share: float | None = Field(
        default=None, gt=0, lt=1, description="share that the thresholds should flag; learned from traffic if not given"
    )
    precision: float | None = Field(
        default=None, gt=0, lt=1, description="of flagged decisions at release; learned from verdicts if not given"
    )
    precision_loss: float = Field(default=0.05, ge=0, lt=1, description="loss of precision that is tolerated")
    learning_verdicts: int = Field(
        default=50, ge=10, description="verdicts that teach the precision, if it is not given"
    )
    site_rows: int = Field(default=50, ge=10, description="decisions of a site that teach what is usual there")
    sites_at_most: int = Field(
        default=200, ge=0, description="sites that are watched one by one: those that came first"
    )
    detector: DetectorSettings | None = Field(
        default=DetectorSettings(), description="of the port, over the shape of columns; null for none"
    )
    detector_rows: int = Field(default=250, ge=50, description="decisions in a window of that detector")
    memory_rows: int = Field(default=600, ge=50, description="latest decisions that are kept for the cause")
    memory_flagged: int = Field(default=20_000, ge=100, description="flagged decisions that wait for their verdicts")
    recovery_rows: int = Field(default=1000, ge=50, description="decisions like the reference's that end an alarm")

    def day_effects(self, kinds: Sequence[str]) -> NDArray[np.float64]:
        """Return what is expected of days that differ for no reason, by kind of column."""
        output = self.day_effect if self.output_day_effect is None else self.output_day_effect
        return np.array([output if kind in ("score", "member") else self.day_effect for kind in kinds])
