"""Runs a model over feature vectors and turns scores into decisions; what a predictor holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from vigil.contracts.keys import ContentHash
from vigil.decisions.policy import DecisionPolicy
from vigil.decisions.reasons import Reason, explain
from vigil.decisions.record import DecisionRecord, ReasonRecord, encode_vector
from vigil.ensemble.model import Ensemble, EnsembleScores
from vigil.errors import ContractError
from vigil.evaluation.thresholds import Thresholds
from vigil.features.schema import FeatureSchema
from vigil.members.base import FeatureMatrix


@dataclass(frozen=True)
class Asked:
    """What is known of a transaction besides its features."""

    event_id: str
    segment: str | None = None
    """Key of its threshold, where thresholds differ by segment."""


@dataclass(frozen=True, eq=False)
class Decider:
    """A loaded model with its thresholds and policy."""

    bundle: ContentHash
    schema: FeatureSchema
    ensemble: Ensemble
    thresholds: Thresholds
    policy: DecisionPolicy

    def decide(
        self, matrix: FeatureMatrix, asked: Sequence[Asked], at: datetime, missing: frozenset[str] = frozenset()
    ) -> list[DecisionRecord]:
        """Return one decision for each row; those that alert or hold carry their reasons."""
        if len(asked) != len(matrix):
            raise ContractError(f"{len(matrix)} vectors for {len(asked)} transactions: give one for each")
        scores = self.ensemble.score(matrix, missing)
        return [self._record(matrix, scores, row, which, at) for row, which in enumerate(asked)]

    def replay(self, record: DecisionRecord) -> DecisionRecord:
        """Return the decision made again from its record; it equals the record unless the model is another one."""
        if record.bundle != self.bundle:
            raise ContractError(f"decision {record.event_id} was made by {record.bundle}, this is {self.bundle}")
        matrix = FeatureMatrix(record.features().reshape(1, -1), self.schema.names)
        left_out = frozenset(member.name for member in self.ensemble.members) - set(record.levels)
        return self.decide(matrix, [Asked(record.event_id, record.segment)], record.decided_at, left_out)[0]

    def _record(
        self, matrix: FeatureMatrix, scores: EnsembleScores, row: int, asked: Asked, at: datetime
    ) -> DecisionRecord:
        score = float(scores.score[row])
        threshold = self.thresholds.by_key.get(asked.segment or "", self.thresholds.overall)
        action, severity = self.policy.decide(score, threshold)
        business = None if scores.business is None else float(scores.business.score[row])
        return DecisionRecord(
            event_id=asked.event_id,
            decided_at=at,
            bundle=self.bundle,
            feature_schema=self.schema.content_hash,
            vector=encode_vector(matrix.values[row]),
            segment=asked.segment,
            score=score,
            levels={name: float(levels[row]) for name, levels in scores.levels.items()},
            business=None if business is None or np.isnan(business) else business,
            mode=scores.mode,
            threshold=threshold,
            action=action,
            severity=severity,
            reasons=self._reasons(matrix, row) if score >= threshold else (),
        )

    def _reasons(self, matrix: FeatureMatrix, row: int) -> tuple[ReasonRecord, ...]:
        one = FeatureMatrix(np.ascontiguousarray(matrix.values[row : row + 1]), matrix.names)
        found: list[Reason] = explain(self.ensemble, one, self.schema)
        return tuple(ReasonRecord(**vars(reason)) for reason in found)
