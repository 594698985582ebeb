"""What counts as worse, how sure a verdict has to be, and how much must have been seen."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Signal(StrEnum):
    """What a candidate is watched for."""

    ERRORS = "errors"
    LATENCY = "latency"
    FLAG_RATE = "flag_rate"
    SCORES = "scores"
    PRECISION = "precision"
    VECTORS = "vectors"


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Tolerance(_Settings):
    """A difference that does not matter: the candidate's rate may be `ratio` x production's rate + `margin`."""

    ratio: float = Field(default=1.0, ge=1)
    margin: float = Field(default=0.0, ge=0)


class Minimum(_Settings):
    """Samples below which nothing is passed, however good they look."""

    requests: int = Field(default=200, ge=0, description="answers of each arm")
    decisions: int = Field(default=200, ge=0, description="decisions of each arm")
    pairs: int = Field(default=200, ge=0, description="events that both versions decided")
    judged: int = Field(default=20, ge=0, description="verdicts on flagged events, where precision is required")


class EvidenceSettings(_Settings):
    """How candidate and production are compared; the defaults are those that `make bench-rollout` measures."""

    false_rollback: float = Field(
        default=0.005, gt=0, lt=1, description="chance that a rollout of an equal candidate ends in a rollback"
    )
    false_pass: float = Field(
        default=0.01, gt=0, lt=1, description="chance, for each test, that what is worse than its tolerance is passed"
    )
    pass_slack: float = Field(
        default=3,
        ge=1,
        description="a pass rules out what is beyond this many margins; what lies between is watched on, step by step",
    )
    errors: Tolerance = Tolerance(ratio=1.25, margin=0.004)
    error_limit: float = Field(
        default=0.05, gt=0, lt=1, description="share of errors that is tolerated where production answers nobody"
    )
    latency: Tolerance = Tolerance(ratio=1.1, margin=0.03)
    latency_factor: float = Field(
        default=1.25,
        ge=1,
        le=1.3,
        description="slower by this factor does not matter: less than two bounds of latency are apart",
    )
    flag_rate: Tolerance = Tolerance(ratio=1.5, margin=0.01)
    scores: Tolerance = Tolerance(ratio=1.5, margin=0.1)
    score_step: float = Field(
        default=0.05, gt=0, lt=1, description="differences of the two scores of an event up to this do not matter"
    )
    precision: Tolerance = Tolerance(ratio=1.0, margin=0.05)
    paired_precision: Tolerance = Tolerance(ratio=1.25, margin=0.0)
    vectors: Tolerance = Tolerance(margin=0.01)
    minimum: Minimum = Minimum()
    required: tuple[Signal, ...] = Field(
        default=(Signal.ERRORS, Signal.LATENCY, Signal.FLAG_RATE, Signal.SCORES),
        description="signals that must be fine for a pass; the others are only asked whether they are worse",
    )
