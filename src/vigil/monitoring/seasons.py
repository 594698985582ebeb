"""Seasons: a window is compared with reference rows of the same hours and weekdays, in the window's proportions."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_HOUR = 3_600_000_000
_DAY = 24 * _HOUR
_THURSDAY = 3
"""1970-01-01, counted from Monday 0."""

_LEAST_HOUR_DATES = 2
"""Dates on which an hour must have been seen; a weekday's hour may have been seen once, in one week."""

_LEAST_ROWS = 5
"""Rows that each part of a season must have on average."""

_LEAST_MATCH = 3
"""Reference rows of a season below which a coarser season is taken for the window's rows in it."""

_COVERED = 0.9


class Season(StrEnum):
    """What repeats."""

    NONE = "none"
    HOUR = "hour"
    WEEKDAY = "weekday"
    WEEKDAY_HOUR = "weekday_hour"


_COARSER = {
    Season.WEEKDAY_HOUR: (Season.WEEKDAY_HOUR, Season.HOUR, Season.NONE),
    Season.HOUR: (Season.HOUR, Season.NONE),
    Season.WEEKDAY: (Season.WEEKDAY, Season.NONE),
    Season.NONE: (Season.NONE,),
}


def season_cells(time: Ints, season: Season) -> Ints:
    """Return the number of the season of each time, in UTC."""
    hour = time % _DAY // _HOUR
    weekday = (time // _DAY + _THURSDAY) % 7
    match season:
        case Season.HOUR:
            return hour
        case Season.WEEKDAY:
            return weekday
        case Season.WEEKDAY_HOUR:
            return weekday * 24 + hour
        case Season.NONE:
            return np.zeros(len(time), dtype=np.int64)


def covered_season(time: Ints) -> Season:
    """Return the finest season of which the times show all parts: a week for weekdays, two days for hours."""
    fine_to_coarse = (Season.WEEKDAY_HOUR, Season.HOUR, Season.WEEKDAY)
    return next((season for season in fine_to_coarse if _covers(time, season)), Season.NONE)


def _covers(time: Ints, season: Season) -> bool:
    weekly = season in (Season.WEEKDAY, Season.WEEKDAY_HOUR)
    if weekly and len(np.unique(time // _DAY)) < 7:
        return False
    cells = season_cells(time, season)
    seen = np.unique(np.stack([cells, time // _DAY]), axis=1)
    dates = np.bincount(seen[0]) if seen.size else np.zeros(1, dtype=np.int64)
    occupied = np.count_nonzero(dates)
    repeated = dates[cells] >= (1 if weekly else _LEAST_HOUR_DATES)
    return bool(occupied and len(time) >= _LEAST_ROWS * occupied and repeated.mean() >= _COVERED)


@dataclass(frozen=True, eq=False)
class SeasonMatch:
    """The seasons of a reference's rows."""

    levels: tuple[tuple[Season, Ints], ...]
    """Season and the cell of each row, finest first."""

    @classmethod
    def of(cls, time: Ints, season: Season) -> Self:
        """Return the seasons of rows at these times."""
        return cls(tuple((level, season_cells(time, level)) for level in _COARSER[season]))

    def repeated(self, time: Ints, dates: int) -> Ints:
        """Return the cells of the finest season whose parts the rows at `time` show on so many dates on average."""
        for _, cells in self.levels[:-1]:
            seen = np.unique(np.stack([cells, time // _DAY]), axis=1)
            if seen.shape[1] >= dates * len(np.unique(cells)):
                return cells
        return self.levels[-1][1]

    def weights(self, window: Ints, allowed: NDArray[np.bool_] | None = None) -> Floats:
        """Return weights of the reference rows (mean 1) that give it the seasons of a window at these times.

        Rows that are not allowed weigh 0. Where a season has hardly any row, a coarser one stands in.
        """
        count = len(self.levels[0][1])
        usable = np.ones(count) if allowed is None else allowed.astype(np.float64)
        weights, left = np.zeros(count), window
        for level, cells in self.levels:
            wanted = season_cells(left, level)
            size = int(max(cells.max(initial=0), wanted.max(initial=0))) + 1
            there = np.bincount(cells, weights=usable, minlength=size)
            enough = there >= (_LEAST_MATCH if level is not Season.NONE else 1)
            target = np.bincount(wanted, minlength=size)
            share = np.divide(target, there, out=np.zeros(size), where=enough)
            weights += usable * share[cells]
            left = left[~enough[wanted]]
            if not len(left):
                break
        return weights / weights.mean() if weights.any() else weights
