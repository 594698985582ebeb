"""Which incident a signal belongs to: its own place's, its site's, or that of many sites."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice, takewhile

from vigil.alerts.incidents import Incident, Judged, State, merged, opened_by, with_signals
from vigil.alerts.settings import TypeRules
from vigil.alerts.signals import Place, Signal, rank

Rules = Callable[[str], TypeRules]
"""Returns the rules of an alert type."""

_Ids = dict[str, None]
"""Ids in the order in which they came."""

_POLICY = "policy:quiet"


@dataclass
class Book:
    """The incidents that may still change, while signals come in. `changed` are those to be written."""

    rules: Rules
    incidents: dict[str, Incident]
    changed: set[str] = field(default_factory=set, init=False)
    _places: dict[Place, _Ids] = field(default_factory=lambda: defaultdict(dict), init=False)
    _sites: dict[tuple[str, str], _Ids] = field(default_factory=lambda: defaultdict(dict), init=False)
    _types: dict[str, _Ids] = field(default_factory=lambda: defaultdict(dict), init=False)
    _wide: dict[str, _Ids] = field(default_factory=lambda: defaultdict(dict), init=False)
    _waiting: dict[str, list[Signal]] = field(default_factory=lambda: defaultdict(list), init=False)

    def __post_init__(self) -> None:
        for incident in self.incidents.values():
            self._enter(incident)

    def put(self, incident: Incident) -> None:
        """Take an incident as it is now."""
        self.incidents[incident.id] = incident
        self.changed.add(incident.id)
        self._enter(incident)

    def home_of(self, signal: Signal, now: datetime) -> Incident | None:
        """Return the incident that the signal belongs to, if there is one."""
        rules = self.rules(signal.type)
        own = [self.incidents[one] for one in self._places.get(signal.place, ())]
        fits = [one for one in own if _goes_on(one, signal, rules) and not _says_more(one, signal, rules, now)]
        if fits:
            return max(fits, key=lambda one: (one.state.is_live, one.last_seen))
        near = self._sites.get((signal.type, signal.site), {}) if rules.across_metrics and signal.site else []
        here = (self.incidents[one] for one in near)
        wide = (self.incidents[one] for one in self._wide.get(signal.type, ()) if signal.site)
        near_in_time = (one for one in here if _began_near(one, signal, rules))
        shared = (one for one in wide if _began_near(one, signal, rules) and _shares(one, signal))
        return next(near_in_time, None) or next(shared, None)

    def add(self, incident: Incident, signal: Signal, now: datetime) -> None:
        """Add a signal to an incident: one that had ended goes on, unless a person said that it is false.

        Signals come in the order of their times. Those of one time are added together: a wide incident is large.
        """
        waiting = next(iter(self._waiting.values()), None)
        if waiting and waiting[0].at != signal.at:
            self.settle(now)
        if incident.state is State.CLOSED and incident.judged is not Judged.FALSE:
            self.put(_reopened(incident, now))
        self._waiting[incident.id].append(signal)

    def settle(self, now: datetime) -> None:
        """Bring the incidents up to the last signal that was added."""
        for identity, signals in self._waiting.items():
            self.put(with_signals(self.incidents[identity], signals, now))
        self._waiting.clear()

    def open(self, signals: Sequence[Signal], now: datetime) -> Incident:
        """Open an incident."""
        incident = opened_by(signals, self.rules(signals[0].type), now)
        self.put(incident)
        return incident

    def end(self, signal: Signal, now: datetime) -> Incident | None:
        """Close the incident of a place, because it was told to be over."""
        self.settle(now)
        own = [self.incidents[one] for one in self._places.get(signal.place, ())]
        found = next((one for one in own if one.state.is_live), None)
        if found is not None:
            self.put(ended(found, now, "policy:ended", signal.summary))
        return found

    def whole(self, incident: Incident) -> Incident:
        """Return the incident that this one is part of in the end, or itself."""
        while incident.merged_into:
            incident = self.incidents[incident.merged_into]
        return incident

    def gather(self, now: datetime) -> None:
        """Make one incident of those that began together at many sites with the same metric or feed."""
        self.settle(now)
        fresh = {self.incidents[one].type for one in self.changed}
        for kind in fresh:
            if (wide_from := self.rules(kind).wide_from) is None:
                continue
            live = [self.incidents[one] for one in self._types[kind] if self.incidents[one].state.is_live]
            for together in _alike(live):
                self._gather(together, wide_from, timedelta(hours=self.rules(kind).group_hours), now)

    def _gather(self, alike: Iterable[str], wide_from: int, window: timedelta, now: datetime) -> None:
        """Merge into the earliest what began within the window after it; then go on with the rest."""
        wholes = {(whole := self.whole(self.incidents[one])).id: whole for one in alike}
        left = [one for one in wholes.values() if one.state.is_live]
        left.sort(key=lambda one: (one.first_seen, one.opened, one.id))
        start = 0
        while len(left) - start > 1:
            end = left[start].first_seen + window
            near = list(takewhile(lambda one: one.first_seen <= end, islice(left, start, None)))  # noqa: B023 - at once
            if len(near) > 1 and len({site for one in near for site in one.sites}) >= wide_from:
                self._merge(near, now)
                start += len(near)
            else:
                start += 1

    def _merge(self, near: Sequence[Incident], now: datetime) -> None:
        """Merge into the one that somebody knows already, or else the earliest."""
        target = min(near, key=lambda one: (one.alerted is None, one.opened, one.first_seen, one.id))
        others = [one for one in near if one is not target]
        self.put(merged(target, others))
        for one in others:
            gone = {"state": State.MERGED, "merged_into": target.id, "closed": now, "due": None, "escalate": None}
            self.put(one.model_copy(update=gone))

    def _enter(self, incident: Incident) -> None:
        kind, identity = incident.type, incident.id
        for member in incident.members.values():
            self._places[Place(kind, member.site, member.metric)][identity] = None
            self._sites[kind, member.site][identity] = None
        self._types[kind][identity] = None
        if incident.is_wide(self.rules(kind)):
            self._wide[kind][identity] = None


def ended(incident: Incident, now: datetime, by: str, reason: str) -> Incident:
    """Return the incident closed. Its timer stands still meanwhile: if nobody had taken it, it escalates on return."""
    changes = {"state": State.CLOSED, "closed": now, "closed_by": by, "close_reason": reason}
    return incident.model_copy(update=changes)


def quiet_ones(
    incidents: Iterable[Incident], rules: Rules, now: datetime, scored_until: datetime | None
) -> Iterator[Incident]:
    """Yield, closed, the live incidents that were quiet long enough.

    That is by event time where all readings up to a time are known to be scored, and by the clock elsewhere. One that
    is still to be told stays: what is over may be worth knowing.
    """
    for incident in incidents:
        if not incident.state.is_live or (incident.due is not None and not incident.is_snoozed(now)):
            continue
        quiet = timedelta(hours=rules(incident.type).quiet_hours)
        of_site = incident.type.startswith("site_")
        by_event = scored_until is not None and of_site and scored_until - incident.last_seen >= quiet
        if by_event or now - incident.received >= quiet:
            yield ended(incident, now, _POLICY, f"quiet for {quiet / timedelta(hours=1):g} hours")


def opens(pending: Sequence[Signal], rules: TypeRules) -> bool:
    """Return whether the pending signals of a place are an incident."""
    urgent = any(rank(one.severity) >= rank(rules.at_once_from) for one in pending)
    return urgent or len(pending) >= rules.open_after


def _reopened(incident: Incident, now: datetime) -> Incident:
    """Return the incident going on. One that a person had closed is told anew; one that was quiet is not: it flaps."""
    by_person = not incident.closed_by.startswith("policy:")
    changes = {
        "state": State.ACKNOWLEDGED if incident.taken_by and not by_person else State.OPEN,
        "closed": None,
        "closed_by": "",
        "close_reason": "",
        "judged": None,
        "reopened": incident.reopened + 1,
        "due": now if by_person or incident.alerted is None else None,
    }
    return incident.model_copy(update=changes)


def _goes_on(incident: Incident, signal: Signal, rules: TypeRules) -> bool:
    if incident.state is State.MERGED:
        return False
    early = timedelta(hours=rules.group_hours)
    in_time = incident.first_seen - early <= signal.at <= incident.last_seen + rules.patience
    return in_time and _has_room(incident, signal, rules)


def _says_more(incident: Incident, signal: Signal, rules: TypeRules, now: datetime) -> bool:
    """Return whether a signal is not covered by a person's word that the incident was false.

    That word holds for what is no more severe, and for a time: noise must not hide a real trouble for ever.
    """
    if incident.judged is not Judged.FALSE or incident.closed is None:
        return False
    is_late = now - incident.closed > timedelta(hours=rules.reopen_hours)
    return is_late or rank(signal.severity) > rank(incident.severity)


def _began_near(incident: Incident, signal: Signal, rules: TypeRules) -> bool:
    """Return whether a place that is new to an incident may be part of the same trouble, by the time of its onset."""
    return incident.state.is_live and abs(signal.at - incident.first_seen) <= timedelta(hours=rules.group_hours)


def _shares(incident: Incident, signal: Signal) -> bool:
    return signal.metric in incident.metrics or (signal.feed != "" and signal.feed in incident.feeds)


def _has_room(incident: Incident, signal: Signal, rules: TypeRules) -> bool:
    if rules.longest_hours is None:
        return True
    return signal.at - incident.first_seen <= timedelta(hours=rules.longest_hours)


def _alike(incidents: Sequence[Incident]) -> list[list[str]]:
    """Return the ids of incidents that share a metric or a feed, for each of those."""
    found: dict[str, list[str]] = defaultdict(list)
    for incident in incidents:
        if incident.sites:
            for name in (*(f"metric {one}" for one in incident.metrics), *(f"feed {one}" for one in incident.feeds)):
                found[name].append(incident.id)
    return [ids for ids in found.values() if len(ids) > 1]
