"""What the groups of detectors say, in one form: how sure, since when, how much."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vigil.monitoring.cause.findings import Signal

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Readings:
    """The state of n detectors that share a part of the false alarms."""

    labels: Sequence[tuple[str, str, str]]
    """Kind, subject and aspect."""
    log_years: FloatArray
    since: NDArray[np.int64]
    size: FloatArray
    usual: FloatArray
    now: FloatArray
    """What `size` is in the last few hundred rows: it is back at `usual` when the change is over."""
    site: str | None = None

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Bar:
    """What a detector has to reach."""

    false_alarms_per_year: float
    share: float
    """Of the false alarms that this group may raise."""
    detectors: int
    """That share it."""
    window_years: float
    """Time that a window stands for: between a sum over moments of change and the evidence for one of them."""

    @property
    def log_penalty(self) -> float:
        """Return what is taken off for looking at many detectors."""
        return float(np.log(max(self.detectors, 1) / self.share))

    @property
    def log_threshold(self) -> float:
        """Return the logarithm of the years to reach."""
        return float(-np.log(self.false_alarms_per_year))


def judge(readings: Readings, bar: Bar) -> list[Signal]:
    """Return a signal for each detector that has any evidence, strongest first."""
    corrected = readings.log_years - bar.log_penalty
    strength = (corrected - np.log(max(bar.window_years, 1e-9))) / np.log(10)
    found = [
        Signal(
            kind=readings.labels[k][0],
            subject=readings.labels[k][1],
            aspect=readings.labels[k][2],
            strength=round(float(strength[k]), 3),
            is_alarm=bool(corrected[k] >= bar.log_threshold),
            since=int(readings.since[k]),
            size=float(readings.size[k]),
            usual=float(readings.usual[k]),
            site=readings.site,
        )
        for k in np.flatnonzero(strength > 0)
    ]
    return sorted(found, key=lambda signal: (-signal.strength, signal.kind, signal.subject, signal.aspect))


def standing(readings: Readings) -> dict[str, tuple[float, float]]:
    """Return usual and present size by the key of a signal."""
    place = readings.site or ""
    return {
        "|".join((*label, place)): (float(readings.usual[k]), float(readings.now[k]))
        for k, label in enumerate(readings.labels)
    }
