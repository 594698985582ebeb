"""Where a rollout stands: everything that a controller needs to go on after its death."""

from enum import StrEnum
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from vigil.contracts.keys import ContentHash
from vigil.registry.stages import Actor, Reason
from vigil.rollout.evidence import Evidence, Judgement, Samples
from vigil.rollout.spec import Spec


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Phase(StrEnum):
    """Where a rollout is on its way."""

    STARTING = "starting"
    """The candidate comes up without traffic."""
    SHADOWING = "shadowing"
    CANARY = "canary"
    BAKING = "baking"
    """The candidate has all traffic, and the version before is kept warm."""
    PROMOTING = "promoting"
    """The registry is told."""
    WATCHING = "watching"
    ROLLING_BACK = "rolling_back"
    SUCCEEDED = "succeeded"
    ROLLED_BACK = "rolled_back"
    ABORTED = "aborted"
    FAILED = "failed"
    """The candidate never got ready; it never had traffic."""


STEPPING = frozenset({Phase.SHADOWING, Phase.CANARY, Phase.BAKING})
FINAL = frozenset({Phase.SUCCEEDED, Phase.ROLLED_BACK, Phase.ABORTED, Phase.FAILED})


class HoldKind(StrEnum):
    """Why a rollout halts. Each ends by itself when its cause does."""

    CLOCK = "clock"
    SERVING = "serving"
    TRAFFIC = "traffic"
    DECISIONS = "decisions"
    WATCH = "watch"
    REGISTRY = "registry"
    AUDIT = "audit"
    SPLIT = "split"
    """The counted share of the requests, or the split of the status, is not what was asked for."""
    CANDIDATE = "candidate"
    """It was ready, and is not now."""
    DRIFT = "drift"
    """The watch found a change that no rollout answers."""
    INCONCLUSIVE = "inconclusive"


class Hold(_Document):
    """A reason to halt: the split stays as it is."""

    kind: HoldKind
    text: str


class Wish(_Document):
    """What is to serve: the intent that is executed until it is observed."""

    percent: int = Field(ge=0, le=100, description="of the candidate; production gets the rest")
    shadow: Literal["none", "candidate", "production"] = "none"
    candidate: bool = Field(default=True, description="whether the candidate is to run")


class Request(_Document):
    """What a person, or a policy, wants of a running rollout."""

    id: str
    at: AwareDatetime
    actor: Actor
    reason: Reason
    action: Literal["pause", "resume", "promote", "abort"]
    fully: bool = Field(default=False, description="promote through all steps, not one")


class ActKind(StrEnum):
    """What an act was."""

    START = "start"
    STEP = "step"
    HALT = "halt"
    RESUME = "resume"
    PAUSE = "pause"
    PROMOTE = "promote"
    REFUSE = "refuse"
    """Something was asked that could not be done."""
    ABORT = "abort"
    ROLLBACK = "rollback"
    ROLLED_BACK = "rolled_back"
    ABORTED = "aborted"
    SUCCEED = "succeed"
    FAIL = "fail"


class Act(_Document):
    """One thing that was done: an entry of the audit log before it has its place in the chain."""

    number: int = Field(ge=1, description="its place in the log of the model")
    rollout: str
    kind: ActKind
    at: AwareDatetime
    actor: Actor
    reason: str = Field(min_length=1, max_length=4000)
    phase: Phase
    percent: int
    version: str
    evidence: ContentHash | None = Field(default=None, description="hash of the evidence that was there")


class Pause(_Document):
    """Who paused, when and why."""

    actor: Actor
    reason: str
    at: AwareDatetime


class Counted(_Document):
    """Requests since the split of this step was in force, by who served them."""

    candidate: int = 0
    production: int = 0


class Status(_Document):
    """Where a rollout stands."""

    phase: Phase = Phase.STARTING
    step: int = Field(default=0, ge=0, description="index of the step")
    since: AwareDatetime = Field(description="of this phase or step")
    ticked: AwareDatetime | None = None
    watched: float = Field(default=0, ge=0, description="seconds of this step in force and under watch")
    waited: float = Field(default=0, ge=0, description="seconds for which the candidate, or the split, is waited for")
    wish: Wish = Wish(percent=0)
    in_force: AwareDatetime | None = Field(default=None, description="since when the wish is observed to be true")
    observed: int | None = Field(default=None, description="percent of the candidate as the place of serving says")
    counted: Counted = Counted()
    served: int = Field(default=0, ge=0, description="answers of the candidate that clients have seen, in all steps")
    before: Samples = Field(default=Samples(), description="what had been seen when this step began")
    holds: tuple[Hold, ...] = ()
    paused: Pause | None = None
    evidence: Evidence = Evidence()
    judgement: Judgement | None = None
    cursors: dict[str, int] = Field(default={}, description="number of the slot folded last, by source")
    silence: dict[str, float] = Field(default={}, description="seconds without an answer or a slot, by part")
    failed_before: bool = Field(default=False, description="the candidate is seen failed from an earlier attempt")
    candidate_revision: str | None = None
    production_revision: str | None = None
    old_verdicts: tuple[str, ...] | None = Field(default=None, description="of the watch, from before this rollout")
    cause: str | None = Field(default=None, description="why it ends as it does")
    ending: Phase | None = Field(default=None, description="what it will be called when it is rolled back")
    acts: int = Field(default=0, description="acts decided so far, earlier rollouts of the model included")
    outbox: tuple[Act, ...] = Field(default=(), description="acts that are not yet seen in the log")
    logged: int = Field(default=0, description="entries of the log that were seen")
    head: ContentHash | None = Field(default=None, description="hash of the last of them")
    settled: bool = Field(default=False, description="nothing more will be done")
    ended: AwareDatetime | None = None
    message: str = ""

    @property
    def samples(self) -> int:
        """How much of the candidate was seen in this step."""
        came = self.evidence.samples.since(self.before)
        return max(came.requests, came.decisions)

    @property
    def over(self) -> bool:
        """Whether the outcome is known."""
        return self.phase in FINAL

    @property
    def standing(self) -> str:
        """Return in a word how it stands: `paused` and `halted` hide the phase."""
        if self.over or self.phase is Phase.ROLLING_BACK:
            return str(self.phase)
        return "paused" if self.paused else "halted" if self.holds else str(self.phase)


class Record(_Document):
    """All that is kept of a rollout: one object, changed by compare-and-swap only."""

    layout: int = 1
    spec: Spec
    status: Status
    requests: tuple[Request, ...] = Field(default=(), description="that the next tick takes")
