"""The detectors of numeric columns that have a baseline: level and width of each, missing and unusual values."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vigil.clock import DAY
from vigil.monitoring.watch.baseline import Baseline
from vigil.monitoring.watch.levels import YEAR_DAYS, Levels, Noise
from vigil.monitoring.watch.packing import pack, unpack
from vigil.monitoring.watch.rates import Range, Rates, usual_range
from vigil.monitoring.watch.settings import WatchSettings
from vigil.monitoring.watch.shapes import Shapes
from vigil.monitoring.watch.signals import Readings

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_LUCK = 3.0
"""A column may reach this many times what it should in the time that the guard replays."""
_GUARD_WINDOWS = 800
_ATOM = 0.05
"""Share of one value from which a column has no shape that could be compared at another level."""


class Columns:
    """The detectors of the C columns of a baseline."""

    def __init__(self, baseline: Baseline, kinds: tuple[str, ...], settings: WatchSettings) -> None:
        self.baseline, self.kinds, self._settings = baseline, kinds, settings
        self.noise = _noise(baseline, settings)
        self.levels = Levels(self.noise)
        self.rates = Rates(_ranges(baseline, settings))
        self.shapes: Shapes | None = None
        self.guard = np.zeros(2 * len(kinds))
        """What each level detector has to reach beyond the bar, since the reference itself reaches it."""
        self.held, self.day = np.zeros((2, 2 * len(kinds))), 0
        """Sum and count of slow columns since the day began."""
        self.alike = np.ones(2 * len(kinds))
        """Rows that tell as much as one, since rows of a site resemble each other."""
        self.recent = np.zeros(2 * len(kinds))
        """Mean score of about the last 250 rows."""

    def calibrate(self, values: FloatArray, time: IntArray) -> None:
        """Raise the bar of columns whose detectors run high on days of the reference, drawn again and again."""
        order = np.argsort(time, kind="stable")
        level, width = self.baseline.score(values[order], time[order])
        self._fit_shapes(level, time[order])
        both, slow = np.concatenate([level, width], axis=1), self.baseline.is_slow
        self.guard = replay(both, time[order], slow, self.noise, self._settings)

    def update(self, values: FloatArray, time: IntArray, days: float) -> FloatArray:
        """Judge a window of rows, (n, C), `days` after the last one; return the level of each value.

        A row without any value but in its last column, the score, has no vector: that is not missingness.
        """
        level, width = self.baseline.score(values, time)
        both = np.concatenate([level, width], axis=1)
        count = (~np.isnan(both)).sum(axis=0).astype(np.float64)
        total = np.nansum(both, axis=0)
        mean = total / np.maximum(count, 1)
        share = 0.9 ** (len(time) / 25)
        self.recent = np.where(count > 0, self.recent * share + mean * (1 - share), self.recent)
        mean, count = self._whole_days(total, count, int(time[0]) // DAY)
        self.levels.update(mean, np.where(self._level_watched, count / self.alike, 0.0), days, int(time[0]))
        self._update_rates(values, days, int(time[0]))
        if self.shapes is not None and not np.isnan(level).all(axis=0)[self._shaped].any():
            self.shapes.update(level[:, self._shaped], time)
        return level

    def thin(self, alike: Mapping[str, float]) -> None:
        """Know by how much a row resembles the one before it at its site, by column."""
        found = np.clip([alike.get(name, 0.0) for name in self.baseline.names], 0.0, 0.8)
        self.alike = np.tile((1 + found) / (1 - found), 2)

    def begin(self, gap_days: float) -> None:
        """Know how long after the reference the first window comes: what wanders or has a trend went on meanwhile."""
        trend = self.baseline.slope * (gap_days + self.baseline.days / 2)
        self.levels.cover[0] += self.noise.wander * gap_days + trend**2

    def _fit_shapes(self, level: FloatArray, time: IntArray) -> None:
        settings = self._settings
        is_continuous = self.baseline.mode_share < _ATOM
        shaped = np.flatnonzero(self._level_watched[len(self.kinds) :] & is_continuous)
        if settings.detector is None or not len(shaped) or len(time) < 4 * settings.detector_rows:
            return
        self._shaped = shaped
        names, kinds = (tuple(one[k] for k in shaped) for one in (self.baseline.names, self.kinds))
        self.shapes = Shapes(names, kinds, settings.detector_rows, settings.detector)
        self.shapes.fit(level[:, shaped], time)

    @property
    def _level_watched(self) -> NDArray[np.bool_]:
        """Which levels and widths are watched, (2C,): of a slow column the level only."""
        watched = ~self.baseline.is_rare
        slow = self.baseline.is_slow.reshape(2, -1).any(axis=0)
        return np.concatenate([watched, watched & ~slow])

    def _whole_days(self, total: FloatArray, count: FloatArray, day: int) -> tuple[FloatArray, FloatArray]:
        """Return mean and count of what is to be judged now: a slow column waits for the end of the day."""
        slow = self.baseline.is_slow
        over = slow & (day != self.day)
        due = np.where(slow, np.where(over, self.held, 0.0), np.stack([total, count]))
        self.held = np.where(over, 0.0, self.held) + np.where(slow, np.stack([total, count]), 0.0)
        self.day = day
        return due[0] / np.maximum(due[1], 1), due[1]

    def _update_rates(self, values: FloatArray, days: float, began: int) -> None:
        vectors = ~np.isnan(values[:, :-1]).all(axis=1) if values.shape[1] > 1 else np.ones(len(values), np.bool_)
        missing = np.isnan(values) & vectors[:, None]
        other = (values != self.baseline.mode) & ~np.isnan(values)
        unusual = self.baseline.is_rare & (self.baseline.mode_share > 0)
        yes = np.concatenate([missing.sum(axis=0), np.where(unusual, other.sum(axis=0), 0)])
        rows = np.concatenate(
            [np.full(len(self.kinds), vectors.sum()), np.where(unusual, (~np.isnan(values)).sum(axis=0), 0)]
        )
        self.rates.update(yes.astype(np.float64), rows.astype(np.float64), days, began)

    def readings(self) -> Readings:
        """Return the evidence of all detectors; a slow move beyond the tolerance counts as certain."""
        names = self.baseline.names
        labels = [(kind, name, "level") for kind, name in zip(self.kinds, names, strict=True)]
        labels += [(kind, name, "width") for kind, name in zip(self.kinds, names, strict=True)]
        labels += [("missingness", name, "missing") for name in names]
        labels += [(kind, name, "rare") for kind, name in zip(self.kinds, names, strict=True)]
        shift, moved = self.levels.shift(), self._slowly()
        usual = np.concatenate([self.baseline.missing, 1 - self.baseline.mode_share])
        return Readings(
            labels=labels,
            log_years=np.concatenate(
                [np.where(moved, 12.0, self.levels.log_years() - self.guard), self.rates.log_years()]
            ),
            since=np.concatenate([self.levels.since(), self.rates.since()]),
            size=np.concatenate([np.where(moved, self.levels.slow, shift), self.rates.share()]),
            usual=np.concatenate([np.zeros(len(shift)), usual]),
            now=np.concatenate([self.recent, self.rates.share()]),
        )

    def _slowly(self) -> NDArray[np.bool_]:
        """Return which levels wandered beyond what a season of the year may do; columns with a trend may."""
        tolerated = self._settings.wander_at_most + 3 * np.sqrt(self.noise.day)
        far = self.levels.wandered() > tolerated
        far[len(self.kinds) :] = False
        far[self.baseline.slope != 0] = False
        return far

    def restart(self) -> None:
        """Forget what was told."""
        self.levels.restart()
        self.rates.restart()
        if self.shapes is not None:
            self.shapes.restart()

    def snapshot(self) -> dict[str, Any]:
        """Return the state as a JSON document; the baseline is the owner's."""
        shapes = None if self.shapes is None else self.shapes.snapshot()
        held = {"shapes": shapes, "held": pack(self.held), "day": self.day}
        return held | {"recent": pack(self.recent), "levels": self.levels.snapshot(), "rates": self.rates.snapshot()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        self.recent, self.held, self.day = unpack(state["recent"]), unpack(state["held"]), state["day"]
        self.levels.restore(state["levels"])
        self.rates = Rates.restored(state["rates"])
        if self.shapes is not None and state["shapes"] is not None:
            self.shapes.restore(state["shapes"])


def _noise(baseline: Baseline, settings: WatchSettings) -> Noise:
    wander: FloatArray = np.square(np.maximum(settings.wander_per_day, 2 * np.abs(baseline.slope)))
    wander = np.maximum(wander, baseline.day_variance / 50 * baseline.is_slow)
    memory = np.full(len(wander), settings.day_memory)
    return Noise(baseline.variance, baseline.day_variance, baseline.start_variance, memory, wander)


def _ranges(baseline: Baseline, settings: WatchSettings) -> Range:
    missing = usual_range(baseline.missing, baseline.rows, 0.01)
    other = usual_range(baseline.other_share, baseline.rows / 12, 0.01)
    nothing = np.zeros(len(baseline.names))
    return Range(
        low=np.concatenate([np.where(baseline.missing > 0.2, missing.low, 0.0), nothing]),
        high=np.concatenate([missing.high, np.minimum(other.high * 1.5, 1.0)]),
        power=np.concatenate([missing.power, other.power]),
    )


def replay(
    scores: FloatArray, time: IntArray, slow: NDArray[np.bool_], noise: Noise, settings: WatchSettings
) -> FloatArray:
    """Return by how much each detector exceeds its due on days drawn from its own reference, as a logarithm."""
    day = (time - time[0]) // DAY
    parts = [np.flatnonzero(day == one) for one in np.unique(day)]
    parts = [part for part in parts if len(part) >= settings.window_rows] or [np.arange(len(time))]
    random = np.random.default_rng(len(time))
    levels = Levels(noise)
    highest, years, windows = np.full(scores.shape[1], -np.inf), 0.0, 0
    while windows < _GUARD_WINDOWS:
        rows = scores[parts[int(random.integers(len(parts)))]]
        pieces = max(len(rows) // settings.window_rows, 1)
        for k, piece in enumerate(np.array_split(rows, pieces)):
            mean, count = _mean(piece)
            if k == pieces - 1:
                mean, count = np.where(slow, _mean(rows), (mean, count))
            count = np.where(slow & (k < pieces - 1), 0.0, count)
            highest = np.maximum(highest, levels.update(mean, count, 1 / pieces, 0))
            years += 1 / pieces / YEAR_DAYS
            windows += 1
    excess: FloatArray = highest - np.log(_LUCK * years)
    return np.maximum(excess, 0.0)


def _mean(rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    count = (~np.isnan(rows)).sum(axis=0).astype(np.float64)
    mean: FloatArray = np.nansum(rows, axis=0) / np.maximum(count, 1)
    return mean, count
