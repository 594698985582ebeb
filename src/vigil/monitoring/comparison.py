"""One window against a reference by the detector of the settings: a look at rows, where the watch is a guard."""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from vigil.monitoring.calibration import calibrate
from vigil.monitoring.correction import Way, adjust_columns
from vigil.monitoring.detectors import DetectorSettings, make_detector
from vigil.monitoring.port import Columns, ColumnTest
from vigil.monitoring.reference import Reference, match_seasons


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
