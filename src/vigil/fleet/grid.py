"""A panel as a dense grid: series by steps, NaN where nothing was reported."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vigil.errors import ContractError
from vigil.fleet.calendar import Calendar, distinct
from vigil.fleet.panel import Panel, SiteFacts
from vigil.fleet.settings import FleetSettings

MOST_CELLS = 2_000_000_000


@dataclass(frozen=True, eq=False)
class Grid:
    """Values by series and step, with the slots of each calendar."""

    first_step: int
    """Steps since 1970 of the first column."""
    values: NDArray[np.float32]
    """(series, steps)"""
    calendars: tuple[Calendar, ...]
    calendar_of: NDArray[np.int32]
    slots: NDArray[np.int16]
    """(calendars, steps) slot of the week or of a holiday"""
    hours: NDArray[np.int16]
    """(calendars, steps) step of the day"""
    last: NDArray[np.int64]
    """(series,) number of the last step at which something came, what is masked included; -1 without any"""


def grid_of(panel: Panel, settings: FleetSettings) -> Grid:
    """Return the panel as a grid; of two readings in one step the later given counts."""
    readings = panel.readings
    if len(readings) == 0:
        raise ContractError("there are no readings to learn from")
    steps = readings.times // settings.step
    first, end = int(steps.min()), int(steps.max()) + 1
    if (end - first) * len(panel.series) > MOST_CELLS:
        raise ContractError(
            f"{len(panel.series)} series of {end - first:,} steps do not fit into memory: "
            "fit parts of the fleet, or give a longer step"
        )
    values = np.full((len(panel.series), end - first), np.nan, dtype=np.float32)
    values[readings.index, steps - first] = readings.values
    last = np.full(len(panel.series), -1, dtype=np.int64)
    np.maximum.at(last, readings.index, steps)
    _blank(panel, settings, values, first)
    facts = [panel.sites.get(series.site, SiteFacts()) for series in panel.series]
    calendars, numbers = distinct(Calendar.of(one) for one in facts)
    columns = np.arange(first, end, dtype=np.int64)
    clocks = [calendar.slots(columns, settings) for calendar in calendars]
    slots, hours = (np.stack([clock[part] for clock in clocks]) for part in (0, 1))
    return Grid(first, values, calendars, numbers, slots, hours, last)


def _blank(panel: Panel, settings: FleetSettings, values: NDArray[np.float32], first: int) -> None:
    """Blank known incidents, and what was before a site's `since`."""
    position = {series: row for row, series in enumerate(panel.series)}
    for mask in panel.masks:
        if mask.series in position:
            start, end = mask.start // settings.step - first, -(-mask.end // settings.step) - first
            values[position[mask.series], max(0, start) : max(0, end)] = np.nan
    for row, series in enumerate(panel.series):
        since = panel.sites[series.site].since if series.site in panel.sites else 0
        if since > first * settings.step:
            values[row, : -(-since // settings.step) - first] = np.nan


def given_closed(panel: Panel, settings: FleetSettings) -> NDArray[np.int8]:
    """Return of each slot whether it is closed (1), open (0) or not known (-1), (series, slots)."""
    given = np.full((len(panel.series), settings.slots), -1, dtype=np.int8)
    if settings.day_steps == 1:
        return given
    hour = np.arange(settings.day_steps) * 24 / settings.day_steps
    for row, series in enumerate(panel.series):
        hours = panel.sites[series.site].hours if series.site in panel.sites else None
        if hours is not None:
            days = [(hour < start) | (hour >= end) for start, end in _spans(hours)]
            given[row] = np.concatenate(days)
    return given


def _spans(hours: tuple[tuple[int, int] | None, ...]) -> list[tuple[int, int]]:
    return [(24, 24) if day is None else day for day in hours]
