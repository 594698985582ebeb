"""Decisions by columns have the bits of those one by one."""

import json
from datetime import timedelta

import numpy as np
import pytest

from tests.decisions.conftest import NOON
from tests.ensemble.samples import NAMES, fitted, make_rows
from vigil.decisions.columns import DecidedRows, decide_columns, decision_id
from vigil.decisions.decider import Asked, Decider
from vigil.decisions.policy import Action
from vigil.decisions.reasons import explain
from vigil.ensemble.fitting import EnsembleSettings, fit_ensemble
from vigil.errors import Bug, ContractError
from vigil.members.base import FeatureMatrix, Member, Scores

ROWS = 400
IDS = [f"t{row}" for row in range(ROWS)]
SEGMENTS = [(None, "strict", "unknown")[row % 3] for row in range(ROWS)]


@pytest.fixture(scope="module")
def ruled(decider: Decider) -> Decider:
    """The decider with a member of rules, and with a business score."""
    condition = {"feature": "amount", "is": ">", "value": 1}
    rule = {"name": "large", "when": [condition], "severity": 0.9, "sentence": "the amount is above 1"}
    rules = fitted("rules", make_rows(2_000, 6), rules={"version": 1, "rules": [rule]})
    ensemble = fit_ensemble([*decider.ensemble.members, rules], make_rows(2_000, 7), EnsembleSettings())
    return Decider(decider.bundle, decider.schema, ensemble, decider.thresholds, decider.policy)


@pytest.fixture(scope="module")
def matrix() -> FeatureMatrix:
    return make_rows(ROWS, 3).matrix


@pytest.fixture(scope="module")
def rows(ruled: Decider, matrix: FeatureMatrix) -> DecidedRows:
    return decide_columns(ruled, matrix, IDS, SEGMENTS)


def test_every_value_equals_that_of_decide(ruled: Decider, matrix: FeatureMatrix, rows: DecidedRows) -> None:
    asked = [Asked(*pair) for pair in zip(IDS, SEGMENTS, strict=True)]
    records = ruled.decide(matrix, asked, NOON)
    assert {record.action for record in records} == set(Action)
    for row, record in enumerate(records):
        assert rows.record(row, NOON) == record
        assert decision_id(rows.content(row)) == record.decision_id


def test_the_time_of_a_decision_is_not_part_of_its_id(rows: DecidedRows) -> None:
    assert rows.record(0, NOON).decision_id == rows.record(0, NOON + timedelta(days=1)).decision_id


def test_reasons_for_all_rows_are_those_of_each_row_alone(ruled: Decider, matrix: FeatureMatrix) -> None:
    explained = decide_columns(ruled, matrix, IDS, explain_all=True)
    for row in range(ROWS):
        alone = FeatureMatrix(matrix.values[row : row + 1].copy(), NAMES)
        assert explained.reasons[row] == explain(ruled.ensemble, alone, ruled.schema)


def test_the_content_is_json(rows: DecidedRows) -> None:
    assert json.loads(json.dumps(rows.content(7)))["event_id"] == "t7"


def test_each_vector_needs_a_transaction(ruled: Decider, matrix: FeatureMatrix) -> None:
    with pytest.raises(ContractError, match="400 vectors for 3 transactions"):
        decide_columns(ruled, matrix, IDS[:3])


class _Broken(Member):
    kind = "isolation_forest"

    def _score(self, values: np.ndarray) -> Scores:
        return np.full(len(values), np.nan)

    def _explain(self, values: np.ndarray) -> Scores:
        return np.zeros(values.shape)

    @classmethod
    def _restore(cls, stored: object) -> dict[str, object]:
        return {}


def test_a_score_that_is_not_finite_is_no_decision(decider: Decider, matrix: FeatureMatrix) -> None:
    forest = decider.ensemble.member("isolation_forest")
    broken = _Broken(forest.name, forest.feature_names, forest.threshold, forest.facts)
    ensemble = decider.ensemble.__class__(
        (broken, *decider.ensemble.members[1:]),
        decider.ensemble.curves,
        decider.ensemble.combination,
        decider.ensemble.business,
    )
    with pytest.raises(Bug, match="not finite"):
        decide_columns(
            Decider(decider.bundle, decider.schema, ensemble, decider.thresholds, decider.policy), matrix, IDS
        )
