"""Durations and time zones as they are written in a mapping."""

import re
from datetime import timedelta, timezone
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator

from vigil.clock import DAY, HOUR, MINUTE, SECOND

UNITS = {
    "us": 1,
    "ms": SECOND // 1000,
    "s": SECOND,
    "min": MINUTE,
    "h": HOUR,
    "d": DAY,
    "w": 7 * DAY,
}
"""Microseconds of each unit of time."""

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s|min|h|d|w)")
_FIXED_OFFSET = re.compile(r"([+-])(\d\d):(\d\d)")


def parse_duration(text: object) -> int:
    """Return the microseconds of a text such as `90min` or `7d`."""
    match = _DURATION.fullmatch(str(text).strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration: write a number and one of {', '.join(UNITS)}, such as 7d")
    return round(float(match[1]) * UNITS[match[2]])


def duration_text(micros: float) -> str:
    """Return a duration for people: `7d 1h`, at most two units, nothing below a second."""
    rest, parts = round(abs(micros) / SECOND), []
    for name, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{name}")
    return ("-" if micros < 0 else "") + (" ".join(parts[:2]) or "0s")


def time_zone(name: str) -> ZoneInfo | timezone:
    """Return the zone of an IANA name or of a fixed offset such as `-08:00`."""
    if match := _FIXED_OFFSET.fullmatch(name):
        offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
        return timezone(-offset if match[1] == "-" else offset)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(
            f"{name!r} is not a time zone: write an IANA name such as Europe/London, or an offset such as -08:00"
        ) from error


def _check_zone(name: str) -> str:
    time_zone(name)
    return name


Duration = Annotated[int, BeforeValidator(parse_duration)]
"""Microseconds, written as a number with a unit."""

Zone = Annotated[str, AfterValidator(_check_zone)]
"""The name of a time zone."""
