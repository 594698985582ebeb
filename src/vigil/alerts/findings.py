"""Findings of sites: one for each reading that was flagged, and each step at which one was missing."""

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import AwareDatetime, Field, FiniteFloat

from vigil.alerts.signals import AlertType, Document, Signal, Text
from vigil.decisions.policy import Severity
from vigil.errors import ContractError

if TYPE_CHECKING:
    from vigil.fleet.score import Findings

FINDING_EVENT = "vigil.site.finding"
"""Type of the CloudEvent whose data is one Finding."""

FINDINGS_EVENT = "vigil.site.findings"
"""Type of the CloudEvent whose data is a FindingBatch."""

_LONGEST_BATCH = 10_000
_ROWS = 10_000
_LARGEST = 1e9
_COLUMNS = (
    *("site_id", "metric", "event_time", "value", "z", "expected", "low", "high", "ratio"),
    *("flagged", "history", "sign", "kind", "basis", "version"),
)


class FindingKind(StrEnum):
    """How a reading is wrong."""

    SPIKE = "spike"
    DIP = "dip"
    CONTEXTUAL = "contextual"
    """Normal at another hour or day, but not then."""
    COLLECTIVE = "collective"
    """No reading is far off, but a run of them is."""
    LEVEL_SHIFT = "level_shift"
    STUCK = "stuck"
    SILENCE = "silence"
    UNIT = "unit"


_FROM_FLEET = {  # a point is a spike or a dip, by its sign
    "contextual": FindingKind.CONTEXTUAL,
    "collective": FindingKind.COLLECTIVE,
    "shift": FindingKind.LEVEL_SHIFT,
    "stuck": FindingKind.STUCK,
    "silence": FindingKind.SILENCE,
    "unit": FindingKind.UNIT,
}

_TYPES = {
    FindingKind.DIP: AlertType.SITE_DIP,
    FindingKind.SPIKE: AlertType.SITE_SPIKE,
    FindingKind.STUCK: AlertType.SITE_STUCK,
    FindingKind.SILENCE: AlertType.SITE_SILENCE,
    FindingKind.UNIT: AlertType.SITE_UNIT,
}

_SEVERITY_FROM = ((5.0, Severity.CRITICAL), (2.5, Severity.HIGH), (1.5, Severity.MEDIUM))
"""Least multiple of the threshold of each severity; below all of them it is low."""


class Finding(Document):
    """A reading that is not as expected."""

    site: Text = Field(min_length=1)
    metric: Text = Field(min_length=1)
    time: AwareDatetime
    kind: FindingKind
    value: FiniteFloat | None = Field(default=None, description="None where nothing came")
    expected: FiniteFloat | None = None
    low: FiniteFloat | None = None
    high: FiniteFloat | None = None
    distance: FiniteFloat | None = Field(
        default=None, description="from what was expected, in robust standard deviations; negative is too low"
    )
    ratio: FiniteFloat = Field(default=1.0, ge=0, description="of the statistic to its threshold")
    severity: Severity | None = Field(default=None, description="from the ratio, where it is not said")
    feed: Text = ""
    model: Text = ""
    version: Text = ""
    reasons: tuple[Text, ...] = ()

    @property
    def type(self) -> AlertType:
        """The alert type: what is neither silent, stuck nor off by a factor is a dip or a spike."""
        if known := _TYPES.get(self.kind):
            return known
        return AlertType.SITE_DIP if (self.distance or 0.0) < 0 else AlertType.SITE_SPIKE

    def signal(self) -> Signal:
        """Return what it asks attention for."""
        return Signal(
            type=self.type,
            at=self.time,
            severity=self.severity or severity_of(self.ratio),
            summary=self.sentence(),
            site=self.site,
            metric=self.metric,
            feed=self.feed,
            kind=self.kind,
            value=self.value,
            expected=self.expected,
            low=self.low,
            high=self.high,
            distance=self.distance,
            model=self.model,
            version=self.version,
            reasons=self.reasons,
        )

    def sentence(self) -> str:
        """Return what was seen, with the numbers."""
        where = f"{self.metric} of site {self.site}"
        if self.kind is FindingKind.SILENCE:
            return f"{where} is silent: a reading was due at {_moment(self.time)}"
        seen = f"{where} was {_number(self.value)} at {_moment(self.time)}"
        expected = "" if self.expected is None else f", expected {_number(self.expected)}"
        band = "" if self.low is None or self.high is None else f" ({_number(self.low)} to {_number(self.high)})"
        far = "" if self.distance is None else f", {self.distance:+.1f} standard deviations"
        return f"{seen}{expected}{band}{far}: {self.kind.replace('_', ' ')}"


class FindingBatch(Document):
    """Findings of many sites that were scored together."""

    findings: tuple[Finding, ...] = Field(max_length=_LONGEST_BATCH)
    scored_until: AwareDatetime | None = Field(
        default=None, description="all readings before it are scored: what has no finding by then was quiet"
    )


def findings_of(found: "Findings", *, model: str = "", feed: str = "") -> Iterator[Finding]:
    """Yield the flagged rows of a fleet's findings; times stay exact to the microsecond."""
    yield from findings_in(found.to_table(), model=model, feed=feed)


def findings_in(table: pa.Table, *, model: str = "", feed: str = "") -> Iterator[Finding]:
    """Yield the flagged rows of a table of a fleet's findings, as `vigil sites score` writes it."""
    missing = [name for name in _COLUMNS if name not in table.column_names]
    if missing:
        raise ContractError(f"these are no findings of sites: there is no column {missing[0]}")
    flagged = table.select(_COLUMNS).filter(table["flagged"])
    for batch in flagged.to_batches(max_chunksize=_ROWS):
        for row in batch.to_pylist():
            yield _finding(row, model, feed)


def _finding(row: Mapping[str, Any], model: str, feed: str) -> Finding:
    sign = row["sign"]
    kind = _FROM_FLEET.get(row["kind"]) or (FindingKind.DIP if sign < 0 else FindingKind.SPIKE)
    return Finding(
        site=row["site_id"],
        metric=row["metric"],
        time=row["event_time"],
        kind=kind,
        value=_finite(row["value"]),
        expected=_finite(row["expected"]),
        low=_finite(row["low"]),
        high=_finite(row["high"]),
        distance=_signed(_finite(row["z"]), sign),
        ratio=min(row["ratio"], _LARGEST),
        feed=feed,
        model=model,
        version=row["version"],
        reasons=(f"judged by {row['history']} readings of its history, as {row['basis']}",),
    )


def severity_of(ratio: float) -> Severity:
    """Return how urgent a statistic is that is so many times its threshold."""
    return next((severity for least, severity in _SEVERITY_FROM if ratio >= least), Severity.LOW)


def _signed(distance: float | None, sign: int) -> float | None:
    """Return the distance with the sign of what alarmed: a run may be too low whose last reading is not."""
    return distance if distance is None or sign == 0 else abs(distance) * sign


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _number(value: float | None) -> str:
    return "missing" if value is None else f"{value:,.6g}"


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
