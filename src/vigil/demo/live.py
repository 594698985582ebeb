"""The events that come after a training run, as they would have reached the endpoint."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from vigil.clock import from_micros
from vigil.features.fields import KINDS, TRANSACTION

Payload = dict[str, Any]
_ASKED = KINDS[TRANSACTION]


@dataclass(frozen=True)
class Delivery:
    """What one request carries: transactions to decide, or other events to take note of."""

    asks: bool
    payloads: tuple[Payload, ...]
    at: datetime
    """Event time of the last of them."""


def between(tables: Mapping[str, pa.Table], since: int, until: int) -> dict[str, pa.Table]:
    """Return the events from `since` to before `until` (microseconds) of every kind that features use."""
    start, stop = (pa.scalar(from_micros(moment), pa.timestamp("us", tz="UTC")) for moment in (since, until))
    found = {}
    for kind in (name for name in KINDS if name in tables):
        times = tables[kind]["event_time"]
        found[kind] = tables[kind].filter(pc.and_(pc.greater_equal(times, start), pc.less(times, stop)))
    return found


def deliveries(tables: Mapping[str, pa.Table], most: int, *, grain_minutes: int = 0) -> Iterator[Delivery]:
    """Yield the events in the order of the log, neighbours of the same sort together, at most `most` at once.

    With a grain, what is no transaction comes after those of the same so many minutes: fewer and larger requests.
    """
    rows = [
        (row["event_time"], rank, row["event_id"], kind, row)
        for rank, kind in enumerate(KINDS)
        if kind in tables
        for row in tables[kind].to_pylist()
    ]
    rows.sort(key=lambda item: item[:3])
    if grain_minutes:
        rows.sort(key=lambda item: (_grain(item[0], grain_minutes), item[3] != _ASKED))
    for asks, run in groupby(rows, key=lambda item: item[3] == _ASKED):
        same = list(run)
        for start in range(0, len(same), most):
            part = same[start : start + most]
            payloads = tuple(_payload(kind, row, asks=asks) for *_, kind, row in part)
            yield Delivery(asks, payloads, at=max(item[0] for item in part))


def _grain(time: datetime, minutes: int) -> int:
    return int(time.timestamp()) // (60 * minutes)


def _payload(kind: str, row: Payload, *, asks: bool) -> Payload:
    """Return the event as JSON, without what is not known of it."""
    body = {name: value for name, value in row.items() if value is not None}
    body["event_time"] = row["event_time"].isoformat()
    return body if asks else {"kind": kind, **body}
