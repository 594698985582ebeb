"""What has been learned so far of a candidate: a document that is kept in a status and folded further."""

from pydantic import BaseModel, ConfigDict, Field

from vigil.monitoring.samples import ArmCounts, PairCounts


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Wealth(_Document):
    """One sequential test: what bets on `worse` and on `fine` have won so far, as logarithms."""

    worse: tuple[float, ...] = Field(default=(), description="by size of the bet, those not yet placed left out")
    fine: tuple[float, ...] = Field(default=(), description="by size of the bet")
    rounds: int = Field(default=0, ge=0, description="slots that told something")
    suspect: float = Field(default=0, ge=0, description="outcomes of the arm that is suspected of too many")
    suspect_of: float = Field(default=0, ge=0, description="out of so many")
    other: float = Field(default=0, ge=0, description="outcomes of the other arm in the same slots")
    other_of: float = Field(default=0, ge=0, description="out of so many")
    spread: float = Field(default=0, ge=0, description="squared deviations of slots, about 1 each without bursts")
    spread_of: int = Field(default=0, ge=0, description="slots in `spread`")


class Samples(_Document):
    """How much has been seen. A step's own samples are those at its end less those at its start."""

    requests: int = Field(default=0, ge=0, description="the candidate's answers")
    production_requests: int = Field(default=0, ge=0)
    decisions: int = Field(default=0, ge=0, description="the candidate's decisions")
    production_decisions: int = Field(default=0, ge=0)
    production_flagged: int = Field(default=0, ge=0, description="those of them to alert or to hold")
    pairs: int = Field(default=0, ge=0, description="events that both decided")
    vectors: int = Field(default=0, ge=0, description="events with vectors of both")
    judged: int = Field(default=0, ge=0, description="the candidate's flagged decisions with a verdict")
    judged_pairs: int = Field(default=0, ge=0, description="events flagged by one side only, with a verdict")

    def plus(self, candidate: ArmCounts, production: ArmCounts, pair: PairCounts) -> "Samples":
        """Return the samples with those of a slot added."""
        return Samples(
            requests=self.requests + candidate.requests,
            production_requests=self.production_requests + production.requests,
            decisions=self.decisions + candidate.scored,
            production_decisions=self.production_decisions + production.scored,
            production_flagged=self.production_flagged + production.flagged,
            pairs=self.pairs + pair.pairs,
            vectors=self.vectors + pair.vectors,
            judged=self.judged + candidate.judged,
            judged_pairs=self.judged_pairs + pair.judged,
        )

    def since(self, earlier: "Samples") -> "Samples":
        """Return what came after `earlier`."""
        return Samples(**{name: getattr(self, name) - getattr(earlier, name) for name in type(self).model_fields})


class Evidence(_Document):
    """All that slots have told of a candidate; the same slots in the same order give the same evidence."""

    tests: dict[str, Wealth] = Field(default={}, description="by name of the test; those without a slot are absent")
    samples: Samples = Samples()
    last: dict[str, int] = Field(default={}, description="number of the last slot by source")
    latency: tuple[float, ...] = Field(default=(), description="production's answers by bucket, older ones fading")
    scores: tuple[float, ...] = Field(default=(), description="production's decisions by bin, older ones fading")
    features: dict[str, int] = Field(default={}, description="pairs by feature that differs")
