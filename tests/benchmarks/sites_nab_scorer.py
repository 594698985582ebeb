"""The scoring of the Numenta Anomaly Benchmark (NAB): the earlier inside a labelled window, the better.

Written from the white paper (Lavin and Ahmad 2015, arXiv 1510.03336) and checked against the scores that NAB publishes
with the output of its detectors. A series' first rows are its probation and count for nothing. In each window the
alarm nearest to the window's start counts, from 1 there to 0 at the end; a window without an alarm costs `miss`; every
alarm outside costs `false_alarm`, less just behind a window. One threshold serves all series. It is the one of the
highest total, found exactly: every score that occurs is tried.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PROBATION_SHARE = 0.15
PROBATION_ROWS = 5000
"""A longer series has the probation of this length."""
FAR_BEHIND = 3.0
"""Window lengths behind a window after which a false alarm costs all."""
NO_WINDOW = -1
NO_ALARM = 1.1
"""A threshold above every score."""


@dataclass(frozen=True)
class Profile:
    """What a hit gains, and a missed window and a false alarm cost."""

    hit: float = 1.0
    miss: float = 1.0
    false_alarm: float = 0.11


STANDARD = Profile()
LOW_FALSE_ALARMS = Profile(false_alarm=0.22)
LOW_MISSES = Profile(miss=2.0)


@dataclass(frozen=True, eq=False)
class Labelled:
    """A series' labelled windows on its rows: for each window the first and the last row."""

    rows: int
    windows: Sequence[tuple[int, int]]

    @property
    def probation(self) -> int:
        """Return the number of rows at the start that do not count."""
        return int(np.ceil(min(np.floor(PROBATION_SHARE * self.rows), PROBATION_SHARE * PROBATION_ROWS)))


@dataclass(frozen=True)
class Outcome:
    """A threshold and what the alarms at or above it earn."""

    threshold: float
    total: float


def position_value(position: Floats) -> Floats:
    """Return the worth of an alarm by its place: -1 is the start of a window, 0 its end, beyond that is behind it."""
    value = 2.0 / (1.0 + np.exp(5.0 * np.minimum(position, FAR_BEHIND))) - 1.0
    return np.where(position > FAR_BEHIND, -1.0, value)


def row_worths(series: Labelled, profile: Profile) -> tuple[Floats, Ints]:
    """Return what an alarm in each row is worth, and the window that the row lies in."""
    worths = np.full(series.rows, -profile.false_alarm)
    owners = np.full(series.rows, NO_WINDOW, dtype=np.int64)
    best = float(position_value(np.array(-1.0)))
    for number, (first, last) in enumerate(series.windows):
        length = last - first + 1
        inside = np.arange(first, last + 1)
        owners[inside] = number
        worths[inside] = profile.hit * position_value(-(last - inside + 1) / length) / best
        behind = np.arange(last + 1, series.rows)
        worths[behind] = profile.false_alarm * position_value((behind - last) / max(length - 1, 1))
    return worths, owners


def every_threshold(corpus: Mapping[str, Labelled], scores: Mapping[str, Floats], profile: Profile) -> list[Floats]:
    """Return the thresholds worth trying, highest first, and the total of each."""
    worths, owners, found, windows = [], [], [], 0
    for name, series in corpus.items():
        worth, owner = row_worths(series, profile)
        counted = slice(series.probation, None)
        worths.append(worth[counted])
        owners.append(np.where(owner[counted] == NO_WINDOW, NO_WINDOW, owner[counted] + windows))
        found.append(np.asarray(scores[name], dtype=np.float64)[counted])
        windows += len(series.windows)
    return _sweep(np.concatenate(found), np.concatenate(worths), np.concatenate(owners), profile.miss)


def best_outcome(corpus: Mapping[str, Labelled], scores: Mapping[str, Floats], profile: Profile = STANDARD) -> Outcome:
    """Return the threshold of the highest total, and that total."""
    thresholds, totals = every_threshold(corpus, scores, profile)
    best = int(np.argmax(totals))
    return Outcome(float(thresholds[best]), float(totals[best]))


def outcome_at(
    corpus: Mapping[str, Labelled], scores: Mapping[str, Floats], threshold: float, profile: Profile = STANDARD
) -> Outcome:
    """Return the total of a threshold that was chosen elsewhere."""
    thresholds, totals = every_threshold(corpus, scores, profile)
    return Outcome(threshold, float(totals[np.flatnonzero(thresholds >= threshold)[-1]]))


def normalised(corpus: Mapping[str, Labelled], total: float, profile: Profile = STANDARD) -> float:
    """Return the total on the scale of no alarm at all (0) and one at the start of every window and no other (100)."""
    windows = sum(len(series.windows) for series in corpus.values())
    nothing, perfect = -profile.miss * windows, profile.hit * windows
    return 100.0 * (total - nothing) / (perfect - nothing)


def _sweep(scores: Floats, worths: Floats, owners: Ints, miss: float) -> list[Floats]:
    order = np.argsort(-scores, kind="stable")
    gains = np.where(owners == NO_WINDOW, worths, 0.0)[order]
    _, numbers = np.unique(owners[owners != NO_WINDOW], return_inverse=True)
    missed = -miss * (int(numbers.max()) + 1 if len(numbers) else 0)
    inside = np.flatnonzero(owners[order] != NO_WINDOW)
    by_window = inside[np.argsort(owners[order][inside], kind="stable")]
    gains[by_window] = _window_gains(worths[order][by_window], owners[order][by_window], miss)
    totals = np.concatenate([[missed], missed + np.cumsum(gains)])
    ranked = scores[order]
    ends = np.concatenate([[True], np.append(ranked[1:] != ranked[:-1], True)])
    return [np.concatenate([[NO_ALARM], ranked])[ends], totals[ends]]


def _window_gains(worths: Floats, owners: Ints, miss: float) -> Floats:
    gains = np.zeros(len(worths))
    edges = [0, *(np.flatnonzero(np.diff(owners)) + 1), len(worths)]
    for first, end in pairwise(edges):
        reached = np.maximum.accumulate(np.append(-miss, worths[first:end]))
        gains[first:end] = np.diff(reached)
    return gains
