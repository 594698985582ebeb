"""Local time: when the sites of a group are open, and what share of a normal day's sales each hour brings."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from vigil.clock import DAY, HOUR, MINUTE, to_micros
from vigil.errors import ContractError
from vigil.simulate.config import Demand, Group, SimulationConfig

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

STEP = HOUR // 2
"""Grain of the table of offsets: no zone has changed its offset within half an hour of UTC since 1972."""


@dataclass(frozen=True)
class LocalTime:
    """Offsets of every group's time zone, by half-hours from `origin` until the last verdict is known."""

    origin: int
    """Microseconds."""
    minutes: npt.NDArray[np.int16]
    """(groups, half-hours)"""

    def offset(self, group: Ints, time: Ints) -> npt.NDArray[np.int16]:
        """Return local time minus UTC in minutes, for each moment at a site of `group`."""
        minutes: npt.NDArray[np.int16] = self.minutes[group, (time - self.origin) // STEP]
        return minutes


def local_time(config: SimulationConfig) -> LocalTime:
    """Return the offsets from two days before the simulation until two days after its last verdict."""
    first = datetime.combine(config.start, datetime.min.time(), UTC) - timedelta(days=2)
    steps = int((config.days + config.verdict_delay_days + 5) * DAY / STEP)
    moments = [first + timedelta(minutes=30 * step) for step in range(steps)]
    zones = {group.time_zone for group in config.chain.groups}
    by_zone = {zone: _offsets(ZoneInfo(zone), moments) for zone in zones}
    minutes = np.array([by_zone[group.time_zone] for group in config.chain.groups], dtype=np.int16)
    return LocalTime(to_micros(first), minutes)


def _offsets(zone: ZoneInfo, moments: list[datetime]) -> list[int]:
    offsets = (moment.astimezone(zone).utcoffset() for moment in moments)
    return [0 if offset is None else offset // timedelta(minutes=1) for offset in offsets]


@dataclass(frozen=True)
class Calendar:
    """The hours of one group from the first local midnight to the last; arrays are per hour or per local day."""

    start: Ints
    """(hours,) microseconds at which each hour begins"""
    day: Ints
    """(hours,) local day, counted from the first"""
    hour: Ints
    """(hours,) local hour of the day"""
    is_open: npt.NDArray[np.bool_]
    """(hours,)"""
    rate: Floats
    """(hours,) expected sales of a site that sells one a day on average over a week, without season and holidays"""
    opens: Ints
    """(days,) microseconds; meaningless where the day is closed"""
    closes: Ints
    """(days,) microseconds; meaningless where the day is closed"""
    open_day: npt.NDArray[np.bool_]
    """(days,)"""
    midnight: Ints
    """(days,) microseconds of the first moment of the local day"""

    @cached_property
    def next_open(self) -> Ints:
        """(days,) the day itself where it is open, else the next that is; the number of days where there is none."""
        days = len(self.open_day)
        candidates = np.where(self.open_day, np.arange(days), days)
        following: Ints = np.minimum.accumulate(candidates[::-1])[::-1]
        return following

    @cached_property
    def slope(self) -> Floats:
        """(hours,) how the rate changes within each hour: `1 + slope * (2 x - 1)` of its mean, for x from 0 to 1."""
        opened = np.pad(self.is_open, 1)
        rate = np.pad(self.rate, 1)
        before = np.where(opened[:-2], rate[:-2], self.rate)
        after = np.where(opened[2:], rate[2:], self.rate)
        change = np.divide(after - before, 4 * self.rate, out=np.zeros_like(self.rate), where=self.rate > 0)
        return change.clip(-0.95, 0.95)

    def slot(self, time: Ints) -> Ints:
        """Return the index of the hour that each moment is in."""
        slot: Ints = (time - self.start[0]) // HOUR
        return slot


def group_calendar(config: SimulationConfig, group: Group, minutes: npt.NDArray[np.int16], origin: int) -> Calendar:
    """Return the calendar of `group`, whose row of `LocalTime.minutes` is given.

    Raises ContractError where the clocks change by less than an hour: hours would no longer begin at minute 0.
    """
    if (np.diff(minutes) % 60).any():
        raise ContractError(f"group {group.name!r}: {group.time_zone} changes its clocks by half an hour: take another")
    zone = ZoneInfo(group.time_zone)
    first, end = (_midnight(config.start + timedelta(days=days), zone) for days in (0, config.days))
    start = np.arange(first, end, HOUR, dtype=np.int64)
    local = start + minutes[(start - origin) // STEP].astype(np.int64) * MINUTE
    day = local // DAY - local[0] // DAY
    hour = local % DAY // HOUR
    is_open = _open_hours(config, group)[day, hour]
    first_of_day = np.searchsorted(day, np.arange(config.days))
    opens, closes = _bounds(start, day, is_open, config.days)
    rate = _shape(group, hour, day, is_open) * day_factors(config, group)[day]
    open_day = np.bincount(day, weights=is_open, minlength=config.days) > 0
    return Calendar(start, day, hour, is_open, rate, opens, closes, open_day, start[first_of_day])


def _midnight(day: date, zone: ZoneInfo) -> int:
    return to_micros(datetime.combine(day, datetime.min.time(), zone).astimezone(UTC))


def _open_hours(config: SimulationConfig, group: Group) -> npt.NDArray[np.bool_]:
    """(days, 24): open at that local hour."""
    table = np.zeros((config.days, 24), dtype=np.bool_)
    for number in range(config.days):
        hours = _hours_of(config, group, config.start + timedelta(days=number))
        if hours is not None:
            table[number, hours[0] : hours[1]] = True
    return table


def _hours_of(config: SimulationConfig, group: Group, day: date) -> tuple[int, int] | None:
    if is_holiday(config.demand, day) or day.weekday() == 6:
        return group.sunday_hours
    return group.saturday_hours if day.weekday() == 5 else group.weekday_hours


def is_holiday(demand: Demand, day: date) -> bool:
    """Whether sites keep their Sunday hours on a day of the week."""
    return day.strftime("%m-%d") in demand.holidays


def _bounds(start: Ints, day: Ints, is_open: npt.NDArray[np.bool_], days: int) -> tuple[Ints, Ints]:
    opens = np.full(days, np.iinfo(np.int64).max)
    closes = np.zeros(days, dtype=np.int64)
    np.minimum.at(opens, day[is_open], start[is_open])
    np.maximum.at(closes, day[is_open], start[is_open] + HOUR)
    return opens, closes


def _shape(group: Group, hour: Ints, day: Ints, is_open: npt.NDArray[np.bool_]) -> Floats:
    """Weight of each hour within its day; the open hours of an open day sum to 1."""
    middle = hour + 0.5
    bells = sum(
        (peak.weight / peak.width * np.exp(-0.5 * ((middle - peak.hour) / peak.width) ** 2) for peak in group.peaks),
        start=np.full(len(hour), 0.03),
    )
    weight = np.where(is_open, bells, 0.0)
    total = np.bincount(day, weights=weight)[day]
    return np.divide(weight, total, out=np.zeros_like(weight), where=total > 0)


def day_factors(config: SimulationConfig, group: Group) -> Floats:
    """(days,): expected sales of each day relative to the average; closed days count as if open."""
    demand = config.demand
    dates = [config.start + timedelta(days=number) for number in range(config.days)]
    of_year = np.array([day.timetuple().tm_yday for day in dates], dtype=np.float64)
    wave = 1 + demand.yearly_amplitude * np.cos(2 * np.pi * (of_year - 185) / 365.25)
    december = 1 + demand.december_peak * np.exp(-0.5 * ((of_year - 352) / 9) ** 2)
    trend = (1 + demand.trend_per_year) ** (np.arange(config.days) / 365.25)
    eve = [is_holiday(demand, day + timedelta(days=1)) and not is_holiday(demand, day) for day in dates]
    weekday = _weekday_factors(group)[[day.weekday() for day in dates]]
    return np.asarray(weekday * wave * december * trend * np.where(eve, demand.holiday_eve_factor, 1.0))


def _weekday_factors(group: Group) -> Floats:
    """(7,): scaled so that a week without holidays averages 1 sale a day, closed days included."""
    hours = [group.weekday_hours] * 5 + [group.saturday_hours, group.sunday_hours]
    factors = np.array([factor if open_ else 0.0 for factor, open_ in zip(group.weekday_factors, hours, strict=True)])
    scaled: Floats = factors * 7 / factors.sum()
    return scaled
