"""A unit that changed: the typical size of a feed's values leaves its own history and stays away.

Values are judged in blocks of consecutive samples from different hours. A block counts as jumped if its median is far
from the median of the blocks before it, by ratio, in units of their own spread and of the spread within a block, while
its values are spread as they were and come as often. A change of unit moves all values alike; an outlier, an idle
machine or one that is put to work does not.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from vigil.clock import MINUTE
from vigil.ingest.feeds import hourly
from vigil.ingest.mapping import ScaleCheck

Floats = npt.NDArray[np.float64]

_DAY_MINUTES = 24 * 60
_HISTORY = 30
_LEAST_SPREAD = 0.05
_ALIKE = 4.0
_SPREAD_SLACK = 0.1
_CLEAR = 1.5
_LEAST_BUSY = 0.2
_MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True)
class Jump:
    """A stretch of a feed on another scale; levels are decimal logarithms of the typical absolute value."""

    feed: int
    start: int
    """Microseconds: from here, exclusively, values near `level` belong to it."""
    end: int
    """Microseconds: to here, exclusively."""
    usual: float
    level: float

    @property
    def ratio(self) -> float:
        """How many times larger the values are than before; below 1 if they are smaller."""
        return float(10 ** (self.level - self.usual))

    def covers(self, sizes: Floats) -> npt.NDArray[np.bool_]:
        """Return which values, as decimal logarithms, are nearer to the new scale than to the usual one."""
        nearer: npt.NDArray[np.bool_] = np.abs(sizes - self.level) < np.abs(sizes - self.usual)
        return nearer


@dataclass(frozen=True)
class _Series:
    """The sized samples of one feed, at most one an hour, and its blocks: where they start, the median and the distance
    of the quartiles of their values, and how many minutes they took.
    """

    feed: int
    minutes: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.float32]
    starts: npt.NDArray[np.int64]
    medians: Floats
    spreads: Floats
    durations: Floats


@dataclass(frozen=True)
class _Verdict:
    """Blocks `first` to `last` jumped from `usual` to `level`."""

    first: int
    last: int
    usual: float
    level: float


def without_jumps(samples: npt.NDArray[np.void], jumps: list[Jump]) -> npt.NDArray[np.void]:
    """Return the samples that are on the usual scale of their feed."""
    times, jumped = samples["minute"] * MINUTE, np.zeros(len(samples), np.bool_)
    for jump in jumps:
        inside = (samples["feed"] == jump.feed) & (times > jump.start) & (times < jump.end)
        jumped |= inside & jump.covers(samples["size"].astype(np.float64))
    return samples[~jumped]


def find_jumps(samples: npt.NDArray[np.void], check: ScaleCheck) -> list[Jump]:
    """Return the jumps of every feed among `samples`, which are ordered by feed and minute."""
    thin = _with_size(hourly(samples))
    lengths = _block_lengths(thin, check.block)
    jumps = []
    for block in np.unique(lengths).tolist():
        for series in _moving_series(thin[lengths == block], block, check):
            jumps += [_jump(series, verdict, block) for verdict in _judge(series, check)]
    return jumps


def _block_lengths(thin: npt.NDArray[np.void], least: int) -> npt.NDArray[np.int64]:
    """Return for each sample the length of its feed's blocks: a usual day's samples, so that day and night are even."""
    feeds, feed_of = np.unique(thin["feed"], return_inverse=True)
    days = thin["minute"] // _DAY_MINUTES
    pairs, counts = np.unique(feed_of * (int(days.max(initial=0)) + 1) + days, return_counts=True)
    owner = pairs // (int(days.max(initial=0)) + 1)
    usual = np.bincount(owner, weights=counts, minlength=len(feeds)) / np.maximum(np.bincount(owner), 1)
    lengths: npt.NDArray[np.int64] = np.maximum(np.rint(usual).astype(np.int64), least)
    return lengths[feed_of]


def _with_size(samples: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """Return the samples that are not zero, of feeds that are not zero most of the time."""
    sized = ~np.isnan(samples["size"])
    _, feed_of, counts = np.unique(samples["feed"], return_inverse=True, return_counts=True)
    busy = np.bincount(feed_of, weights=sized) >= _LEAST_BUSY * counts
    return np.asarray(samples[sized & busy[feed_of]])


def _moving_series(thin: npt.NDArray[np.void], block: int, check: ScaleCheck) -> Iterator[_Series]:
    """Yield the feeds whose blocks differ enough for a jump; of the rest, nothing more needs to be known."""
    feeds, begins, counts = np.unique(thin["feed"], return_index=True, return_counts=True)
    long = counts > block * check.history
    feeds, begins, counts = feeds[long], begins[long], counts[long]
    if not len(feeds):
        return
    blocks = -(-counts // block)
    firsts = np.cumsum(blocks) - blocks
    within = np.arange(blocks.sum()) - np.repeat(firsts, blocks)
    starts = np.minimum(within * block, np.repeat(counts - block, blocks))
    places = np.repeat(begins, blocks) + starts
    values = np.sort(thin["size"][places[:, None] + np.arange(block)].astype(np.float64), axis=1)
    medians = (values[:, (block - 1) // 2] + values[:, block // 2]) / 2
    spreads = values[:, 3 * block // 4] - values[:, (block - 1) // 4]
    durations = (thin["minute"][places + block - 1] - thin["minute"][places]).astype(np.float64)
    reach = np.maximum.reduceat(medians, firsts) - np.minimum.reduceat(medians, firsts)
    for index in np.flatnonzero(reach >= np.log10(check.factor)).tolist():
        own = slice(firsts[index], firsts[index] + blocks[index])
        part = thin[begins[index] : begins[index] + counts[index]]
        values_of = (starts[own], medians[own], spreads[own], durations[own])
        yield _Series(int(feeds[index]), part["minute"], part["size"], *values_of)


def _judge(series: _Series, check: ScaleCheck) -> list[_Verdict]:
    """Return the stretches of jumped blocks; one lasts until a block is nearer to the usual scale again."""
    clean: list[int] = []
    found: list[_Verdict] = []
    is_open = False
    for index, median in enumerate(series.medians.tolist()):
        if is_open and abs(median - found[-1].level) < abs(median - found[-1].usual):
            found[-1] = replace(found[-1], last=index)
            continue
        history = clean[-_HISTORY:]
        is_open = len(history) >= check.history and _has_jumped(series, index, history, check)
        if is_open:
            found.append(_Verdict(index, index, float(np.median(series.medians[history])), median))
        else:
            clean.append(index)
    return found


def _has_jumped(series: _Series, index: int, history: list[int], check: ScaleCheck) -> bool:
    medians = series.medians
    usual = np.median(medians[history])
    sigma = max(_MAD_TO_SIGMA * float(np.median(np.abs(medians[history] - usual))), _LEAST_SPREAD)
    spread, usual_spread = float(series.spreads[index]), float(np.median(series.spreads[history]))
    least = max(float(np.log10(check.factor)), check.spreads * sigma, _CLEAR * spread, _CLEAR * usual_spread)
    return bool(
        abs(medians[index] - usual) >= least
        and _is_alike(spread + _SPREAD_SLACK, usual_spread + _SPREAD_SLACK)
        and _is_alike(float(series.durations[index]), float(np.median(series.durations[history])))
    )


def _is_alike(one: float, other: float) -> bool:
    return max(one, other) <= _ALIKE * min(one, other)


def _jump(series: _Series, verdict: _Verdict, block: int) -> Jump:
    """Return the stretch, its ends moved to where the samples change sides within the neighbouring blocks."""
    middle = (verdict.usual + verdict.level) / 2
    moved = (series.sizes > middle) == (verdict.level > verdict.usual)
    starts = series.starts.tolist()
    before, after = starts[max(verdict.first - 1, 0)], min(starts[verdict.last] + 2 * block, len(moved))
    first = before + _best_cut(~moved[before : starts[verdict.first] + block])
    last = starts[verdict.last] + _best_cut(moved[starts[verdict.last] : after])
    start = series.minutes[first - 1] * MINUTE if first else np.iinfo(np.int64).min
    end = series.minutes[last] * MINUTE if last < len(moved) else np.iinfo(np.int64).max
    return Jump(series.feed, int(start), int(end), verdict.usual, float(np.median(series.sizes[first:last])))


def _best_cut(left: npt.NDArray[np.bool_]) -> int:
    """Return where to cut so that most of what is before is `left` and most of what is after is not."""
    gain = np.concatenate([[0], np.cumsum(np.where(left, 1, -1))])
    return int(np.argmax(gain))
