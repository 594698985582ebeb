"""What was usual: for each column its distribution, its day and week, and how much its days differ for no reason."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from vigil.clock import DAY
from vigil.errors import ContractError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

RARE = 0.9
"""Share of one value from which a column is watched by how often it has another one."""
LEAST_ROWS = 100

_WEEK_EPOCH = 4 * DAY
_PRIOR_DAYS = 10.0
_SLOW = 20.0
"""Times the expected variance of days from which a column is slow."""
_UNSURE = 2.5
"""Times the variance of a slow column's days that is reckoned with: a few days that are alike tell too little."""
_LARGEST = 4.0


@dataclass(frozen=True, eq=False)
class Baseline:
    """The reference of C columns.

    A value is told by its normal score: the quantile of the standard normal distribution at its rank in the
    reference, less what the hour and the weekday explain. No outlier is too heavy for that, and no unit matters.
    """

    names: tuple[str, ...]
    rows: int
    days: float
    """From the first row to the last."""
    ends: int
    """Time of the last row, in microseconds."""
    sorted: tuple[FloatArray, ...]
    """Present values by column, rising."""
    season: FloatArray
    """(terms, C): coefficients of `_terms`."""
    cycles: int
    """What the reference covers: 2 day and week, 1 the day, 0 neither."""
    spread: FloatArray
    """(C,): standard deviation of the normal scores after the season."""
    variance: FloatArray
    """(2C,): variance of one row's level and width, bursts of an entity included."""
    day_variance: FloatArray
    """(2C,): variance of what whole days have in common."""
    is_slow: NDArray[np.bool_]
    """(2C,): whether days differ so much that only a whole day is one observation."""
    start_variance: FloatArray
    """(2C,): variance of the reference's own error."""
    width: FloatArray
    """(2, C): mean and standard deviation of the absolute scores."""
    slope: FloatArray
    """(2C,): change in a day within the reference, in standard deviations."""
    missing: FloatArray
    """(C,): share of missing values."""
    mode: FloatArray
    """(C,): the most frequent value."""
    mode_share: FloatArray
    """(C,)."""
    other_share: FloatArray
    """(C,): share of other values in the part of the day in which they are most frequent."""

    @property
    def is_rare(self) -> NDArray[np.bool_]:
        """Whether a column has one value nearly always, (C,)."""
        return self.mode_share > RARE

    def score(self, values: FloatArray, time: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return level and width of each value, (n, C) each, NaN where it is missing; usual are mean 0, deviation 1."""
        raw = np.column_stack([_normal(self.sorted[k], values[:, k]) for k in range(len(self.names))])
        level = (raw - _terms(time, self.cycles) @ self.season) / self.spread
        level = np.clip(level, -_LARGEST, _LARGEST)
        return level, (np.abs(level) - self.width[0]) / self.width[1]


def fit_baseline(columns: Mapping[str, FloatArray], time: IntArray, day_effect: FloatArray | float) -> Baseline:
    """Return the baseline of columns, or raise ContractError if there are too few rows to know what is usual.

    `day_effect`, (C,) or one for all, is what is expected of days that differ for no reason.
    """
    if len(time) < LEAST_ROWS:
        raise ContractError(f"a reference of {len(time)} rows says nothing: give it {LEAST_ROWS} at least")
    names, order = tuple(columns), np.argsort(time, kind="stable")
    values = np.column_stack([np.asarray(columns[name], np.float64)[order] for name in names])
    values[~np.isfinite(values)] = np.nan
    moments = time[order]
    present = tuple(np.sort(column[~np.isnan(column)]) for column in values.T)
    raw = np.column_stack([_normal(one, column) for one, column in zip(present, values.T, strict=True)])
    cycles = _cycles(int(moments[-1] - moments[0]))
    season = _fit_season(raw, _terms(moments, cycles))
    rest = raw - _terms(moments, cycles) @ season
    spread = np.maximum(np.nan_to_num(_quiet(np.nanstd, rest)), 0.5)
    level = np.clip(rest / spread, -_LARGEST, _LARGEST)
    size, width = _width(level)
    both = np.concatenate([level, (size - width[0]) / width[1]], axis=1)
    expected = np.tile(np.broadcast_to(np.asarray(day_effect, np.float64), len(names)), 2)
    noise = _noise(both, moments, expected)
    modes = [_mode(one, len(moments)) for one in present]
    return Baseline(
        names=names,
        rows=len(moments),
        days=(int(moments[-1]) - int(moments[0])) / DAY,
        ends=int(moments[-1]),
        sorted=present,
        season=season,
        cycles=cycles,
        spread=spread,
        variance=noise[0],
        day_variance=noise[1],
        is_slow=noise[1] > _SLOW * expected**2,
        start_variance=noise[2],
        width=width,
        slope=noise[3],
        missing=np.isnan(values).mean(axis=0),
        mode=np.array([mode for mode, _ in modes]),
        mode_share=np.array([share for _, share in modes]),
        other_share=_most_of_day(values, np.array([mode for mode, _ in modes]), moments),
    )


def _width(level: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return absolute scores, and their mean and standard deviation by column."""
    size = np.abs(level)
    mean, deviation = np.nan_to_num(_quiet(np.nanmean, size)), np.nan_to_num(_quiet(np.nanstd, size))
    return size, np.stack([mean, np.maximum(deviation, 0.25)])


def _normal(ranked: FloatArray, values: FloatArray) -> FloatArray:
    """Return the normal score of the middle rank of each value; NaN stays."""
    if not len(ranked):
        return np.full(len(values), np.nan)
    low = np.searchsorted(ranked, values, "left")
    high = np.searchsorted(ranked, values, "right")
    scores: FloatArray = ndtri(((low + high) / 2 + 0.5) / (len(ranked) + 1))
    return np.where(np.isnan(values), np.nan, scores)


def _cycles(span: int) -> int:
    """Return which cycles a reference of that many microseconds covers, up to the hours in which all is closed."""
    return int(span >= 0.75 * DAY) + int(span >= 6 * DAY)


def _terms(time: IntArray, cycles: int) -> FloatArray:
    day = (time % DAY) * (2 * np.pi / DAY)
    terms = [np.ones(len(time))]
    if cycles >= 1:
        terms += [np.cos(day), np.sin(day), np.cos(2 * day), np.sin(2 * day)]
    if cycles >= 2:
        weekday = ((time + _WEEK_EPOCH - DAY) // DAY) % 7
        terms.append((weekday >= 5).astype(np.float64))
    return np.column_stack(terms)


def _fit_season(raw: FloatArray, terms: FloatArray) -> FloatArray:
    """Return coefficients by least squares with a ridge that leaves a small reference its mean."""
    season = np.zeros((terms.shape[1], raw.shape[1]))
    for k, column in enumerate(raw.T):
        seen = ~np.isnan(column)
        if seen.sum() >= 2 * terms.shape[1]:
            some = terms[seen]
            ridge = np.diag([1e-9, *np.full(terms.shape[1] - 1, 5.0)])
            season[:, k] = np.linalg.solve(some.T @ some + ridge, some.T @ column[seen])
    return season


def _quiet(function: object, values: FloatArray) -> FloatArray:
    """Return a NaN-aware statistic over rows; a column without any value gives NaN without a warning."""
    with np.errstate(all="ignore"):
        empty = np.isnan(values).all(axis=0)
        result: FloatArray = function(np.where(empty, 0.0, values), axis=0)  # type: ignore[operator]
    return np.where(empty, np.nan, result)


def _noise(
    scores: FloatArray, time: IntArray, day_effect: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return variance of a row, of days, of the reference's error, and the slope a day, (columns,) each."""
    filled = np.nan_to_num(scores)
    seen = ~np.isnan(scores)
    days = (time - time[0]) // DAY
    alone = _present_variance(filled, seen)
    counts, means = _block_means(filled, seen, days)
    burst = _burst(filled, seen, alone)
    row = np.maximum(alone * burst, 1e-4)
    usable = counts >= 20
    many = np.maximum(usable.sum(axis=0), 1)
    centre = (means * usable).sum(axis=0) / many
    excess = ((means - centre) ** 2 - row / np.maximum(counts, 1)) * usable
    found = excess.sum(axis=0) / np.maximum(many - 1, 1)
    prior = day_effect**2
    day = np.maximum((_PRIOR_DAYS * prior + many * np.maximum(found, 0.0)) / (_PRIOR_DAYS + many), prior)
    day = np.maximum(day, alone * _clumps(scores, days))
    day = np.where(day > _SLOW * prior, _UNSURE * day, day)
    larger = np.maximum(day, np.roll(day, len(day) // 2))
    day = np.where(larger > _SLOW * prior, larger, day)
    total = np.maximum(counts.sum(axis=0), 1)
    start = row / total + 2 * day / many + 0.01**2
    return row, day, start, _slope(means, usable, day + row / np.maximum(total / many, 1))


def _present_variance(filled: FloatArray, seen: NDArray[np.bool_]) -> FloatArray:
    count = np.maximum(seen.sum(axis=0), 1)
    mean = filled.sum(axis=0) / count
    variance: FloatArray = (((filled - mean) ** 2) * seen).sum(axis=0) / count
    return variance


def _block_means(filled: FloatArray, seen: NDArray[np.bool_], block: IntArray) -> tuple[FloatArray, FloatArray]:
    size = int(block.max()) + 1
    counts, sums = np.zeros((size, filled.shape[1])), np.zeros((size, filled.shape[1]))
    np.add.at(counts, block, seen)
    np.add.at(sums, block, filled)
    return counts, sums / np.maximum(counts, 1)


def _clumps(scores: FloatArray, days: IntArray) -> FloatArray:
    """Return how much more two rows of a day have the same value than two rows of different days, (columns,)."""
    clumps = np.zeros(scores.shape[1])
    for k, column in enumerate(scores.T):
        value = np.unique(column, return_inverse=True)[1]
        total, count = len(column), np.bincount(days)
        each = np.unique(value * (int(days.max()) + 1) + days, return_counts=True)[1]
        same = ((each**2).sum() - total) / max((count**2).sum() - total, 1)
        whole = np.bincount(value)
        other = ((whole**2).sum() - (each**2).sum()) / max(total**2 - (count**2).sum(), 1)
        clumps[k] = max(same - other, 0.0)
    return clumps


def _burst(filled: FloatArray, seen: NDArray[np.bool_], alone: FloatArray) -> FloatArray:
    """Return by how much neighbours that resemble each other inflate the variance of a mean, (columns,), at least 1."""
    block = np.arange(len(filled), dtype=np.int64) // 10
    counts, means = _block_means(filled, seen, block)
    full = counts >= 8
    differences = np.diff(means, axis=0) ** 2 / 2
    both = full[1:] & full[:-1]
    variance = (differences * both).sum(axis=0) / np.maximum(both.sum(axis=0), 1)
    ratio = variance * 10 / np.maximum(alone, 1e-6)
    return np.where(both.sum(axis=0) >= 10, np.clip(ratio, 1.0, 10.0), 1.0)


def _slope(means: FloatArray, usable: NDArray[np.bool_], variance: FloatArray) -> FloatArray:
    """Return the change in a day that is no accident, (columns,): zero within three errors."""
    day = np.arange(len(means), dtype=np.float64)[:, None]
    count = np.maximum(usable.sum(axis=0), 1)
    centred = (day - (day * usable).sum(axis=0) / count) * usable
    squares = np.maximum((centred**2).sum(axis=0), 1e-12)
    slope = (centred * means).sum(axis=0) / squares
    sure = (np.abs(slope) > 3 * np.sqrt(variance / squares)) & (count >= 4)
    return np.where(sure, slope, 0.0)


def _most_of_day(values: FloatArray, mode: FloatArray, time: IntArray) -> FloatArray:
    """Return the largest share of values other than the mode in any two hours of the day, (columns,)."""
    part = (time % DAY) // (DAY // 12)
    other = (values != mode) & ~np.isnan(values)
    counts, shares = _block_means(other.astype(np.float64), ~np.isnan(values), part)
    sure = (shares * counts + 1) / (counts + 2)
    whole = (other.sum(axis=0) + 1) / ((~np.isnan(values)).sum(axis=0) + 2)
    largest: FloatArray = np.where(counts >= 20, sure, 0.0).max(axis=0)
    return np.maximum(largest, whole)


def _mode(ranked: FloatArray, rows: int) -> tuple[float, float]:
    if not len(ranked):
        return float("nan"), 1.0
    values, counts = np.unique(ranked, return_counts=True)
    most = int(np.argmax(counts))
    return float(values[most]), float(counts[most] / max(len(ranked), 1))
