"""Where a moment lies in a site's week: its slot, and the step of its day."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from vigil.clock import DAY, HOUR, MINUTE, from_micros
from vigil.errors import ContractError
from vigil.fleet.panel import Ints, SiteFacts
from vigil.fleet.settings import FleetSettings

Slots = NDArray[np.int16]

MONDAY = 3 * DAY
"""1970 began on a Thursday."""
OFFSETS = HOUR // 4
"""Grain at which the offset of a time zone is asked for."""


@dataclass(frozen=True)
class Calendar:
    """What tells the days of a group of sites apart."""

    time_zone: str
    holidays: tuple[date, ...]

    @classmethod
    def of(cls, facts: SiteFacts) -> "Calendar":
        """Return the calendar of a site."""
        return cls(facts.time_zone, tuple(sorted(set(facts.holidays))))

    def slots(self, steps: Ints, settings: FleetSettings) -> tuple[Slots, Slots]:
        """Return the slot of the week and the step of the day for numbers of steps since 1970."""
        local = steps * settings.step
        if settings.step < DAY:
            local = local + self._offsets(local)
        week, day = settings.week_steps, settings.day_steps
        slot = (local + MONDAY) % (7 * DAY) // settings.step if week > 1 else np.zeros_like(local)
        hour = local % DAY // settings.step if day > 1 else np.zeros_like(local)
        if self.holidays and week > 1:
            days = np.array([(one - date(1970, 1, 1)).days for one in self.holidays])
            slot = np.where(np.isin(local // DAY, days), week + hour, slot)
        return np.minimum(slot, week + day - 1).astype(np.int16), np.minimum(hour, day - 1).astype(np.int16)

    def _offsets(self, times: Ints) -> Ints:
        if self.time_zone == "UTC":
            return np.zeros_like(times)
        quarters, inverse = np.unique(times // OFFSETS, return_inverse=True)
        found = [_offset(self.time_zone, int(quarter)) for quarter in quarters]
        offsets: Ints = np.array(found, dtype=np.int64)[inverse]
        return offsets

    def to_json(self) -> dict[str, Any]:
        """Return the calendar as JSON."""
        return {"time_zone": self.time_zone, "holidays": [one.isoformat() for one in self.holidays]}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Calendar":
        """Return the calendar that `to_json` wrote."""
        return cls(content["time_zone"], tuple(date.fromisoformat(one) for one in content["holidays"]))


@lru_cache(maxsize=200_000)
def _offset(time_zone: str, quarter: int) -> int:
    offset = from_micros(quarter * OFFSETS).astimezone(_zone(time_zone)).utcoffset()
    return (offset or timedelta()) // timedelta(minutes=1) * MINUTE


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ContractError(f"{name!r} is not a time zone, such as Europe/Berlin: correct the site's facts") from None


def distinct(calendars: Iterable[Calendar]) -> tuple[tuple[Calendar, ...], NDArray[np.int32]]:
    """Return each calendar once, and the number of the one that each item has."""
    found: dict[Calendar, int] = {}
    numbers = [found.setdefault(calendar, len(found)) for calendar in calendars]
    return tuple(found), np.array(numbers, dtype=np.int32)
