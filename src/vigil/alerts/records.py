"""What is kept beside incidents: acts of persons and policies, maintenance windows, and reports by people."""

from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, Self

from pydantic import AwareDatetime, Field, model_validator

from vigil.alerts.signals import Document, Signal

Actor = Annotated[str, Field(min_length=1, max_length=200)]
Reason = Annotated[str, Field(min_length=1, max_length=2_000)]


class ActKind(StrEnum):
    """What can be done about an incident, and what becomes of it."""

    OPENED = "opened"
    REOPENED = "reopened"
    MERGED = "merged"
    ALERTED = "alerted"
    GREW = "grew"
    ESCALATED = "escalated"
    ACKNOWLEDGED = "acknowledged"
    SNOOZED = "snoozed"
    CLOSED = "closed"
    REPORTED = "reported"
    UNREACHED = "unreached"
    """A message about it was refused, or given up."""
    TICKET = "ticket"


class Act(Document):
    """One line of the record, which nobody can change."""

    incident: str
    at: AwareDatetime
    kind: ActKind
    actor: Actor
    reason: str = ""


class Window(Document):
    """A maintenance window: what it matches is recorded, and is no incident."""

    id: str
    site: str = "*"
    metric: str = "*"
    type: str = "*"
    since: AwareDatetime
    until: AwareDatetime
    actor: Actor
    reason: Reason

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.until <= self.since:
            raise ValueError("until: has to be after the beginning")
        return self

    def covers(self, signal: Signal) -> bool:
        """Return whether the signal is of its time, by event time, and matches its patterns."""
        pairs = ((signal.site, self.site), (signal.metric, self.metric), (signal.type, self.type))
        return self.since <= signal.at < self.until and all(fnmatchcase(*pair) for pair in pairs)


class Report(Document):
    """What a person noticed."""

    id: str
    site: str = ""
    metric: str = ""
    noticed: AwareDatetime
    reported: AwareDatetime
    reporter: Actor
    text: Reason
    incident: str = Field(description="the one that it is about")
    was_known: bool = Field(description="whether Vigil had opened that incident before the report")
