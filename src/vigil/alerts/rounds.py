"""The rounds: who is to be told now, who is next because nobody came, and what is over. Each is one step on disk."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from vigil.alerts.grouping import quiet_ones
from vigil.alerts.incidents import Incident, State, grown, most_urgent_first
from vigil.alerts.journal import Journal, Pages
from vigil.alerts.messages import Message, Why, digest, telling
from vigil.alerts.outbox import Delivery, Letter
from vigil.alerts.records import Act, ActKind
from vigil.alerts.routing import choose
from vigil.alerts.settings import AlertSettings
from vigil.alerts.signals import rank
from vigil.clock import Clock, system_clock
from vigil.decisions.policy import Severity

_ALERTS, _QUIET = "policy:alerts", "policy:quiet"
_FORGET_EVERY = timedelta(hours=1)
_RATE = timedelta(hours=1)
_NEVER_HELD = frozenset({Why.ESCALATED, Why.TEST, Why.DIGEST})
_ACTS = {
    Why.FIRST: ActKind.ALERTED,
    Why.REOPENED: ActKind.ALERTED,
    Why.GREW: ActKind.GREW,
    Why.ESCALATED: ActKind.ESCALATED,
}


@dataclass
class Rounds:
    """Looks after the incidents that go on. One at a time: see `alone`."""

    journal: Journal
    settings: AlertSettings
    clock: Clock = system_clock
    _forgot: datetime | None = field(default=None, init=False)
    _seen: tuple[int, datetime] | None = field(default=None, init=False)
    """The change up to which all is looked at, and when something is due again without another one."""

    def step(self) -> int:
        """Do all that is due, and return how many incidents were looked at: none where nothing can have come up."""
        now = self.clock()
        with self.journal.reading() as pages:
            if self._seen is not None and pages.changes() == self._seen[0] and now < self._seen[1]:
                return 0
        with self.journal.writing() as pages:
            live = pages.live_ones()
            teller = Teller(pages, self.settings, now)
            looked_at = [self._look(one, teller) for one in sorted(live.values(), key=most_urgent_first)]
            over = {one.id: one for one in quiet_ones(looked_at, self.settings.rules, now, pages.scored_until())}
            done = [teller.over(over[one.id]) if one.id in over else one for one in looked_at]
            for incident in done:
                if incident is not live[incident.id]:
                    pages.put_incident(incident)
            held = self._digest(pages, now)
            if self._forgot is None or now - self._forgot >= _FORGET_EVERY:
                pages.forget(now, timedelta(days=self.settings.keep_days))
                pages.outbox.forget(now, timedelta(days=self.settings.keep_days))
                self._forgot = now
            dues = [one for incident in done for one in self._dues(incident)]
            self._seen = pages.changes(), min([*dues, *held, now + _FORGET_EVERY])
        return len(live)

    def _dues(self, incident: Incident) -> list[datetime]:
        """Return when something can come up for an incident by itself."""
        if not incident.state.is_live:
            return []
        quiet = incident.received + timedelta(hours=self.settings.rules(incident.type).quiet_hours)
        escalate = incident.escalate if incident.state is State.OPEN else None
        if incident.snoozed is not None:
            return [incident.snoozed, quiet]
        return [one for one in (incident.due, escalate, quiet) if one is not None]

    def give_up(self, letter: Letter, trouble: str) -> None:
        """Note that a message is not tried any more."""
        with self.journal.writing() as pages:
            pages.outbox.end(letter.message.key, Delivery.GIVEN_UP, self.clock(), trouble)
            self._unreached(pages, letter.message, trouble)

    def refused(self, letter: Letter, trouble: str, again: datetime) -> None:
        """Note that the receiver or our own settings refuse a message, and when it is tried again."""
        with self.journal.writing() as pages:
            pages.outbox.postpone(letter.message.key, again, trouble)
            if letter.trouble != trouble:
                self._unreached(pages, letter.message, trouble)

    def _unreached(self, pages: Pages, message: Message, trouble: str) -> None:
        """Let an incident escalate at once whose message did not reach anybody."""
        incident, now = pages.incident(message.incident), self.clock()
        if incident is None:
            return
        reason = f"{message.owner} was not reached by {message.channel}: {trouble}"
        pages.add_act(Act(incident=incident.id, at=now, kind=ActKind.UNREACHED, actor=_ALERTS, reason=reason))
        owner = self.settings.owners.get(incident.owner)
        if incident.state is State.OPEN and owner is not None and incident.step < len(owner.escalates_to):
            pages.put_incident(incident.model_copy(update={"escalate": now}))

    def _look(self, incident: Incident, teller: "Teller") -> Incident:
        """Return the incident after what is due for it."""
        now = teller.now
        rules = self.settings.rules(incident.type)
        incident = grown(incident, rules)
        if incident.is_snoozed(now):
            return incident
        if incident.snoozed is not None:
            again = {"snoozed": None, "due": now if incident.state is State.OPEN else incident.due}
            incident = incident.model_copy(update=again)
        is_wide = incident.is_wide(rules)
        if incident.due is not None:
            return teller.owner(incident, is_wide) if incident.due <= now else incident
        if rank(incident.severity) > rank(incident.told_severity) or (is_wide and not incident.told_wide):
            return teller.owner(incident, is_wide)
        if incident.state is State.OPEN and incident.escalate is not None and incident.escalate <= now:
            return teller.next_in_chain(incident)
        return incident

    def _digest(self, pages: Pages, now: datetime) -> list[datetime]:
        """Tell what was held back, once it has waited long enough; return when the rest has."""
        wait, dues = timedelta(minutes=self.settings.digest_minutes), []
        held: dict[tuple[str, str], list[Message]] = defaultdict(list)
        for letter in pages.outbox.held():
            held[letter.message.owner, letter.message.channel].append(letter.message)
        for messages in held.values():
            if now - messages[0].created < wait:
                dues.append(messages[0].created + wait)
            else:
                pages.outbox.put(digest(messages, now))
                for one in messages:
                    pages.outbox.end(one.key, Delivery.DIGESTED, now)
        return dues


@dataclass(frozen=True)
class Teller:
    """Puts messages out, and notes with the incident who was told what."""

    pages: Pages
    settings: AlertSettings
    now: datetime

    def owner(self, incident: Incident, is_wide: bool) -> Incident:
        """Return the incident after its owner was told: at first, again, or because it grew."""
        chosen = choose(self.settings.routes, incident.addressed())
        if incident.due is None:
            why = Why.GREW
        else:
            why = Why.REOPENED if incident.alerted is not None and incident.reopened else Why.FIRST
        is_new_owner = chosen.owner != incident.owner
        changes = {
            "due": None,
            "alerted": incident.alerted or self.now,
            "owner": chosen.owner,
            "route": f"{self.settings.table}:{chosen.line}",
            "told_severity": incident.severity,
            "told_wide": is_wide,
            "step": 0 if is_new_owner else incident.step,
            "escalate": self._timer(incident, chosen.owner, 0 if is_new_owner else incident.step),
        }
        return self._tell(incident.model_copy(update=changes), why, chosen.owner, incident.title)

    def next_in_chain(self, incident: Incident) -> Incident:
        """Return the incident after the next one was told that nobody has taken it."""
        if incident.owner not in self.settings.owners:  # a new table without him
            return incident.model_copy(update={"due": self.now})
        chain = self.settings.owners[incident.owner].escalates_to
        if incident.step >= len(chain):
            return incident.model_copy(update={"escalate": None})
        owner, step = chain[incident.step], incident.step + 1
        after = incident.model_copy(update={"step": step, "escalate": None})
        after = after.model_copy(update={"escalate": self._timer(after, incident.owner, step)})
        return self._tell(after, Why.ESCALATED, owner, f"nobody acknowledged it in time: told {owner}")

    def over(self, incident: Incident) -> Incident:
        """Return the closed incident after those who had been told of it were told its end."""
        reason = incident.close_reason
        act = Act(incident=incident.id, at=self.now, kind=ActKind.CLOSED, actor=_QUIET, reason=reason)
        self.pages.add_act(act)
        if incident.alerted is None or not self.settings.tell_end:
            return incident
        chain = self.settings.owners[incident.owner].escalates_to if incident.owner in self.settings.owners else ()
        for owner in (incident.owner, *chain[: incident.step]):
            if owner in self.settings.owners:
                incident = self._tell(incident, Why.ENDED, owner, "")
        return incident

    def _tell(self, incident: Incident, why: Why, owner: str, reason: str) -> Incident:
        told = incident.model_copy(update={"told": incident.told + 1})
        messages = telling(told, why, owner, self.settings.owners[owner].channels, self.now, self.settings.url)
        self._put(messages, owner, why)
        if kind := _ACTS.get(why):
            by = f"{owner}: {reason}" if kind is not ActKind.ESCALATED else reason
            self.pages.add_act(Act(incident=told.id, at=self.now, kind=kind, actor=_ALERTS, reason=by))
        return told

    def _put(self, messages: Sequence[Message], owner: str, why: Why) -> None:
        state = Delivery.WAITING
        if why not in _NEVER_HELD and messages[0].severity is not Severity.CRITICAL:
            told = self.pages.outbox.told_since(owner, self.now - _RATE)
            if told >= self.settings.owners[owner].most_per_hour:
                state = Delivery.HELD
        for message in messages:
            self.pages.outbox.put(message, state)

    def _timer(self, incident: Incident, owner: str, step: int) -> datetime | None:
        """Return when the incident escalates: never if somebody has it, or if there is nobody to escalate to."""
        minutes = self.settings.acknowledge_minutes.get(incident.severity)
        has_next = step < len(self.settings.owners[owner].escalates_to)
        if minutes is None or not has_next or incident.state is not State.OPEN:
            return None
        due = self.now + timedelta(minutes=minutes)
        return min(due, incident.escalate) if incident.escalate is not None and incident.due is None else due
