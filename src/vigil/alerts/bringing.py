"""Files to the desk: findings of sites, and decision logs, here or at a desk elsewhere."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vigil.alerts.desk import Desk
from vigil.alerts.findings import FINDINGS_EVENT, Finding, FindingBatch, findings_in
from vigil.alerts.reading import ALERT_EVENT, signals_of_decisions
from vigil.alerts.signals import Signal
from vigil.clock import Clock, system_clock
from vigil.contracts.cloud_events import CloudEvent, new_event, to_structured
from vigil.contracts.keys import hash_json
from vigil.decisions.log import read_decisions
from vigil.errors import ContractError, Unavailable

_BATCH = 5_000
_SECONDS = 60.0


@dataclass(frozen=True)
class Source:
    """A file, and what it does not say itself."""

    path: Path
    model: str = "sites"
    feed: str = ""


@dataclass(frozen=True)
class Brought:
    """What a desk has made of a file."""

    signals: int
    repeated: int
    incidents: tuple[str, ...]


def bring(source: Source, desk: Desk) -> Brought:
    """Take the signals of a file in: findings (.parquet), or a decision log (a file, or a folder of them)."""
    return _summed(_answer_of(desk, event) for event in events_of(source, desk.clock))


def send(source: Source, url: str, clock: Clock = system_clock) -> Brought:
    """Send the signals of a file to the desk at a URL."""
    return _summed(_post(url, event) for event in events_of(source, clock))


def events_of(source: Source, clock: Clock) -> Iterator[CloudEvent]:
    """Yield the events of a file; the same file has the same ones."""
    if source.path.suffix == ".parquet":
        yield from _of_findings(source, clock())
    elif source.path.exists():
        for found in signals_of_decisions(read_decisions(source.path)):
            yield _event(ALERT_EVENT, found, clock(), found.id)
    else:
        raise ContractError(f"there is nothing at {source.path}")


def _of_findings(source: Source, now: datetime) -> Iterator[CloudEvent]:
    try:
        table = pq.read_table(source.path)
    except (OSError, pa.ArrowInvalid) as error:
        raise ContractError(f"{source.path} cannot be read: {error}") from error
    found = findings_in(table, model=source.model, feed=source.feed)
    while batch := tuple(islice(found, _BATCH)):
        yield _batch_event(batch, None, now)
    scored_until = pc.max(table["event_time"]).as_py()
    if scored_until is not None:
        yield _batch_event((), scored_until, now)


def _batch_event(batch: Sequence[Finding], scored_until: datetime | None, now: datetime) -> CloudEvent:
    content = FindingBatch(findings=tuple(batch), scored_until=scored_until)
    return _event(FINDINGS_EVENT, content, now, hash_json(content.model_dump(mode="json")).removeprefix("sha256:"))


def _event(kind: str, content: FindingBatch | Signal, now: datetime, identity: str) -> CloudEvent:
    return new_event(kind, "vigil/alerts/take", content.model_dump(mode="json"), now, identity)


def _answer_of(desk: Desk, event: CloudEvent) -> Brought:
    taken = desk.take(event)
    return Brought(taken.signals, taken.repeated, taken.incidents)


def _post(url: str, event: CloudEvent) -> Brought:
    if not url.startswith(("http://", "https://")):
        raise ContractError(f"--to: {url!r} is not a URL such as http://127.0.0.1:8091/")
    headers, body = to_structured(event)
    request = urllib.request.Request(url, body, headers)  # noqa: S310 - http only, checked above
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
            content = json.loads(answer.read())
    except urllib.error.HTTPError as error:
        raise ContractError(f"{url} answered {error.code}: {error.read(500).decode(errors='replace')}") from error
    except (OSError, ValueError) as error:
        raise Unavailable(f"{url} does not answer as an alert desk: {error}") from error
    return Brought(content["signals"], content["repeated"], tuple(content["incidents"]))


def _summed(parts: Iterator[Brought]) -> Brought:
    signals, repeated = 0, 0
    incidents: set[str] = set()
    for part in parts:
        signals, repeated = signals + part.signals, repeated + part.repeated
        incidents.update(part.incidents)
    return Brought(signals, repeated, tuple(sorted(incidents)))
