"""An incident: what is wrong where and since when, how far it is off, who has it, and what was done about it."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic import AwareDatetime, Field

from vigil.alerts.routing import Addressed
from vigil.alerts.settings import TypeRules
from vigil.alerts.signals import Document, Name, Signal, rank, worst
from vigil.contracts.keys import hash_json
from vigil.decisions.policy import Severity

_NAMED = 3
_KEPT_SUBJECTS = 500


class State(StrEnum):
    """Where an incident stands."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    """Somebody has it: it does not escalate any more."""
    CLOSED = "closed"
    MERGED = "merged"
    """It belongs to another one."""

    @property
    def is_live(self) -> bool:
        """Whether it goes on."""
        return self in (State.OPEN, State.ACKNOWLEDGED)


class Judged(StrEnum):
    """What a person says that it was."""

    REAL = "real"
    FALSE = "false"


class Member(Document):
    """What one metric of one site, or one subject, has to do with an incident."""

    site: str
    metric: str
    subject: str = ""
    first: AwareDatetime
    last: AwareDatetime
    signals: int = 1


class Observation(Document):
    """A signal's numbers."""

    site: str
    metric: str
    at: AwareDatetime
    value: float | None
    expected: float | None
    low: float | None
    high: float | None
    distance: float | None
    summary: str


class Incident(Document):
    """One trouble, however many readings, metrics and sites it shows in."""

    id: str
    type: Name
    state: State = State.OPEN
    severity: Severity
    members: Mapping[str, Member] = Field(description="by site, metric and subject")
    kinds: tuple[str, ...] = ()
    feeds: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    versions: tuple[str, ...] = Field(default=(), description="of the models")
    reasons: tuple[str, ...] = ()
    farthest: Observation = Field(description="the signal that is farthest from its baseline")
    signals: int = 1
    first_seen: AwareDatetime = Field(description="event time")
    last_seen: AwareDatetime = Field(description="event time")
    opened: AwareDatetime = Field(description="by the clock of the desk, like all that follows")
    received: AwareDatetime = Field(description="when its last signal came")
    due: AwareDatetime | None = Field(description="when its owner is to be told; None once he is")
    alerted: AwareDatetime | None = None
    owner: str = Field(default="", description="who has to act")
    route: str = Field(default="", description="version and line of the table that named him")
    told: int = Field(default=0, description="how often somebody was told something")
    told_severity: Severity = Severity.NONE
    told_wide: bool = False
    step: int = Field(default=0, description="how far it has escalated")
    escalate: AwareDatetime | None = Field(default=None, description="when it escalates, unless somebody takes it")
    attended: AwareDatetime | None = Field(default=None, description="when a person first did something about it")
    taken_by: str = Field(default="", description="who acknowledged it")
    snoozed: AwareDatetime | None = Field(default=None, description="until when it is quiet")
    closed: AwareDatetime | None = None
    closed_by: str = ""
    close_reason: str = ""
    judged: Judged | None = None
    reopened: int = Field(default=0, description="how often it went on after its end")
    ticket: str = Field(default="", description="its id in somebody else's system")
    merged_into: str = ""

    @property
    def sites(self) -> list[str]:
        """The sites that it shows at, sorted."""
        return sorted({one.site for one in self.members.values() if one.site})

    @property
    def metrics(self) -> list[str]:
        """The metrics that it shows in, sorted."""
        return sorted({one.metric for one in self.members.values() if one.metric})

    @property
    def duration(self) -> timedelta:
        """How long it has lasted, in event time."""
        return self.last_seen - self.first_seen

    @property
    def title(self) -> str:
        """What it is, where, in a few words."""
        what = self.type.removeprefix("site_").replace("_", " ")
        metrics, sites = self.metrics, self.sites
        of = f" of {_listed(metrics)}" if metrics else ""
        if len(sites) > 1:
            return f"{what}{of} at {len(sites)} sites"
        return f"{what}{of} at site {sites[0]}" if sites else what + of

    def addressed(self) -> Addressed:
        """Return what the routing table looks at."""
        return Addressed(self.type, self.sites, self.metrics, self.severity)

    def is_wide(self, rules: TypeRules) -> bool:
        """Return whether it is one of many sites."""
        return rules.wide_from is not None and len(self.sites) >= rules.wide_from

    def is_snoozed(self, now: datetime) -> bool:
        """Return whether nobody is to be told of it now."""
        return self.snoozed is not None and now < self.snoozed

    def public(self) -> dict[str, Any]:
        """Return it as JSON for others: with title, sites, metrics and duration instead of the members."""
        content: dict[str, Any] = self.model_dump(mode="json", exclude={"members", "told_severity", "told_wide"})
        duration = self.duration.total_seconds()
        shown = {"title": self.title, "sites": self.sites, "metrics": self.metrics, "duration_seconds": duration}
        return content | shown


