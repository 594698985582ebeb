"""Everything that the service knows of served models. One thread works on it; others read what it has published."""

import base64
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np

from vigil.clock import Clock
from vigil.contracts.cloud_events import CloudEvent
from vigil.monitoring.samples import Served
from vigil.monitoring.service.pairing import Duplicates, Pairing, Received
from vigil.monitoring.service.payloads import Judgement, Row, Told, Unreadable, read_pair
from vigil.monitoring.service.settings import ServiceSettings
from vigil.monitoring.service.slots import Closed, SlotBook
from vigil.monitoring.service.statefile import StateFile
from vigil.monitoring.service.tally import Mark
from vigil.monitoring.service.watching import Watches
from vigil.monitoring.verdicts import WatchStatus

_log = logging.getLogger(__name__)

_REVIEW_SECONDS = 0.5


@dataclass(frozen=True)
class Published:
    """What others may read at any time."""

    statuses: tuple[WatchStatus, ...] = ()
    slots: Mapping[str, tuple[Closed, ...]] = field(default_factory=dict)
    until: int = -1
    """All slots up to this number are closed; those of them that are missing had no decision."""
    counts: Mapping[str, int] = field(default_factory=dict)
    rows: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    """Decisions by model, revision and `live` or `shadow`."""


class Engine:
    """Takes events in the order in which they came."""

    def __init__(self, folder: Path, settings: ServiceSettings, watches: Watches, clock: Clock) -> None:
        self.published = Published()
        self._folder, self._settings, self._watches, self._clock = folder, settings, watches, clock
        self._file = StateFile(folder / "state.json")
        self._duplicates = Duplicates(settings.remembered_events)
        self._pairing = Pairing(settings.pair_seconds, settings.pairs_waiting)
        self._books: dict[str, SlotBook] = {}
        self._models: dict[str, str] = {}
        """Names of models by their InferenceServices."""
        self._rows: Counter[tuple[str, str, str]] = Counter()
        self._counts: Counter[str] = Counter()
        self._worked_off = 0
        self._until = -1
        self._reviewed, self._saved = 0.0, clock().timestamp()
        self._statuses: tuple[WatchStatus, ...] = ()

    def restore(self, accepted: int) -> None:
        """Go on from the last snapshot. Events that were accepted after it are lost, and counted."""
        for path in sorted((self._folder / "slots").glob("*.jsonl")):
            self._book(unquote(path.stem))
        state = self._file.load()
        if state is None:
            self._worked_off = accepted
            return
        self._counts["lost_by_a_crash"] = max(accepted - state["worked_off"], 0)
        self._worked_off = accepted
        keys = np.frombuffer(base64.b64decode(state["duplicates"]), dtype="<u8").tolist()
        self._duplicates.restore(keys)
        self._models = state["models"]
        for model, book in state["books"].items():
            self._book(model).restore(book)
        self._watches.restore(state["watches"])
        _log.info("state taken up", extra={"models": len(self._books), "lost": self._counts["lost_by_a_crash"]})

    def work(self, events: Sequence[Received], until: float) -> list[CloudEvent]:
        """Take events, and return those of ours that are to be sent. All that came before `until` are taken by now."""
        rows: dict[Served, list[Row]] = {}
        verdicts: dict[str, list[Judgement]] = {}
        for received in events:
            if (told := self._read(received)) is None:
                continue
            if told.served is None:
                self._judge(told, received.at, verdicts)
            else:
                self._count(told, told.served, received.at)
                rows.setdefault(told.served, []).extend(told.rows)
        for served, decided in rows.items():
            self._watches.take(served, decided)
        for model, judged in verdicts.items():
            self._watches.labels(model, judged)
        self._worked_off += len(events)
        return self._tick(until)

    def save(self) -> None:
        """Write a snapshot."""
        keys = np.array(self._duplicates.keys(), dtype="<u8").tobytes()
        self._file.save(
            {
                "worked_off": self._worked_off - len(self._pairing),
                "duplicates": base64.b64encode(keys).decode(),
                "models": self._models,
                "books": {model: book.state() for model, book in self._books.items()},
                "watches": self._watches.state(),
            }
        )
        self._saved = self._clock().timestamp()

    def _read(self, received: Received) -> Told | None:
        """Return what the pair says that an event completes, if it completes one."""
        if not self._duplicates.is_new(received.event):
            self._counts["duplicates"] += 1
            return None
        pair = self._pairing.add(received)
        if pair is None:
            return None
        self._counts["pairs"] += 1
        try:
            return read_pair(pair)
        except Unreadable as error:
            self._counts[f"refused_{error.reason}"] += 1
            _log.debug("unreadable", extra={"event": received.event.id, "cause": str(error)})
            return None

    def _count(self, told: Told, served: Served, at: float) -> None:
        self._models[told.service or served.model] = served.model
        names = self._watches.names(served)
        marks = [
            Mark(served.revision, row.score, row.flagged, served.feature_schema, row.vector, names) for row in told.rows
        ]
        self._book(served.model).decided(zip(told.rows, marks, strict=True), at)
        self._rows[served.model, served.revision, "shadow" if served.shadow else "live"] += len(marks)

    def _judge(self, told: Told, at: float, verdicts: dict[str, list[Judgement]]) -> None:
        model = self._models.get(told.service, told.service)
        if told.silences:
            self._watches.note(model, told.silences)
        if not told.judgements:
            return
        self._counts["verdicts"] += len(told.judgements)
        self._book(model).judged(told.judgements, at)
        verdicts.setdefault(model, []).extend(told.judgements)

    def _tick(self, moment: float) -> list[CloudEvent]:
        """Do what time asks for."""
        now = self._clock().timestamp()
        for book in self._books.values():
            book.close_until(moment)
        self._until = max(self._until, int(moment // self._settings.slot_seconds) - 1)
        self._pairing.expire(moment)
        events: list[CloudEvent] = []
        if now - self._reviewed >= _REVIEW_SECONDS or now < self._reviewed:
            self._compare()
            self._watches.advance()
            found, events = self._watches.review()
            self._statuses, self._reviewed = tuple(found), now
        self._publish()
        return events

    @property
    def wants_saving(self) -> bool:
        """Whether the last snapshot is old."""
        return not 0 <= self._clock().timestamp() - self._saved < self._settings.snapshot_seconds

    def _publish(self) -> None:
        before = self.published.slots
        slots = {
            model: before[model]
            if model in before and before[model] and before[model][-1][0] == book.last
            else tuple(book.closed)
            for model, book in self._books.items()
        }
        counts = self._counts + self._pairing.counts
        counts.update({f"unwatched_{why}": rows for why, rows in self._watches.counts.items()})
        counts["waiting"] = len(self._pairing)
        self.published = Published(self._statuses, slots, self._until, counts, self._rows.copy())

    def _compare(self) -> None:
        """Tell the watches what closed slots say of pairs, where that is new."""
        for model, book in self._books.items():
            if (pairs := book.pairs_if_new()) is not None:
                self._watches.compare(model, pairs)

    def _book(self, model: str) -> SlotBook:
        if model not in self._books:
            path = self._folder / "slots" / f"{quote(model, safe='')}.jsonl"
            self._books[model] = SlotBook(path, self._settings)
            self._books[model].until = max(self._books[model].until, self._until)
        return self._books[model]
