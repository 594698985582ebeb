"""One window against a reference by the detector of the settings: a look at rows, where the watch is a guard."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vigil.errors import ContractError
from vigil.evaluation.gates.evidence import describe
from vigil.monitoring.calibration import calibrate
from vigil.monitoring.correction import Way, adjust_columns
from vigil.monitoring.detectors import DetectorSettings, make_detector
from vigil.monitoring.port import Columns, ColumnTest
from vigil.monitoring.reference import Reference, match_seasons
from vigil.monitoring.seasons import Season
from vigil.monitoring.tables import columns_of, read_table

_WORDS = {"values": "the values have changed", "missing": "the share of missing values has changed"}


class ComparisonSettings(BaseModel):
    """How a window is compared with a reference."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    detector: DetectorSettings = DetectorSettings()
    calibrate: bool = Field(default=True, description="by a block bootstrap; without it rows count as independent")
    correction: Way = "holm"
    level: float = Field(default=0.05, gt=0.0, lt=1.0, description="chance of any drift told without a change")
    seed: int = Field(default=0, ge=0, description="of the bootstrap")


DEFAULT = ComparisonSettings()


@dataclass(frozen=True)
class Finding:
    """A column that has drifted."""

    column: str
    kind: Literal["values", "missing"]
    statistic: float
    p_value: float
    """Adjusted for all columns."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """What the comparison of two files has found."""

    findings: tuple[Finding, ...]
    compared: tuple[str, ...]
    left_out: Mapping[str, str]
    """Reason by column."""
    rows: tuple[int, int]
    """Of the reference and of the window."""
    season: Season

    def facts(self) -> dict[str, Any]:
        """Return everything as JSON."""
        findings = [asdict(finding) for finding in self.findings]
        sizes = {"reference_rows": self.rows[0], "window_rows": self.rows[1], "season": self.season}
        return {"findings": findings, "compared": list(self.compared), "left_out": dict(self.left_out), **sizes}

    def sentences(self) -> list[str]:
        """Return everything in words: what drifts first."""
        said = [f"{one.column}: {_WORDS[one.kind]} (p {one.p_value:.2g} over all columns)" for one in self.findings]
        if not said:
            said = ["Nothing has drifted."]
        matched = "" if self.season == Season.NONE else f", matched by {self.season.replace('_', ' and ')}"
        columns = f"{len(self.compared)} column{'s' if len(self.compared) > 1 else ''}"
        said.append(f"{columns} of {self.rows[1]:,} rows compared with {self.rows[0]:,}{matched}.")
        return said + [f"{name} left out: {reason}" for name, reason in self.left_out.items()]


def parse_comparison(given: Mapping[str, Any]) -> ComparisonSettings:
    """Return the settings, or raise ContractError naming the field that is wrong."""
    try:
        return ComparisonSettings.model_validate(dict(given))
    except ValidationError as error:
        raise ContractError(describe(error)) from error


@dataclass(frozen=True)
class Wanted:
    """What of two files is compared."""

    time: str = "event_time"
    """Column of the time."""
    only: tuple[str, ...] = ()
    """Columns; all that can be compared if empty."""


def compare_files(
    reference: Path, window: Path, settings: ComparisonSettings = DEFAULT, wanted: Wanted = Wanted()
) -> Comparison:
    """Return how the rows of one file differ from those of another; ContractError where they cannot be compared."""
    past, now = (columns_of(read_table(path), wanted.time) for path in (reference, window))
    known = [*past.columns.numbers, *past.columns.categories]
    if missing := [name for name in wanted.only if name not in known]:
        raise ContractError(f"{reference} has no column {missing[0]} to compare; it has: {', '.join(known)}")
    names = [name for name in known if not wanted.only or name in wanted.only]
    usual = Reference.from_rows(past.columns.only(names))
    more = [name for name in (*now.columns.numbers, *now.columns.categories) if name not in known]
    left_out = {name: f"not in {reference}" for name in more} | past.left_out
    found = compare(usual, now.columns.only(names), settings)
    return Comparison(found, tuple(names), left_out, (len(usual), len(now.columns)), usual.season)


def compare(reference: Reference, window: Columns, settings: ComparisonSettings = DEFAULT) -> tuple[Finding, ...]:
    """Return the columns that have drifted, the surest first: of a window without a change none, but at the level."""
    detector = make_detector(settings.detector)
    fitted = (
        calibrate(detector, reference, len(window), settings.seed)
        if settings.calibrate
        else match_seasons(detector, reference)
    )
    found = [
        finding
        for test in adjust_columns(fitted.test(window), settings.correction)
        for finding in _findings(test)
        if finding.p_value <= settings.level
    ]
    return tuple(sorted(found, key=lambda finding: (finding.p_value, finding.column)))


def _findings(test: ColumnTest) -> tuple[Finding, Finding]:
    return (
        Finding(test.column, "values", test.statistic, test.p_value),
        Finding(test.column, "missing", 0.0, test.missing_p_value),
    )
