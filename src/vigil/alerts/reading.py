"""CloudEvents to signals. Documents of other parts are read by what is needed of them; the rest may change."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat

from vigil.alerts.findings import FINDING_EVENT, FINDINGS_EVENT, Finding, FindingBatch
from vigil.alerts.signals import AlertType, Signal
from vigil.contracts.cloud_events import CloudEvent
from vigil.decisions.log import LoggedDecision
from vigil.decisions.policy import Action, Severity

DECISION_EVENT = "vigil.decision.made"
"""Type of the CloudEvent whose data is a line of the decision log, with `site_id` where it is known."""

ALERT_EVENT = "vigil.alert.raised"
"""Type of the CloudEvent whose data is a Signal, of any alert type."""

DRIFT_EVENT = "vigil.drift.detected"
DRIFT_ENDED_EVENT = "vigil.drift.ended"
ROLLOUT_EVENT = "vigil.rollout.finished"
RERUN_EVENT = "vigil.rerun.finished"

_LONGEST, _LONGEST_REASON = 1_000, 500
_REASONS = 5


class _Seen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Statement(_Seen):
    statement: str


class _Drift(_Seen):
    model: str
    revision: str
    version: str = ""
    cause: str
    answer: str
    summary: str
    evidence: tuple[_Statement, ...] = ()
    first_seen: AwareDatetime
    at: AwareDatetime
    sites: tuple[str, ...] = ()


class _Rollout(_Seen):
    rollout: str
    model: str
    candidate: str
    production: str = ""
    outcome: str
    cause: str | None = None
    ended: AwareDatetime | None = None


class _Wish(_Seen):
    event_id: str
    model: str
    summary: str


class _Outcome(_Seen):
    reason: str = ""


class _Rerun(_Seen):
    asked: _Wish
    run: str | None = None
    stage: str | None = None
    ended: AwareDatetime | None = None
    url: str | None = None
    outcome: _Outcome | None = None


class _Reason(_Seen):
    sentence: str


class Decided(_Seen):
    """What an alert needs of a decision."""

    event_id: str = Field(min_length=1)
    decided_at: AwareDatetime
    action: Action
    severity: Severity
    score: FiniteFloat
    threshold: FiniteFloat
    reasons: tuple[_Reason, ...] = ()
    segment: str | None = None
    decision_id: str = ""
    model: str = ""
    model_version: str = ""
    site_id: str = ""

    def signal(self) -> Signal | None:
        """Return what it asks attention for; None for a transaction that was let pass."""
        if self.action is Action.ALLOW:
            return None
        held = self.action is Action.HOLD
        what = "is held for review" if held else "looks like fraud"
        return Signal(
            type=AlertType.FRAUD_HOLD if held else AlertType.FRAUD_ALERT,
            at=self.decided_at,
            severity=self.severity,
            summary=f"transaction {self.event_id} {what}: score {self.score:.3f}, threshold {self.threshold:.3f}",
            site=self.site_id,
            metric=self.segment or "transactions",
            subject=self.event_id,
            kind=self.action,
            value=self.score,
            high=self.threshold,
            model=self.model,
            version=self.model_version,
            reasons=_texts(one.sentence for one in self.reasons[:_REASONS]),
        )


@dataclass(frozen=True)
class Read:
    """The signals of an event, and up to when everything is scored, if the event says so."""

    signals: tuple[Signal, ...]
    scored_until: datetime | None = None


def read_signals(event: CloudEvent, received: datetime) -> Read:
    """Return what an event asks attention for: nothing, for a type that never does."""
    if event.type == FINDINGS_EVENT:
        batch = FindingBatch.model_validate(event.json())
        return Read(tuple(one.signal() for one in batch.findings), batch.scored_until)
    reader = _READERS.get(event.type)
    found = reader(event, event.time or received) if reader else None
    return Read(() if found is None else (found,))


def signals_of_decisions(
    decisions: Iterable[LoggedDecision], sites: Mapping[str, str] | None = None
) -> Iterator[Signal]:
    """Yield the signals of a decision log; `sites` are those of the transactions, where they are known."""
    for one in decisions:
        record = one.record
        found = Decided(
            **record.model_dump(include=set(Decided.model_fields)),
            decision_id=one.decision_id,
            model=one.model,
            model_version=one.model_version,
            site_id=(sites or {}).get(record.event_id, ""),
        ).signal()
        if found is not None:
            yield found


def _finding(event: CloudEvent, _: datetime) -> Signal:
    return Finding.model_validate(event.json()).signal()


def _decision(event: CloudEvent, _: datetime) -> Signal | None:
    return Decided.model_validate(event.json()).signal()


def _raised(event: CloudEvent, _: datetime) -> Signal:
    return Signal.model_validate(event.json())


_DRIFT_SEVERITIES = {"hold": Severity.HIGH, "ask": Severity.HIGH, "roll_back": Severity.HIGH}


def _drift(event: CloudEvent, at: datetime) -> Signal:
    told = _Drift.model_validate(event.json())
    ended = event.type == DRIFT_ENDED_EVENT
    return Signal(
        type=AlertType.FEED_BROKEN if told.cause == "data_broken" else AlertType.DRIFT,
        at=at if ended else told.first_seen,
        severity=_DRIFT_SEVERITIES.get(told.answer, Severity.MEDIUM),
        summary=told.summary[:_LONGEST],
        site=told.sites[0] if len(told.sites) == 1 else "",
        metric=told.model,
        subject=f"{told.revision} {told.cause}",
        kind=told.cause,
        model=told.model,
        version=told.version,
        reasons=_texts((*(one.statement for one in told.evidence[:_REASONS]), _shown_at(told.sites))),
        ended=ended,
    )


def _rollout(event: CloudEvent, at: datetime) -> Signal | None:
    told = _Rollout.model_validate(event.json())
    if told.outcome == "succeeded":
        return None
    return Signal(
        type=AlertType.ROLLOUT,
        at=told.ended or at,
        severity=Severity.MEDIUM if told.outcome == "aborted" else Severity.HIGH,
        summary=f"rollout of {told.model} {told.candidate} ended as {told.outcome.replace('_', ' ')}: "
        f"{told.cause or 'no cause is given'}"[:_LONGEST],
        metric=told.model,
        subject=told.rollout,
        kind=told.outcome,
        model=told.model,
        version=told.candidate,
        reasons=_texts((told.production and f"production is {told.production}",)),
    )


def _rerun(event: CloudEvent, at: datetime) -> Signal | None:
    told = _Rerun.model_validate(event.json())
    if told.stage == "succeeded":
        return None
    why = told.outcome.reason if told.outcome and told.outcome.reason else "no reason is given"
    return Signal(
        type=AlertType.RERUN,
        at=told.ended or at,
        severity=Severity.MEDIUM,
        summary=f"retraining of {told.asked.model} ended as {told.stage}: {why}"[:_LONGEST],
        metric=told.asked.model,
        subject=told.run or told.asked.event_id,
        kind=told.stage or "",
        model=told.asked.model,
        reasons=_texts((told.asked.summary, told.url or "")),
    )


def _texts(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(text[:_LONGEST_REASON] for text in texts if text)


def _shown_at(sites: Sequence[str]) -> str:
    """Return where drift shows, if that is neither everywhere nor the one site of the signal."""
    return f"it shows at {len(sites)} sites: {', '.join(sites)}" if len(sites) > 1 else ""


_READERS: Mapping[str, Callable[[CloudEvent, datetime], Signal | None]] = {
    FINDING_EVENT: _finding,
    DECISION_EVENT: _decision,
    ALERT_EVENT: _raised,
    DRIFT_EVENT: _drift,
    DRIFT_ENDED_EVENT: _drift,
    ROLLOUT_EVENT: _rollout,
    RERUN_EVENT: _rerun,
}
