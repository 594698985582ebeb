"""Decisions of many rows as columns: the same values as `Decider.decide`, without an object for each row."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vigil.contracts.keys import ContentHash, hash_json
from vigil.decisions.decider import Decider
from vigil.decisions.policy import Action, Severity
from vigil.decisions.reasons import Reason, explain_rows
from vigil.decisions.record import DecisionRecord, encode_vector
from vigil.ensemble.model import EnsembleScores
from vigil.errors import Bug, ContractError
from vigil.members.base import FeatureMatrix, Scores


@dataclass(frozen=True, eq=False)
class DecidedRows:
    """What was decided of n rows; each list has n entries."""

    bundle: ContentHash
    feature_schema: ContentHash
    mode: str
    event_id: Sequence[str]
    segment: Sequence[str | None]
    vector: list[str]
    score: list[float]
    levels: dict[str, list[float]]
    business: list[float | None]
    threshold: list[float]
    action: list[str]
    severity: list[str]
    reasons: list[list[Reason]]

    def __len__(self) -> int:
        return len(self.score)

    def content(self, row: int) -> dict[str, Any]:
        """Return the JSON of a row's DecisionRecord, without the time."""
        return {
            "version": 1,
            "event_id": self.event_id[row],
            "bundle": self.bundle,
            "feature_schema": self.feature_schema,
            "vector": self.vector[row],
            "segment": self.segment[row],
            "score": self.score[row],
            "levels": {name: column[row] for name, column in self.levels.items()},
            "business": self.business[row],
            "mode": self.mode,
            "threshold": self.threshold[row],
            "action": self.action[row],
            "severity": self.severity[row],
            "reasons": [vars(reason) for reason in self.reasons[row]],
        }

    def record(self, row: int, at: datetime) -> DecisionRecord:
        """Return the decision of a row."""
        return DecisionRecord.model_validate(self.content(row) | {"decided_at": at})


def decision_id(content: dict[str, Any]) -> str:
    """Return `DecisionRecord.decision_id` of a row's content."""
    return hash_json(content).removeprefix("sha256:")[:32]


def decide_columns(
    decider: Decider,
    matrix: FeatureMatrix,
    event_ids: Sequence[str],
    segments: Sequence[str | None] | None = None,
    *,
    explain_all: bool = False,
) -> DecidedRows:
    """Return the decisions of the rows, with reasons for those that alert or hold, or for all."""
    asked = segments if segments is not None else [None] * len(matrix)
    if not len(event_ids) == len(asked) == len(matrix):
        raise ContractError(f"{len(matrix)} vectors for {len(event_ids)} transactions: give one for each")
    scores = decider.ensemble.score(matrix)
    _check_finite(scores)
    threshold = _thresholds(decider, asked)
    alerted = scores.score >= threshold
    explained = np.arange(len(matrix)) if explain_all else np.flatnonzero(alerted)
    score, limits = scores.score.tolist(), threshold.tolist()
    acts = [(Action.ALLOW.value, Severity.NONE.value)] * len(matrix)
    for row in np.flatnonzero(alerted):
        action, severity = decider.policy.decide(score[row], limits[row])
        acts[row] = (action.value, severity.value)
    return DecidedRows(
        bundle=decider.bundle,
        feature_schema=decider.schema.content_hash,
        mode=scores.mode,
        event_id=event_ids,
        segment=asked,
        vector=[encode_vector(row) for row in matrix.values],
        score=score,
        levels={name: levels.tolist() for name, levels in scores.levels.items()},
        business=_business(scores, len(matrix)),
        threshold=limits,
        action=[act[0] for act in acts],
        severity=[act[1] for act in acts],
        reasons=_reasons(decider, matrix, explained),
    )


def _reasons(decider: Decider, matrix: FeatureMatrix, rows: NDArray[np.intp]) -> list[list[Reason]]:
    """Return the reasons of `rows`, and none for the others."""
    reasons: list[list[Reason]] = [[] for _ in range(len(matrix))]
    if rows.size:
        part = FeatureMatrix(np.ascontiguousarray(matrix.values[rows]), matrix.names)
        for row, found in zip(rows, explain_rows(decider.ensemble, part, decider.schema), strict=True):
            reasons[row] = found
    return reasons


def _thresholds(decider: Decider, segments: Sequence[str | None]) -> Scores:
    overall, by_key = decider.thresholds.overall, decider.thresholds.by_key
    if not by_key:
        return np.full(len(segments), overall)
    return np.array([by_key.get(segment or "", overall) for segment in segments], dtype=np.float64)


def _business(scores: EnsembleScores, rows: int) -> list[float | None]:
    if scores.business is None:
        return [None] * rows
    return [None if value != value else value for value in scores.business.score.tolist()]  # noqa: PLR0124 - NaN


def _check_finite(scores: EnsembleScores) -> None:
    for name, values in {"ensemble": scores.score, **scores.levels}.items():
        if not np.isfinite(values).all():
            raise Bug(f"the score of {name} is not finite: the bundle is broken, roll it back")
