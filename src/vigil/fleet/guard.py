"""What a retraining must not learn: a sensor that is stuck, or one that reports in another unit."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from vigil.clock import DAY
from vigil.fleet.grid import Grid
from vigil.fleet.kernels import replay
from vigil.fleet.model import Tables
from vigil.fleet.settings import FleetSettings

STEADY = 0.2
"""Levels that scatter more than that, in decades, do not tell a unit from a change."""
NEAR = 0.15
CHUNK = 64


def blank_faults(
    grid: Grid, settings: FleetSettings, decompose: Callable[[NDArray[np.int64]], None], tables: Tables
) -> NDArray[np.int64]:
    """Blank what is a fault rather than a change; returns how many steps of each series.

    A shift of the level, of the opening hours or of the profile is left in: the fit takes it over.
    """
    blanked = np.zeros(len(grid.values), dtype=np.int64)
    least = max(2, int(settings.fault_days * DAY / settings.step))
    for first in range(0, len(grid.values), CHUNK):
        rows = np.arange(first, min(first + CHUNK, len(grid.values)))
        decompose(rows)
        values = grid.values[rows]
        limit = settings.floors.stuck
        blanked[rows] = replay.mask_many(
            values, grid.calendar_of[rows], grid.slots, tables.same_cost[rows], limit, least
        )
        for place, row in enumerate(rows):
            blanked[row] += _blank_units(values[place], settings)
        grid.values[rows] = values
    return blanked


def _blank_units(values: NDArray[np.float32], settings: FleetSettings) -> int:
    """Blank the days whose size is a power of ten of the usual one; returns how many steps."""
    day = settings.day_steps
    whole = len(values) // day * day
    if whole < 8 * day:
        return 0
    days = np.where(values[:whole] > 0, values[:whole], np.nan).reshape(-1, day)
    enough = np.isfinite(days).sum(axis=1) >= max(1, day // 6)
    if enough.sum() < 8:
        return 0
    ordered = np.sort(days, axis=1)
    count = np.isfinite(days).sum(axis=1)
    middle = ordered[np.arange(len(days)), np.maximum(count // 2, 1) - 1]
    middle = np.log10(middle, where=enough, out=np.zeros(len(days)))
    usual = np.median(middle[enough])
    if 1.4826 * np.median(np.abs(middle[enough] - usual)) > STEADY:
        return 0
    decades = np.where(enough, middle - usual, 0.0)
    wrong = (np.abs(decades) > 0.8) & (np.abs(decades - np.rint(decades)) < NEAR)
    mask = np.repeat(wrong, day)
    values[:whole][mask] = np.nan
    return int(mask.sum())
