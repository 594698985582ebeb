"""What a rollout is to do: the document that its start fixes, and that nothing changes afterwards."""

from itertools import pairwise

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from vigil.contracts.keys import ContentHash, ModelVersion
from vigil.deployment.request import Target
from vigil.registry.metadata import Slug
from vigil.registry.stages import Actor, Reason
from vigil.rollout.evidence import EvidenceSettings, Minimum, Signal

MINUTE = 60.0
HOUR = 60 * MINUTE
DAY = 24 * HOUR


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Arm(_Document):
    """One of the two versions, with all that is needed to deploy it again."""

    version: ModelVersion
    bundle: ContentHash
    uri: str
    feature_state: str | None = Field(default=None, description="sealed states for a new online store")


class Step(_Document):
    """A share of the traffic, and what it takes to go beyond it."""

    percent: int = Field(ge=0, le=100, description="of the candidate; 0 mirrors the requests to it instead")
    bake_seconds: float = Field(ge=0, description="time under watch, halts not counted")
    minimum_samples: int = Field(ge=0, description="of each version in this step, before the tests may pass it")


class Patience(_Document):
    """How long something may take or be missing before the rollout halts and says so, in seconds."""

    ready: float = Field(default=15 * MINUTE, gt=0, description="for the candidate to be ready; then it has failed")
    evidence: float = Field(
        default=DAY, gt=0, description="for a step to be decided; then it halts and asks a person, and never passes"
    )
    silence: float = Field(default=2 * MINUTE, gt=0, description="without slots, or without an answer of some part")
    split: float = Field(default=2 * MINUTE, gt=0, description="until the asked split is in force")
    gap: float = Field(
        default=MINUTE, gt=0, description="most time that one tick may count; a longer one was not watched"
    )


DEFAULT_STEPS = tuple(
    Step(percent=percent, bake_seconds=10 * MINUTE, minimum_samples=500) for percent in (0, 5, 25, 50, 100)
)


class Place(_Document):
    """Where it is served."""

    target: Target = Target.LOCAL
    namespace: str = "default"
    image: str | None = Field(default=None, description="image of both servers; KServe needs it")
    profile: str = "production"


class Spec(_Document):
    """A rollout of a candidate over the version in production."""

    id: str = Field(pattern=r"^[a-z0-9-]{1,63}$")
    model: Slug
    candidate: Arm
    production: Arm
    place: Place = Place()
    steps: tuple[Step, ...] = Field(
        default=DEFAULT_STEPS, min_length=2, description="the last is 100; without one before it nothing is compared"
    )
    watch_seconds: float = Field(default=7 * DAY, ge=0, description="how long it is watched after the bake")
    cool_down_seconds: float = Field(
        default=6 * HOUR, ge=0, description="after a rollback, in which only a person may start another"
    )
    patience: Patience = Patience()
    evidence: EvidenceSettings = EvidenceSettings()
    detector: bool = Field(default=True, description="whether decisions and drift of the detector service are needed")
    created: AwareDatetime
    actor: Actor
    reason: Reason

    @model_validator(mode="after")
    def _check_steps(self) -> "Spec":
        percents = [step.percent for step in self.steps]
        if percents[-1] != 100 or any(later <= earlier for earlier, later in pairwise(percents)):
            raise ValueError(f"steps rise to 100, not {', '.join(map(str, percents))}")
        if self.candidate.bundle == self.production.bundle:
            raise ValueError("candidate and production are the same bundle: there is nothing to roll out")
        return self

    def settings_at(self, step: int) -> EvidenceSettings:
        """Return the evidence that a step needs: at 100 % nothing is compared any more, it must only stay good."""
        wanted, least = self.steps[step], self.steps[step].minimum_samples
        needed = {Signal.ERRORS, Signal.LATENCY}
        if self.detector:
            needed = set(Signal)
        if wanted.percent == 0:
            needed -= {Signal.ERRORS, Signal.LATENCY}  # no client waits for the answers of a shadow
        if wanted.percent == 100:
            needed = set()
        return self.evidence.model_copy(
            update={
                "required": tuple(signal for signal in self.evidence.required if signal in needed),
                "minimum": Minimum(requests=least, decisions=least, pairs=least, judged=self.evidence.minimum.judged),
            }
        )
