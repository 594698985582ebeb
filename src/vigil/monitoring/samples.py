"""What is observed of served models: decisions row by row, and what two versions did in the same interval.

Rows feed the drift watch. Slots feed a rollout: counts of a fixed interval, which can be folded one after another into
a sequential test, kept in a status, and folded again later with the same result.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

SCORE_BINS = 50
"""Bins of equal width over [0, 1] in which scores are counted."""

LATENCY_BOUNDS = (
    *(0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03),
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0),
)
"""Upper bounds in seconds of the buckets in which latencies are counted; one more bucket holds what is slower."""


@dataclass(frozen=True)
class Served:
    """Which version decided, and whether its answers went to clients."""

    model: str
    revision: str
    version: str
    bundle: str
    """Hash of the bundle."""
    feature_schema: str
    shadow: bool = False
    """Answers to mirrored requests, which no client has seen."""


@dataclass(frozen=True, eq=False)
class ScoredBatch:
    """Decisions of one version, n rows in any order."""

    served: Served
    event_ids: Sequence[str]
    event_time: NDArray[np.int64]
    """(n,), microseconds since 1970 in UTC: when it happened, not when it was scored."""
    sites: Sequence[str]
    names: tuple[str, ...]
    """Of the features; empty where the answers carried no vectors."""
    values: NDArray[np.float32]
    """(n, len(names)): the vectors that were scored."""
    fields: Mapping[str, Sequence[object]]
    """Raw fields of the requests by name, n entries each, None where a field was missing or null."""
    score: NDArray[np.float64]
    """(n,), in [0, 1]."""
    levels: Mapping[str, NDArray[np.float64]]
    """Calibrated score by member, (n,) each."""
    flagged: NDArray[np.bool_]
    """(n,): whether the decision was to alert or to hold."""

    def __len__(self) -> int:
        return len(self.score)


@dataclass(frozen=True, eq=False)
class LabelBatch:
    """Verdicts that became known, n rows."""

    model: str
    event_ids: Sequence[str]
    known_at: NDArray[np.int64]
    """(n,), microseconds since 1970 in UTC."""
    is_fraud: NDArray[np.bool_]


class _Counts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ArmCounts(_Counts):
    """What one revision did in a slot. Zero where a source does not observe something."""

    requests: int = Field(default=0, ge=0, description="answers whatever their status; clients that left not counted")
    errors: int = Field(default=0, ge=0, description="answers that are the server's fault")
    latency: tuple[int, ...] = Field(default=(), description="answers by bucket of LATENCY_BOUNDS; empty: not observed")
    scored: int = Field(default=0, ge=0, description="decisions")
    flagged: int = Field(default=0, ge=0, description="decisions to alert or to hold")
    scores: tuple[int, ...] = Field(default=(), description="decisions by bin of the score; empty: not observed")
    judged: int = Field(default=0, ge=0, description="flagged decisions whose verdict became known in this slot")
    confirmed: int = Field(default=0, ge=0, description="those of them that were frauds")


class PairCounts(_Counts):
    """Events that candidate and production both decided (one of them as a shadow), compared event by event."""

    pairs: int = Field(default=0, ge=0)
    only_candidate_flagged: int = Field(default=0, ge=0)
    only_production_flagged: int = Field(default=0, ge=0)
    score_differences: tuple[int, ...] = Field(
        default=(), description="pairs by bin of (candidate - production + 1) / 2 over [0, 1], 2 x SCORE_BINS bins"
    )
    vectors: int = Field(default=0, ge=0, description="pairs with vectors of the same feature schema")
    vectors_differing: int = Field(default=0, ge=0, description="pairs whose vectors are not equal bit for bit")
    features_differing: dict[str, int] = Field(default={}, description="pairs by feature that differs")
    judged: int = Field(default=0, ge=0, description="pairs flagged by exactly one side whose verdict became known")
    candidate_right: int = Field(default=0, ge=0, description="judged pairs in which the candidate was right")


class Slot(_Counts):
    """An interval of wall-clock time as one source observed it; it is closed, and never changes again."""

    source: str = Field(
        description="who observed it: `traffic` (errors, latency) or `decisions` (the detector service)"
    )
    number: int = Field(ge=0, description="counts the intervals of this source since 1970; rises, gaps are possible")
    start: float = Field(description="seconds since 1970")
    seconds: float = Field(gt=0)
    arms: dict[str, ArmCounts] = Field(default={}, description="by revision")
    pairs: dict[str, PairCounts] = Field(default={}, description="by `CANDIDATE|PRODUCTION`, names of revisions")
