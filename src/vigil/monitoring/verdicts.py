"""What the watch says of a served model: whether it drifts, by which cause, on which evidence, and what to do."""

from enum import StrEnum

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from vigil.contracts.keys import hash_json

DRIFT_EVENT = "vigil.drift.detected"
"""Type of the CloudEvent whose data is a DriftVerdict, and whose id is the verdict's."""

DRIFT_ENDED_EVENT = "vigil.drift.ended"


class Cause(StrEnum):
    """Why what is served has changed."""

    DATA_BROKEN = "data_broken"
    """A feed is silent, a unit or schema changed, nulls came up."""
    MODEL_WORSE = "model_worse"
    """Scores drift while inputs do not, the previous version disagrees, or matured precision falls."""
    POPULATION_MOVED = "population_moved"
    """Inputs drift, and both versions agree on them."""
    UNDECIDED = "undecided"
    """The evidence contradicts itself or is too thin."""


class Answer(StrEnum):
    """What is done about a cause."""

    HOLD = "hold"
    """Nothing is rolled back or trained; the owner of the feed is told."""
    ROLL_BACK = "roll_back"
    RERUN = "rerun"
    ASK = "ask"
    """Halt, and ask a person."""


ANSWERS = {
    Cause.DATA_BROKEN: Answer.HOLD,
    Cause.MODEL_WORSE: Answer.ROLL_BACK,
    Cause.POPULATION_MOVED: Answer.RERUN,
    Cause.UNDECIDED: Answer.ASK,
}


class State(StrEnum):
    """Where the watch over one revision stands."""

    WARMING = "warming"
    """Too few decisions yet to say anything."""
    STEADY = "steady"
    DRIFTING = "drifting"


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Evidence(_Document):
    """One observation, in words and as a number."""

    kind: str = Field(description="input, missingness, score, member, anomaly_rate, precision, disagreement, feed")
    subject: str = Field(description="the feature, member, field, site or feed that it is about")
    statement: str = Field(description="a sentence for a person, with the numbers")
    strength: float = Field(description="log10 of the evidence against no change: 3 is a chance of 1 in 1,000")
    points_to: Cause | None = Field(default=None, description="the cause that it speaks for, if for one")


class DriftVerdict(_Document):
    """A change of a served model that the watch is sure of."""

    model: str
    revision: str
    version: str
    bundle: str
    cause: Cause
    answer: Answer
    summary: str = Field(description="one sentence: what changed, since when, by which cause, what is done")
    evidence: tuple[Evidence, ...] = Field(min_length=1, description="strongest first")
    first_seen: AwareDatetime = Field(description="event time of the first window in the alarm")
    at: AwareDatetime = Field(description="event time at the end of the last window")
    rows: int = Field(ge=0, description="decisions in the windows of the alarm")
    sites: tuple[str, ...] = Field(default=(), description="where it shows, if not everywhere")
    plot: str | None = Field(default=None, description="path or URL of a picture of the evidence")

    @property
    def id(self) -> str:
        """The same change of the same revision by the same cause has the same id, however often it is told."""
        told = [self.model, self.revision, self.bundle, self.cause, self.first_seen.isoformat()]
        return hash_json(told).removeprefix("sha256:")[:32]


class WatchStatus(_Document):
    """The watch over one revision as it is: the answer of the detector service's API."""

    model: str
    revision: str
    version: str
    bundle: str
    state: State
    verdict: DriftVerdict | None = Field(default=None, description="while drifting; the last one")
    rows: int = Field(ge=0, description="decisions seen")
    windows: int = Field(ge=0, description="windows judged")
    watermark: AwareDatetime | None = Field(default=None, description="event time up to which all is judged")
    anomaly_rate: float | None = Field(default=None, description="of the last window")
    precision: float | None = Field(default=None, description="of matured verdicts in the last windows")
    features: dict[str, float] = Field(default={}, description="strength by feature, largest first, at most 20")
