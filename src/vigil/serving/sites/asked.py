"""Requests of any protocol to readings, each checked before one of them is learned from."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kserve import InferRequest

from vigil.clock import HOUR, SECOND, to_micros
from vigil.fleet.panel import Series
from vigil.serving.refusals import INVALID, MALFORMED, Refusal
from vigil.serving.tensors import column

FIELDS = ("site", "metric", "time", "value")
LONGEST_NAME = 200
LARGEST = 1e30
"""Larger values are no readings, and single precision could not hold them."""


@dataclass(frozen=True)
class Asked:
    """One reading of a request."""

    series: Series
    time: int
    value: float


def asked_of_instances(payload: Any, latest: int) -> list[Asked]:  # noqa: ANN401 - any JSON value
    """Return the readings of a V1 body."""
    if not isinstance(payload, dict) or not isinstance(payload.get("instances"), list) or not payload["instances"]:
        raise Refusal(MALFORMED, 'the body needs a list "instances" of at least one reading', "instances")
    found = []
    for row, instance in enumerate(payload["instances"]):
        if not isinstance(instance, dict):
            raise Refusal(MALFORMED, f"a reading is an object with {', '.join(FIELDS)}", "instances", row)
        if foreign := sorted(set(instance) - set(FIELDS)):
            raise Refusal(INVALID, f"a reading has {', '.join(FIELDS)}", foreign[0][:64], row)
        found.append(_asked(instance, row, latest))
    return found


def asked_of_tensors(request: InferRequest, latest: int) -> list[Asked]:
    """Return the readings of a V2 request: one tensor for each column."""
    given = {tensor.name: tensor for tensor in request.inputs}
    if foreign := sorted(set(given) - set(FIELDS)):
        raise Refusal(INVALID, f"the tensors are {', '.join(FIELDS)}", foreign[0][:64])
    if missing := [name for name in FIELDS if name not in given]:
        raise Refusal(INVALID, "the request lacks this tensor", missing[0])
    columns = {name: column(given[name]) for name in FIELDS}
    rows = len(columns["site"])
    for name, values in columns.items():
        if len(values) != rows:
            raise Refusal(INVALID, f"{len(values)} values for {rows} sites", name)
    if rows == 0:
        raise Refusal(INVALID, "there is no reading", "site")
    return [_asked({name: columns[name][row] for name in FIELDS}, row, latest) for row in range(rows)]


def _asked(instance: Mapping[str, Any], row: int, latest: int) -> Asked:
    site, metric = (_name(instance.get(name), name, row) for name in ("site", "metric"))
    return Asked(Series(site, metric), _time(instance.get("time"), row, latest), _number(instance.get("value"), row))


def _name(value: Any, field: str, row: int) -> str:  # noqa: ANN401
    if not isinstance(value, str) or not value or len(value) > LONGEST_NAME or "\x00" in value:
        raise Refusal(INVALID, f"a text of 1 to {LONGEST_NAME} characters", field, row)
    return value


def _time(value: Any, row: int, latest: int) -> int:  # noqa: ANN401
    """Return microseconds; a time far ahead would make everything that comes before it late."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        micros = None if moment is None or moment.tzinfo is None else to_micros(moment)
    except (ValueError, OverflowError):
        micros = None
    if micros is None or micros < 0:
        raise Refusal(INVALID, "a time as in RFC 3339 with its zone, such as 2026-01-31T17:00:00Z", "time", row)
    if micros > latest:
        raise Refusal(INVALID, "the time is too far ahead: see --max_ahead_hours", "time", row)
    return micros


def _number(value: Any, row: int) -> float:  # noqa: ANN401
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Refusal(INVALID, "a finite number: leave out what was not measured", "value", row)
    if abs(value) > LARGEST:
        raise Refusal(INVALID, f"no more than {LARGEST:g}", "value", row)
    return float(value)


def latest_time(now: datetime, ahead_hours: float) -> int:
    """Return the latest time that a reading may have; 0 hours for any."""
    if ahead_hours <= 0:
        return to_micros(datetime.max.replace(tzinfo=now.tzinfo)) - SECOND
    return to_micros(now) + int(ahead_hours * HOUR)
