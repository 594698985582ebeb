"""Evidence that the shape of a column has changed, by the detector of the configuration, window after window.

Level and width have detectors of their own, which know how far these may wander. So each window is brought to the
reference's level and width first: what is left is shape, such as a second hump. A window's chance p pays k * p^(k - 1)
for each of a few k in (0, 1), which no p without a change pays on average; payoffs are summed over the moments at which
the change may have begun, weighted by the time in years.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vigil.clock import DAY
from vigil.monitoring.calibration import calibrate
from vigil.monitoring.detectors import make_detector
from vigil.monitoring.detectors.settings import DetectorSettings
from vigil.monitoring.port import ALL_COLUMNS
from vigil.monitoring.port import Columns as PortColumns
from vigil.monitoring.reference import Reference
from vigil.monitoring.seasons import Season
from vigil.monitoring.watch.levels import YEAR_DAYS
from vigil.monitoring.watch.packing import pack, unpack
from vigil.monitoring.watch.signals import Readings

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_POWERS = np.array([0.1, 0.3, 0.6])
_LEAST_WIDTH = 0.05
_ALIKE = 0.1


class Shapes:
    """A detector of the port over the shapes of columns."""

    def __init__(self, names: tuple[str, ...], kinds: tuple[str, ...], rows: int, detector: DetectorSettings) -> None:
        self._names, self._kinds, self._rows = names, kinds, rows
        self._detector = make_detector(detector)
        joint = self._detector.joint
        self._labels = [("input", ALL_COLUMNS, "shape")] if joint else _labels(names, kinds)
        size = len(self._labels)
        self.logs, self.runs = np.full((size, len(_POWERS)), -np.inf), np.zeros(size)
        self.since = np.zeros(size, dtype=np.int64)
        self.size = np.zeros(size)
        self.held, self.time = np.zeros((0, len(names))), np.zeros(0, dtype=np.int64)
        self.judged_at = 0

    def fit(self, level: FloatArray, time: IntArray) -> None:
        """Take scores of the reference, in the order of their time."""
        rows = PortColumns(dict(zip(self._names, _standard(level).T, strict=True)), {}, time)
        reference = Reference.from_rows(rows, season=Season.NONE)
        self._fitted = calibrate(self._detector, reference, self._rows, seed=0)

    def update(self, level: FloatArray, time: IntArray) -> None:
        """Hold rows until they make a window, and judge it."""
        self.held, self.time = np.concatenate([self.held, level]), np.concatenate([self.time, time])
        while len(self.time) >= self._rows:
            self._judge(self.held[: self._rows], self.time[: self._rows])
            self.held, self.time = self.held[self._rows :], self.time[self._rows :]

    def _judge(self, level: FloatArray, time: IntArray) -> None:
        window = PortColumns(dict(zip(self._names, _standard(level).T, strict=True)), {}, np.sort(time))
        tests = {test.column: test for test in self._fitted.test(window)}
        p = np.array([tests[label[1]].p_value for label in self._labels])
        self.size = np.array([tests[label[1]].statistic for label in self._labels])
        gain = np.log(_POWERS) + (_POWERS - 1) * np.log(p)[:, None]
        newest = int(time.max())
        days = max(newest - (self.judged_at or int(time.min())), 0) / DAY
        self.logs = np.logaddexp(self.logs, np.log(max(days, 1e-6) / YEAR_DAYS)) + gain
        self.since = np.where(self.runs <= 0, int(time.min()), self.since)
        self.runs = np.maximum(self.runs, 0) + gain[:, 1]
        self.judged_at = max(self.judged_at, newest)

    def readings(self, alike: Mapping[str, float]) -> Readings:
        """Return the evidence of all columns; rows that resemble the last one at their site are no sample."""
        years: FloatArray = np.logaddexp.reduce(self.logs, axis=1) - np.log(len(_POWERS))
        clumped = np.array([alike.get(label[1], 0.0) > _ALIKE for label in self._labels], dtype=np.bool_)
        years = np.where(clumped, -np.inf, years)
        return Readings(self._labels, years, self.since, self.size, np.zeros(len(self.size)), self.size)

    def restart(self) -> None:
        """Forget what was told."""
        self.logs[:], self.runs[:] = -np.inf, 0.0

    def snapshot(self) -> dict[str, Any]:
        """Return the state as a JSON document."""
        return {name: pack(getattr(self, name)) for name in _ARRAYS} | {"judged_at": self.judged_at}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        for name in _ARRAYS:
            setattr(self, name, unpack(state[name]))
        self.judged_at = state["judged_at"]


_ARRAYS = ("logs", "runs", "since", "size", "held", "time")


def _labels(names: tuple[str, ...], kinds: tuple[str, ...]) -> list[tuple[str, str, str]]:
    return [(kind, name, "shape") for kind, name in zip(kinds, names, strict=True)]


def _standard(level: FloatArray) -> FloatArray:
    """Return the columns with mean 0 and deviation 1; NaN stays, and what hardly varies is left narrow."""
    count = np.maximum((~np.isnan(level)).sum(axis=0), 1)
    mean = np.nansum(level, axis=0) / count
    deviation = np.sqrt(np.nansum((level - mean) ** 2, axis=0) / count)
    standard: FloatArray = (level - mean) / np.maximum(deviation, _LEAST_WIDTH)
    return standard
