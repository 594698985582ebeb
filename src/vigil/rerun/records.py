"""What is kept of each event that could have started a run: what was decided and why, and what became of the run."""

import hashlib
import re
from enum import StrEnum

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from vigil.monitoring.verdicts import Answer, Cause, DriftVerdict
from vigil.registry.metadata import Slug

FINISHED_EVENT = "vigil.rerun.finished"
"""Type of the CloudEvent whose data is the Rerun as it ended."""

_SHOWN = 3
_LONGEST_CAUSE = 1_000
"""Characters of the cause that a run gets as a parameter: a server keeps it in the object of the run."""


class Decision(StrEnum):
    """What was decided about an event."""

    START = "start"
    NOTHING_TO_DO = "nothing_to_do"
    """The answer to its cause is not a run."""
    COALESCED = "coalesced"
    """A run of the model goes on already; this event belongs to it."""
    COOLING_DOWN = "cooling_down"
    """The last run of the model ended too short a time ago. The same event may come again later."""
    OVER_BUDGET = "over_budget"
    """The model has had its runs of the day. The same event may come again later."""


COME_AGAIN = frozenset({Decision.COOLING_DOWN, Decision.OVER_BUDGET})


class Stage(StrEnum):
    """Where a run stands."""

    INTENDED = "intended"
    """Written down, and perhaps asked for: whoever goes on looks for it before asking again."""
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    SKIPPED = "skipped"

    @property
    def is_over(self) -> bool:
        """Whether it will not change any more."""
        return self not in (Stage.INTENDED, Stage.RUNNING)


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Asked(_Document):
    """A wish for a run: of an event, or of a person."""

    event_id: str = Field(min_length=1, max_length=200)
    model: Slug
    answer: Answer = Answer.RERUN
    cause: Cause | None = Field(default=None, description="None where a person asks")
    summary: str = Field(min_length=1, description="one sentence: why")
    evidence: tuple[str, ...] = Field(default=(), description="strongest first, in words")
    started_by: str = Field(default="policy:drift", description="person:NAME or policy:NAME")
    force: bool = Field(default=False, description="whether cool-down and budget are overruled")

    @property
    def why(self) -> str:
        """The cause as a run gets it: what changed and the strongest evidence."""
        head = f"{self.cause}: {self.summary}" if self.cause else self.summary
        return "; ".join((head, *self.evidence[:_SHOWN]))[:_LONGEST_CAUSE]


class Outcome(_Document):
    """What a run that is over has brought."""

    version: str | None = Field(default=None, description="the registered version")
    bundle: str | None = None
    feature_state: str | None = Field(default=None, description="address of the states that belong to it")
    reason: str = Field(default="", description="why there is no version, or what failed")
    followed_by: str = Field(default="", description="what was started with the version")


class Rerun(_Document):
    """An event, the decision about it, and its run."""

    asked: Asked
    decision: Decision
    why: str = Field(description="of the decision, for a person")
    received: AwareDatetime
    told: int = Field(default=1, ge=1, description="how often the event came")
    run: str | None = Field(default=None, description="name of its run, or of the one that it was added to")
    run_id: str | None = None
    url: str | None = None
    stage: Stage | None = Field(default=None, description="of a run of its own")
    attempts: int = Field(default=0, ge=0, description="how often the run was asked for")
    due: AwareDatetime | None = Field(default=None, description="when to look at it again")
    started: AwareDatetime | None = None
    ended: AwareDatetime | None = None
    trouble: str = Field(default="", description="what did not answer the last time")
    outcome: Outcome | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is something left to do for it."""
        return self.stage is not None and not self.stage.is_over

    @property
    def counts(self) -> bool:
        """Whether it is a run, for cool-down and budget: one goes on or was there."""
        return self.is_open or self.started is not None


def asked_by(verdict: DriftVerdict) -> Asked:
    """Return the wish in a verdict; the same verdict has the same event id."""
    return Asked(
        event_id=verdict.id,
        model=verdict.model,
        answer=verdict.answer,
        cause=verdict.cause,
        summary=verdict.summary,
        evidence=tuple(one.statement for one in verdict.evidence),
    )


def run_name(model: str, event_id: str) -> str:
    """Return the name of the run of an event: the same event has the same run."""
    digest = hashlib.sha256(event_id.encode()).hexdigest()[:12]
    return f"retrain-{re.sub(r'[^a-z0-9-]', '-', model.lower())}-{digest}"