def opened_by(signals: Sequence[Signal], rules: TypeRules, now: datetime) -> Incident:
    """Return the incident that the signals of one place open; the same first signal opens the same one."""
    first = signals[0]
    identity = hash_json(["incident", first.id]).removeprefix("sha256:")[:10]
    incident = Incident(
        id=identity,
        type=first.type,
        severity=first.severity,
        members={_key(first): _member(first)},
        farthest=_observation(first),
        first_seen=first.at,
        last_seen=first.at,
        opened=now,
        received=now,
        due=now + timedelta(seconds=rules.wait_seconds),
        **_facts([first]),
    )
    return with_signals(incident, signals[1:], now) if len(signals) > 1 else incident


def with_signals(incident: Incident, signals: Sequence[Signal], now: datetime) -> Incident:
    """Return the incident with some more signals."""
    members = dict(incident.members)
    for signal in signals:
        known = members.get(key := _key(signal))
        if known is not None:
            members[key] = _later(known, signal)
        elif not signal.subject or len(members) < _KEPT_SUBJECTS:
            members[key] = _member(signal)
    farthest = max(signals, key=lambda one: abs(one.distance or 0.0))
    is_farther = abs(farthest.distance or 0.0) > abs(incident.farthest.distance or 0.0)
    facts = _facts(signals)
    return incident.model_copy(
        update={
            "members": members,
            "severity": worst(incident.severity, *(one.severity for one in signals)),
            "farthest": _observation(farthest) if is_farther else incident.farthest,
            "signals": incident.signals + len(signals),
            "first_seen": min(incident.first_seen, *(one.at for one in signals)),
            "last_seen": max(incident.last_seen, *(one.at for one in signals)),
            "received": now,
            **{name: _union(getattr(incident, name), found) for name, found in facts.items()},
        }
    )


def merged(target: Incident, others: Sequence[Incident]) -> Incident:
    """Return the target with all that the others know of the same trouble."""
    every = (target, *others)
    members = {key: member for one in reversed(every) for key, member in one.members.items()}
    names = ("kinds", "feeds", "models", "versions", "reasons")
    return target.model_copy(
        update={
            "members": members,
            "severity": worst(*(one.severity for one in every)),
            "farthest": max((one.farthest for one in every), key=lambda one: abs(one.distance or 0.0)),
            "signals": sum(one.signals for one in every),
            "first_seen": min(one.first_seen for one in every),
            "last_seen": max(one.last_seen for one in every),
            "received": max(one.received for one in every),
            "attended": min((one.attended for one in every if one.attended), default=None),
            **{name: _union(*(getattr(one, name) for one in every)) for name in names},
        }
    )


def grown(incident: Incident, rules: TypeRules) -> Incident:
    """Return the incident with the severity of its size and duration; it never falls."""
    sites, hours = len(incident.sites), incident.duration / timedelta(hours=1)
    reached = [incident.severity]
    steps = (
        (Severity.HIGH, rules.sites_high, rules.hours_high),
        (Severity.CRITICAL, rules.sites_critical, rules.hours_critical),
    )
    for severity, at_sites, at_hours in steps:
        if (at_sites and sites >= at_sites) or (at_hours and hours >= at_hours):
            reached.append(severity)
    severity = worst(*reached)
    return incident if severity is incident.severity else incident.model_copy(update={"severity": severity})


def most_urgent_first(incident: Incident) -> tuple[int, float]:
    """Return what to sort by."""
    return -rank(incident.severity), -incident.opened.timestamp()


def _key(signal: Signal) -> str:
    return f"{signal.site}|{signal.metric}|{signal.subject}"


def _member(signal: Signal) -> Member:
    return Member(site=signal.site, metric=signal.metric, subject=signal.subject, first=signal.at, last=signal.at)


def _later(member: Member, signal: Signal) -> Member:
    first, last = min(member.first, signal.at), max(member.last, signal.at)
    return member.model_copy(update={"first": first, "last": last, "signals": member.signals + 1})


def _observation(signal: Signal) -> Observation:
    return Observation(**{name: getattr(signal, name) for name in Observation.model_fields})


def _facts(signals: Sequence[Signal]) -> dict[str, tuple[str, ...]]:
    return {
        "kinds": _union([one.kind for one in signals]),
        "feeds": _union([one.feed for one in signals]),
        "models": _union([one.model for one in signals]),
        "versions": _union([one.version for one in signals]),
        "reasons": _union(*(one.reasons for one in signals)),
    }


def _union(*parts: Sequence[str], limit: int = 50) -> tuple[str, ...]:
    """Return the texts without empty ones and repetition, the first of each."""
    return tuple(dict.fromkeys(text for part in parts for text in part if text))[:limit]


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"
