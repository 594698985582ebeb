"""What people do about incidents. Each act is kept with who did it and why."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from vigil.alerts.grouping import ended
from vigil.alerts.incidents import Incident, Judged, State, opened_by
from vigil.alerts.journal import Journal, Pages
from vigil.alerts.records import Act, ActKind, Report, Window
from vigil.alerts.settings import AlertSettings
from vigil.alerts.signals import AlertType, Signal
from vigil.clock import Clock, system_clock
from vigil.decisions.policy import Severity
from vigil.errors import ContractError


@dataclass(frozen=True)
class By:
    """Who does something, and why."""

    actor: str
    reason: str

    def __post_init__(self) -> None:
        if not self.actor.strip() or not self.reason.strip():
            raise ContractError(f"{'reason' if self.actor.strip() else 'actor'}: say who does it and why")


@dataclass(frozen=True)
class Noticed:
    """What a person noticed: where, since when, and how bad it looks."""

    site: str = ""
    metric: str = ""
    at: datetime | None = None
    severity: Severity = Severity.MEDIUM


@dataclass(frozen=True)
class Acts:
    """The acts of people."""

    journal: Journal
    settings: AlertSettings
    clock: Clock = system_clock

    def acknowledge(self, reference: str, by: By, ticket: str = "") -> Incident:
        """Return the incident taken by somebody: it does not escalate any more."""
        with self._changing(reference) as change:
            change.needs_life()
            values = {"state": State.ACKNOWLEDGED, "taken_by": by.actor, "escalate": None}
            change(ActKind.ACKNOWLEDGED, by, **values, ticket=ticket or change.incident.ticket)
        return change.incident

    def snooze(self, reference: str, by: By, until: datetime) -> Incident:
        """Return the incident quiet until a time; if it goes on then and nobody has taken it, it is told again."""
        if until <= self.clock():
            raise ContractError("until: has to be later than now")
        with self._changing(reference) as change:
            change.needs_life()
            text = By(by.actor, f"until {until:%Y-%m-%d %H:%M} UTC: {by.reason}")
            change(ActKind.SNOOZED, text, snoozed=until, escalate=None)
        return change.incident

    def close(self, reference: str, by: By, judged: Judged) -> Incident:
        """Return the incident closed and judged; one that is over already can still be judged."""
        with self._changing(reference) as change:
            now = self.clock()
            closed = ended(change.incident, change.incident.closed or now, by.actor, by.reason)
            text = By(by.actor, f"{judged}: {by.reason}")
            values = {name: getattr(closed, name) for name in ("state", "closed", "closed_by", "close_reason")}
            change(ActKind.CLOSED, text, **values, judged=judged, escalate=None, due=None, snoozed=None)
        return change.incident

    def report(self, noticed: Noticed, by: By) -> Report:
        """Return the report of a person, with the incident that it is about: a new one if Vigil has seen none."""
        if not (noticed.site or noticed.metric):
            raise ContractError("site: say at which site, or in which metric")
        now = self.clock()
        at = noticed.at or now
        if at > now:
            raise ContractError("at: nobody can have noticed it later than now")
        with self.journal.writing() as pages:
            known = self._known(pages, noticed, at)
            incident = known or self._reported(noticed, at, by, now)
            if known is None:
                pages.put_incident(incident)
            report = Report(
                id=uuid.uuid4().hex[:10],
                site=noticed.site,
                metric=noticed.metric,
                noticed=at,
                reported=now,
                reporter=by.actor,
                text=by.reason,
                incident=incident.id,
                was_known=known is not None and known.type != AlertType.REPORT,
            )
            pages.put_report(report)
            act = Act(incident=incident.id, at=now, kind=ActKind.REPORTED, actor=by.actor, reason=by.reason)
            pages.add_act(act)
        return report

    def add_window(self, window: Window) -> None:
        """Keep a maintenance window: what it covers is recorded, and is no incident."""
        with self.journal.writing() as pages:
            pages.put_window(window)

    def end_window(self, identity: str, by: By) -> Window:
        """Return the window, ended now."""
        now = self.clock()
        with self.journal.writing() as pages:
            found = next((one for one in pages.windows() if one.id == identity), None)
            if found is None or found.until <= now:
                raise ContractError(f"there is no maintenance window {identity} that goes on or is to come")
            reason = f"{found.reason} (ended by {by.actor}: {by.reason})"
            since = min(found.since, now - timedelta(microseconds=1))
            changed = found.model_copy(update={"since": since, "until": now, "reason": reason})
            pages.put_window(changed)
        return changed

    @contextmanager
    def _changing(self, reference: str) -> Iterator["_Change"]:
        with self.journal.writing() as pages:
            change = _Change(pages, _found(pages, reference), self.clock())
            yield change

    def _known(self, pages: Pages, noticed: Noticed, at: datetime) -> Incident | None:
        """Return the incident that a report is about, one that Vigil found before one that a person reported."""
        found = [
            incident
            for kind in pages.types()
            for incident in pages.recent_ones(kind, at - self.settings.rules(kind).patience).values()
            if self._is_about(incident, noticed, at)
        ]
        return min(
            found, key=lambda one: (one.type == AlertType.REPORT, not one.state.is_live, one.opened), default=None
        )

    def _is_about(self, incident: Incident, noticed: Noticed, at: datetime) -> bool:
        rules = self.settings.rules(incident.type)
        early, late = timedelta(hours=rules.group_hours), timedelta(hours=rules.quiet_hours)
        in_time = incident.first_seen - early <= at <= incident.last_seen + late
        return in_time and is_where(incident, noticed.site, noticed.metric)

    def _reported(self, noticed: Noticed, at: datetime, by: By, now: datetime) -> Incident:
        signal = Signal(
            type=AlertType.REPORT,
            at=at,
            severity=noticed.severity,
            summary=by.reason[:1_000],
            site=noticed.site,
            metric=noticed.metric,
            kind="report",
            reasons=(f"reported by {by.actor}",),
        )
        return opened_by([signal], self.settings.rules(AlertType.REPORT), now)


def is_where(incident: Incident, site: str, metric: str) -> bool:
    """Return whether the incident shows at the site and in the metric; what is not said matches all."""
    return any(site in ("", one.site) and metric in ("", one.metric) for one in incident.members.values())


class _Change:
    """Changes one incident, and keeps the act."""

    def __init__(self, pages: Pages, incident: Incident, now: datetime) -> None:
        self._pages, self.incident, self._now = pages, incident, now

    def needs_life(self) -> None:
        """Raise ContractError for an incident that is over."""
        if not self.incident.state.is_live:
            raise ContractError(f"incident {self.incident.id} is {self.incident.state}: nothing is left to do for it")

    def __call__(self, kind: ActKind, by: By, **values: object) -> None:
        """Write the change and the act."""
        attended = self.incident.attended or self._now
        self.incident = self.incident.model_copy(update={**values, "attended": attended})
        self._pages.put_incident(self.incident)
        self._pages.outbox.withdraw(self.incident.id, self._now)
        act = Act(incident=self.incident.id, at=self._now, kind=kind, actor=by.actor, reason=by.reason)
        self._pages.add_act(act)


def _found(pages: Pages, reference: str) -> Incident:
    """Return the incident of an id or its beginning; for one that is part of another, that one."""
    found = pages.incident(reference)
    while found is not None and found.merged_into:
        found = pages.incident(found.merged_into)
    if found is None:
        raise ContractError(f"there is no incident {reference}, or several: `vigil alerts list --all` shows them")
    return found
