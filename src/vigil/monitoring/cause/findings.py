"""What a cause is found from: the watch's signals, the rows behind them, and what others know."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Signal:
    """Evidence of one detector."""

    kind: str
    """input, missingness, category, score, member, anomaly_rate, precision, site."""
    subject: str
    """Feature, field, member or site."""
    aspect: str
    """level, width, shape, missing, rare, high, low, stuck, unknown, silent, limit, usual, down."""
    strength: float
    """log10 of the evidence against no change, after the correction for all that is watched."""
    is_alarm: bool
    since: int
    """Event time in microseconds at which the change began."""
    size: float
    """Of the change: standard deviations for a level, the present rate for a rate."""
    usual: float = 0.0
    """The rate that was usual; 0 for a level."""
    site: str | None = None

    @property
    def key(self) -> str:
        """What tells this detector from all others."""
        return "|".join((self.kind, self.subject, self.aspect, self.site or ""))


class Fact(BaseModel):
    """What another part of Vigil has found about a feed, a site or a field, such as a silent feed or another schema."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = Field(description="silent, unit, schema, nulls, duplicates, late, other")
    subject: str = Field(description="the feed, site or field")
    statement: str = Field(description="a sentence with the numbers")
    site: str | None = None


@dataclass(frozen=True, eq=False)
class Findings:
    """The change as the watch sees it."""

    signals: Sequence[Signal]
    """Strongest first: those in alarm, and those with some evidence."""
    names: tuple[str, ...]
    """Of the columns, the features or numeric fields."""
    before: FloatArray
    """(m, columns): the reference."""
    after: FloatArray
    """(n, columns): rows since the change."""
    sites: Sequence[str]
    """Of the rows since the change."""
    score_before: FloatArray
    score_after: FloatArray
    latest: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))
    """(l, columns): all rows that are still known, those before the change among them, in order of time."""
    latest_sites: Sequence[str] = ()
    raw: Collection[str] = ()
    """Columns that are fields of the event as it came: a sender may change their unit."""
    site_levels: Mapping[str, FloatArray] = field(default_factory=dict)
    """(columns,): normal score of each column that is usual at a site."""
    usual_sites: Mapping[str, float] = field(default_factory=dict)
    """Share of decisions by site before."""
    fields: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Raw fields of the rows since the change."""
    known: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Categories by field."""
    path: Sequence[tuple[int, float]] = ()
    """Strongest evidence by event time in microseconds."""
    first_seen: int = 0
    at: int = 0
    rows: int = 0

    @property
    def alarms(self) -> tuple[Signal, ...]:
        """The signals that reached the bar."""
        return tuple(signal for signal in self.signals if signal.is_alarm)

    def column(self, name: str) -> tuple[FloatArray, FloatArray]:
        """Return a column before and after, present values only."""
        k = self.names.index(name)
        before, after = self.before[:, k], self.after[:, k]
        return before[np.isfinite(before)], after[np.isfinite(after)]
