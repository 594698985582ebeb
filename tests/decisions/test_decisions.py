import numpy as np
import pytest

from tests.decisions.conftest import NOON
from tests.ensemble.samples import NAMES, fitted, make_rows
from vigil.contracts.keys import hash_bytes
from vigil.decisions.decider import Asked, Decider
from vigil.decisions.policy import Action, DecisionPolicy, Severity
from vigil.decisions.reasons import explain, in_words
from vigil.decisions.record import DecisionRecord
from vigil.ensemble.fitting import EnsembleSettings, fit_ensemble
from vigil.errors import ContractError
from vigil.features.definitions import FeatureConfig
from vigil.features.schema import describe
from vigil.members.base import FeatureMatrix


@pytest.fixture(scope="module")
def records(decider: Decider) -> list[DecisionRecord]:
    matrix = make_rows(400, 3).matrix
    return decider.decide(matrix, [Asked(f"t{k}") for k in range(400)], NOON)


@pytest.mark.parametrize(
    ("score", "action", "severity"),
    [
        (0.39, Action.ALLOW, Severity.NONE),
        (0.40, Action.ALERT, Severity.LOW),
        (0.56, Action.ALERT, Severity.MEDIUM),
        (0.71, Action.ALERT, Severity.HIGH),
        (0.89, Action.HOLD, Severity.CRITICAL),
        (1.00, Action.HOLD, Severity.CRITICAL),
    ],
)
def test_action_and_severity_rise_with_the_way_from_threshold_to_one(
    score: float, action: Action, severity: Severity
) -> None:
    assert DecisionPolicy().decide(score, 0.4) == (action, severity)


def test_a_threshold_of_one_alerts_only_at_one() -> None:
    assert DecisionPolicy().decide(0.999, 1.0)[0] is Action.ALLOW
    assert DecisionPolicy().decide(1.0, 1.0) == (Action.HOLD, Severity.CRITICAL)


def test_what_is_held_is_configuration() -> None:
    assert DecisionPolicy(hold_from=Severity.MEDIUM).decide(0.55, 0.4)[0] is Action.HOLD
    with pytest.raises(ValueError, match="would hold every transaction"):
        DecisionPolicy(hold_from=Severity.NONE)
    with pytest.raises(ValueError, match="must rise"):
        DecisionPolicy(medium_from=0.9)


def test_alerts_carry_reasons_and_allowed_rows_none(records: list[DecisionRecord]) -> None:
    assert {record.action for record in records} == {Action.ALLOW, Action.ALERT, Action.HOLD}
    for record in records:
        assert bool(record.reasons) == (record.action is not Action.ALLOW)


def test_reasons_name_the_planted_cause_and_hear_every_source(decider: Decider) -> None:
    values = np.zeros((1, len(NAMES)), dtype=np.float32)
    values[0, :2] = (6.0, 4.0)
    values[0, 3:] = 0.8
    record = decider.decide(FeatureMatrix(values, NAMES), [Asked("t")], NOON)[0]
    assert record.reasons[0].feature == "amount"
    assert record.reasons[0].sentence == "amount is 6 currency (why amount)"
    assert "business" in {reason.source for reason in record.reasons}
    assert len({reason.feature for reason in record.reasons}) == len(record.reasons)
    assert all(0 <= reason.share <= 1 for reason in record.reasons)


def test_a_rule_that_is_hit_speaks_for_itself(decider: Decider) -> None:
    condition = {"feature": "amount", "is": ">", "value": 5}
    rule = {"name": "large", "when": [condition], "severity": 0.9, "sentence": "the amount is above 5"}
    rows = make_rows(2_000, 6)
    rules = fitted("rules", rows, rules={"version": 1, "rules": [rule]})
    ensemble = fit_ensemble([*decider.ensemble.members, rules], make_rows(2_000, 7), EnsembleSettings())
    values = np.zeros((2, len(NAMES)), dtype=np.float32)
    values[0, 0] = 6.0
    hit, missed = (explain(ensemble, FeatureMatrix(values[k : k + 1].copy(), NAMES), decider.schema) for k in range(2))
    assert "the amount is above 5" in in_words(hit)
    assert "the amount is above 5" not in in_words(missed)


def test_a_decision_is_replayed_bit_for_bit_from_its_stored_record(
    decider: Decider, records: list[DecisionRecord]
) -> None:
    for record in records[:40]:
        stored = DecisionRecord.model_validate_json(record.model_dump_json())
        assert decider.replay(stored) == record
        assert decider.replay(stored).decision_id == record.decision_id


def test_a_degraded_decision_is_replayed_in_its_own_mode(decider: Decider) -> None:
    matrix = make_rows(5, 4).matrix
    record = decider.decide(matrix, [Asked(f"t{k}") for k in range(5)], NOON, frozenset({"boosted"}))[0]
    assert record.mode == "without boosted"
    assert decider.replay(record) == record


def test_a_changed_record_is_not_what_the_model_decided(decider: Decider, records: list[DecisionRecord]) -> None:
    forged = records[0].model_copy(update={"score": 0.123})
    assert decider.replay(forged) != forged


def test_another_model_refuses_to_replay(decider: Decider, records: list[DecisionRecord]) -> None:
    other = records[0].model_copy(update={"bundle": hash_bytes(b"other")})
    with pytest.raises(ContractError, match="was made by sha256:"):
        decider.replay(other)


def test_a_segment_has_its_own_threshold_and_an_unknown_one_the_global(decider: Decider) -> None:
    matrix = FeatureMatrix(np.zeros((2, len(NAMES)), dtype=np.float32), NAMES)
    strict, other = decider.decide(matrix, [Asked("a", "strict"), Asked("b", "unknown")], NOON)
    assert (strict.threshold, other.threshold) == (0.01, 0.3)


def test_each_vector_needs_its_transaction(decider: Decider) -> None:
    with pytest.raises(ContractError, match="5 vectors for 1 transactions"):
        decider.decide(make_rows(5, 5).matrix, [Asked("t")], NOON)


def test_a_damaged_vector_is_refused(records: list[DecisionRecord]) -> None:
    with pytest.raises(ContractError, match="the vector of decision t0 is damaged"):
        records[0].model_copy(update={"vector": "%%"}).features()


def test_a_schema_compiles_to_its_own_hash_and_refuses_another() -> None:
    schema = describe(FeatureConfig(groups=("protocol",)))
    assert schema.compile().names == schema.names
    schema.check(schema.content_hash)
    with pytest.raises(ContractError, match="deploy transformer and predictor of one version"):
        schema.check(hash_bytes(b"other"))
    stale = schema.model_copy(update={"content_hash": hash_bytes(b"other")})
    with pytest.raises(ContractError, match="the vector has feature schema"):
        stale.compile()
