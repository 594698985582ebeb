"""What is told: to whom, by which channel, because of what, in words."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic import AwareDatetime, Field

from vigil.alerts.incidents import Incident
from vigil.alerts.signals import Document
from vigil.contracts.keys import hash_json
from vigil.decisions.policy import Severity

_SITES = 20


class Why(StrEnum):
    """What a message is for."""

    FIRST = "alert"
    GREW = "grew"
    REOPENED = "reopened"
    ESCALATED = "escalated"
    ENDED = "ended"
    DIGEST = "digest"
    TEST = "test"


class Message(Document):
    """One message by one channel. Its key is the same at each attempt, so that a receiver can tell a second copy."""

    key: str
    incident: str = ""
    why: Why
    owner: str
    channel: str
    severity: Severity
    created: AwareDatetime
    subject: str
    text: str
    content: dict[str, Any] = Field(default={}, description="for machines: the incident")


def key_of(*parts: object) -> str:
    """Return the key of a message: the same parts have the same one."""
    return hash_json([str(part) for part in parts]).removeprefix("sha256:")[:32]


def telling(
    incident: Incident, why: Why, owner: str, channels: Sequence[str], now: datetime, url: str | None = None
) -> list[Message]:
    """Return the messages that tell an owner of an incident, one for each channel; `told` numbers the occasion."""
    subject = subject_of(incident, why)
    text = text_of(incident, why, owner, url)
    return [
        Message(
            key=key_of(incident.id, incident.told, owner, channel),
            incident=incident.id,
            why=why,
            owner=owner,
            channel=channel,
            severity=incident.severity,
            created=now,
            subject=subject,
            text=text,
            content=incident.public(),
        )
        for channel in channels
    ]


_HEADS = {
    Why.GREW: "worse: ",
    Why.REOPENED: "again: ",
    Why.ESCALATED: "nobody has taken it: ",
    Why.ENDED: "over: ",
    Why.TEST: "test: ",
}


def subject_of(incident: Incident, why: Why) -> str:
    """Return one line: severity, what and where."""
    return f"[vigil] {incident.severity} {_HEADS.get(why, '')}{incident.title}"


def text_of(incident: Incident, why: Why, owner: str, url: str | None) -> str:
    """Return what one needs to act: what was seen, since when, why it is thought so, and how to take it."""
    facts: list[tuple[str, str]] = [
        ("Incident", incident.id),
        ("Severity", incident.severity),
        ("Since", f"{_moment(incident.first_seen)}, for {_duration(incident.duration)}"),
        ("Last seen", _moment(incident.last_seen)),
        ("Sites", _some(incident.sites)),
        ("Metrics", _some(incident.metrics)),
        ("Farthest", incident.farthest.summary),
        ("Signals", f"{incident.signals} ({', '.join(incident.kinds)})"),
        ("Model", ", ".join(incident.models)),
        ("Version", ", ".join(incident.versions[:3])),
        ("Reopened", f"{incident.reopened} times" if incident.reopened else ""),
        ("Ticket", incident.ticket),
        ("For", owner),
    ]
    lines = [incident.title, ""] + [f"{name + ':':11}{value}" for name, value in facts if value]
    lines += ["", *(f"- {reason}" for reason in incident.reasons[:5])] if incident.reasons else []
    if why is Why.ENDED:
        lines += ["", f"It is over: {incident.close_reason}."]
    else:
        lines += ["", f'Take it:  vigil alerts ack {incident.id} --reason "..."']
    if url:
        lines.append(f"See it:   {url.rstrip('/')}/v1/incidents/{incident.id}")
    return "\n".join(lines) + "\n"


def digest(held: Sequence[Message], now: datetime) -> Message:
    """Return one message instead of many of the same owner and channel."""
    first = held[0]
    incidents = sorted({one.incident for one in held})
    lines = [f"{len(held)} more messages came than {first.owner} is to get at once:", ""]
    lines += [f"- {one.subject.removeprefix('[vigil] ')} ({one.incident})" for one in held]
    return Message(
        key=key_of("digest", *(one.key for one in held)),
        why=Why.DIGEST,
        owner=first.owner,
        channel=first.channel,
        severity=max((one.severity for one in held), key=list(Severity).index),
        created=now,
        subject=f"[vigil] digest of {len(held)} messages about {len(incidents)} incidents",
        text="\n".join(lines) + "\n\nSee them:  vigil alerts list\n",
        content={"incidents": incidents, "subjects": [one.subject for one in held]},
    )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SITES])
    return shown if len(names) <= _SITES else f"{shown} and {len(names) - _SITES} more"


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _duration(duration: timedelta) -> str:
    minutes = int(duration.total_seconds() // 60)
    days, hours = divmod(minutes // 60, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes % 60:02} min" if hours else f"{minutes} min"
