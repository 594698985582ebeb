"""The desk takes signals in: each once, into the incident that it belongs to, in one step that is on disk or not."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from vigil.alerts.grouping import Book, opens
from vigil.alerts.incidents import Incident, State
from vigil.alerts.journal import PENDING, Journal, Pages
from vigil.alerts.reading import read_signals
from vigil.alerts.records import Act, ActKind, Window
from vigil.alerts.settings import AlertSettings
from vigil.alerts.signals import Signal
from vigil.clock import Clock, system_clock
from vigil.contracts.cloud_events import CloudEvent
from vigil.decisions.policy import Severity

_ENDED, _HARMLESS = "ended", "harmless"
_DESK = "policy:desk"


@dataclass(frozen=True)
class Taken:
    """What became of what came in."""

    signals: int = 0
    """New ones."""
    repeated: int = 0
    pending: int = 0
    """Not enough of them yet for an incident."""
    suppressed: int = 0
    """Within a maintenance window."""
    incidents: tuple[str, ...] = ()
    """Those that they are part of."""
    is_new: bool = True
    """False for an event that came before."""


@dataclass
class Desk:
    """Takes signals, and writes down which incidents they are."""

    journal: Journal
    settings: AlertSettings
    clock: Clock = system_clock

    def take(self, event: CloudEvent) -> Taken:
        """Take the signals of an event, or raise BadEvent or pydantic's ValidationError naming the field."""
        read = read_signals(event, self.clock())
        return self.take_signals(read.signals, read.scored_until, f"{event.source}\n{event.id}")

    def take_signals(
        self, signals: Iterable[Signal], scored_until: datetime | None = None, event: str | None = None
    ) -> Taken:
        """Take signals; with the key of the event that brought them, nothing if that came before."""
        now = self.clock()
        ordered = sorted(signals, key=lambda one: (one.at, one.id))
        with self.journal.writing() as pages:
            if event is not None and pages.knows_event(event, now):
                return Taken(repeated=len(ordered), is_new=False)
            intake = _Intake(pages, self.settings, now, _book(pages, self.settings, ordered))
            for signal in ordered:
                intake.take(signal)
            taken = intake.finish()
            if scored_until is not None:
                pages.note_scored(scored_until)
        return taken


def _book(pages: Pages, settings: AlertSettings, ordered: Sequence[Signal]) -> Book:
    """Return the incidents that these signals may belong to."""
    earliest: dict[str, datetime] = {}
    for signal in ordered:
        earliest.setdefault(signal.type, signal.at)
    found: dict[str, Incident] = {}
    for kind, at in earliest.items():
        found |= pages.recent_ones(kind, at - settings.rules(kind).patience)
    return Book(settings.rules, found)


@dataclass
class _Intake:
    pages: Pages
    settings: AlertSettings
    now: datetime
    book: Book
    taken: Taken = Taken()
    _windows: list[Window] = field(default_factory=list)
    _before: dict[str, Incident] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._windows = self.pages.windows()
        self._before = dict(self.book.incidents)

    def take(self, signal: Signal) -> None:
        """Keep a signal and put it where it belongs."""
        if not self.pages.put_signal(signal, PENDING, self.now):
            self.taken = replace(self.taken, repeated=self.taken.repeated + 1)
            return
        self.taken = replace(self.taken, signals=self.taken.signals + 1)
        window = next((one for one in self._windows if one.covers(signal)), None)
        if window is not None:
            self.pages.settle(signal, f"maintenance {window.id}")
            self.taken = replace(self.taken, suppressed=self.taken.suppressed + 1)
        elif signal.ended:
            self.book.end(signal, self.now)
            self.pages.settle(signal, _ENDED)
        elif signal.severity is Severity.NONE:
            self.pages.settle(signal, _HARMLESS)
        else:
            self._place(signal)

    def _place(self, signal: Signal) -> None:
        home = self.book.home_of(signal, self.now)
        if home is not None:
            self.book.add(home, signal, self.now)
            self.pages.settle(signal, home.id)
            return
        rules = self.settings.rules(signal.type)
        window = timedelta(hours=rules.within_hours)
        pending = self.pages.pending(signal.place, signal.at - window, signal.at + window)
        if not opens(pending, rules):
            self.taken = replace(self.taken, pending=self.taken.pending + 1)
            return
        incident = self.book.open(pending, self.now)
        for one in pending:
            self.pages.settle(one, incident.id)

    def finish(self) -> Taken:
        """Gather what belongs together, write it down, and return what became of everything."""
        self.book.gather(self.now)
        for identity in sorted(self.book.changed):
            incident = self.book.incidents[identity]
            if incident.merged_into:
                incident = incident.model_copy(update={"merged_into": self.book.whole(incident).id})
                if identity not in self._before:  # it never was anything by itself
                    self.pages.reassign(identity, incident.merged_into)
                    continue
            self.pages.put_incident(incident)
            for kind, reason in _acts(self._before.get(identity), incident):
                self.pages.add_act(Act(incident=identity, at=self.now, kind=kind, actor=_DESK, reason=reason))
        shown = sorted({self.book.whole(self.book.incidents[one]).id for one in self.book.changed})
        return replace(self.taken, incidents=tuple(shown))


def _acts(before: Incident | None, after: Incident) -> list[tuple[ActKind, str]]:
    """Return what is worth a line of the record."""
    acts = []
    if before is None:
        acts.append((ActKind.OPENED, after.farthest.summary))
    elif after.reopened > before.reopened:
        acts.append((ActKind.REOPENED, after.farthest.summary))
    if after.state is State.MERGED and (before is None or before.state is not State.MERGED):
        acts.append((ActKind.MERGED, f"part of {after.merged_into}"))
    if after.state is State.CLOSED and before is not None and before.state.is_live:
        acts.append((ActKind.CLOSED, after.close_reason))
    return acts
