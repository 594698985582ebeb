"""Time as an argument: no module of Vigil asks the system for it on its own."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]
"""Returns the current time, aware, in UTC."""

MICROSECOND = 1
SECOND = 1_000_000 * MICROSECOND
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
"""Durations in the engine's unit: integer microseconds since 1970 in UTC."""


def system_clock() -> datetime:
    """Return the machine's time in UTC."""
    return datetime.fromtimestamp(time.time(), UTC)


@dataclass
class ManualClock:
    """A clock that stands still until it is told to move; for simulations and replays."""

    now: datetime

    def __call__(self) -> datetime:
        """Return the time that was set last."""
        return self.now

    def advance(self, by: timedelta) -> None:
        """Move forward by the given duration."""
        self.now += by


def to_micros(moment: datetime) -> int:
    """Return integer microseconds since 1970 in UTC; a naive `moment` is refused."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone")
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def from_micros(micros: int) -> datetime:
    """Return the moment `micros` microseconds after 1970, in UTC."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
