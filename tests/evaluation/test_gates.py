"""For each gate: one candidate that passes, and those that fail for one reason alone."""

import json
import re
from typing import Any

import numpy as np
import pytest

from tests.evaluation.good_evidence import beaten_evidence, config, good_evidence, member_evidence
from vigil.evaluation.behaviour import BehaviourOutcome, CaseOutcome
from vigil.evaluation.gates.config import EnsembleGate, ProductionGate
from vigil.evaluation.gates.evaluate import GATES, GateReport, evaluate_gates
from vigil.evaluation.gates.evidence import Evidence

NAN = float("nan")


def _metric(name: str, **changes: Any) -> dict[str, Any]:
    metrics = good_evidence().metrics
    return {"metrics": {**metrics, name: metrics[name].model_copy(update=changes)}}


def _every_metric(**changes: Any) -> dict[str, Any]:
    return {"metrics": {name: one.model_copy(update=changes) for name, one in good_evidence().metrics.items()}}


def _without(name: str) -> dict[str, Any]:
    return {"metrics": {key: one for key, one in good_evidence().metrics.items() if key != name}}


def _production(**changes: Any) -> dict[str, Any]:
    return {"against_production": good_evidence().against_production.model_copy(update=changes)}


def _member(name: str, **changes: Any) -> dict[str, Any]:
    compared = good_evidence().against_members
    return {"against_members": {**compared, name: compared[name].model_copy(update=changes)}}


def _part(name: str, **changes: Any) -> dict[str, Any]:
    return {name: getattr(good_evidence(), name).model_copy(update=changes)}


def _case(which: str, **changes: Any) -> dict[str, Any]:
    cases = good_evidence().cases
    return {"cases": tuple(one.model_copy(update=changes) if one.name == which else one for one in cases)}


def _behaviour(name: str, **changes: Any) -> dict[str, Any]:
    found = good_evidence().behaviours
    return {"behaviours": tuple(one.model_copy(update=changes) if one.name == name else one for one in found)}


def _site(number: int, **changes: Any) -> dict[str, Any]:
    rates = list(good_evidence().fairness)
    rates[number] = rates[number].model_copy(update=changes)
    return {"fairness": tuple(rates)}


UNFAIR = {"rate": 0.3, "others": 0.1, "difference": 0.2, "ratio": 3.0, "ratio_low": 2.0, "ratio_high": 4.0}

FAILURES = [
    ("quality", _metric("average_precision", low=0.29), r"average_precision \(lower bound\) is 0.29, below 0.3"),
    ("quality", _metric("average_precision", low=NAN), r"average_precision \(lower bound\) is missing"),
    ("quality", _metric("average_precision", low=None, note="only 3 days"), r"is missing \(only 3 days\)"),
    ("quality", _metric("false_positive_rate", high=0.21), r"false_positive_rate \(upper bound\) is 0.21, above 0.2"),
    ("quality", _metric("accuracy", value=0.79), "accuracy is 0.79, below 0.8"),
    ("quality", _without("average_precision"), "average_precision was not measured"),
    ("quality", _every_metric(rows=2999), "rows is 2,999, below 3,000"),
    ("quality", _every_metric(positives=29), "positive rows is 29, below 30"),
    ("production", {"against_production": None}, "was not compared with 2026-01"),
    ("production", _production(low=-0.021), r"-0.021, .*\]: its lower end is below the margin of -0.02"),
    ("production", _production(low=NAN), "lower bound of the difference is missing"),
    ("production", _production(low=None, note="no positive rows"), r"is missing \(no positive rows\)"),
    ("production", _production(reference="2025-12"), "is of ensemble with 2025-12, not of ensemble with 2026-01"),
    ("production", _production(candidate="2026-01"), "2026-01 was compared with itself"),
    ("production", _production(rows_hash="sha256:other"), "on other rows than was measured"),
    ("production", _production(metric="roc_auc"), "by roc_auc, not by average_precision"),
    ("production", _production(positives=29), "positive rows is 29, below 30"),
    ("production", _production(confidence=0.5), "confidence is 0.5, below 0.9"),
    (
        "ensemble",
        _member("boosted", low=-0.021, difference=-0.01),
        "lower end is below the margin of -0.02: ship the member boosted",
    ),
    ("ensemble", _member("boosted", low=NAN), "lower bound of the difference is missing"),
    ("ensemble", _member("forest", difference=None), "the difference to forest is missing"),
    ("ensemble", _member("forest", rows_hash="sha256:other"), "on other rows than was measured"),
    ("ensemble", {"against_members": {}}, "was not compared with boosted, forest"),
    ("ensemble", {"members": ()}, "the members of the candidate are not named"),
    ("cases", {"cases": ()}, "case known_fraud was not run"),
    ("cases", _case("cold_start", name="cool_start"), "case cold_start was not run"),
    ("cases", _case("known_fraud", failures=1), "known_fraud: 1 of 100 rows do not reach the threshold"),
    (
        "cases",
        _case("huge", failures=1, note="1 scores are not finite"),
        r"huge: 1 of 1 rows .* \(1 scores are not finite",
    ),
    ("cases", _case("known_fraud", rows=0, failures=1), "known_fraud"),
    ("behaviour", {"behaviours": ()}, "behavioural test larger_amount was not run"),
    ("behaviour", _behaviour("larger_amount", violations=1, worst=0.2), "1 of 100 rows break the rule, by up to 0.2"),
    ("behaviour", _behaviour("row_order", rows=49), "ran on 49 rows, fewer than 50"),
    ("fairness", {"fairness": ()}, "site: segments judged is 0, below 2"),
    ("fairness", _site(1, **UNFAIR), "site site 1 has a false positive rate of 0.3, the others 0.1"),
    ("sanitation", {"sanitation": None}, "nothing is known of how the training rows were screened"),
    ("sanitation", _part("sanitation", screens=("poison",)), "screen incident_windows was not run"),
    ("sanitation", _part("sanitation", rows_kept=979), "1000 rows in are not 979 kept"),
    ("sanitation", _part("sanitation", rows_kept=899, rows_excluded=101), "share of rows left out is 0.101, above 0.1"),
    ("sanitation", _part("sanitation", rows_in=0, rows_kept=0, rows_excluded=0), "share of rows left out is missing"),
    ("sanitation", _part("sanitation", excluded_hash=None), "no list of the rows"),
    ("sanitation", _part("sanitation", canary_detected=0.9), "share of known frauds found is 0.9, below 1"),
    ("sanitation", _part("sanitation", canary_detected=None), "share of known frauds found is missing"),
    ("latency", {"latency": None}, "the latency was not measured"),
    ("latency", _part("latency", p99_ms=20.1), "P99 of one row in ms is 20.1, above 20"),
    ("latency", _part("latency", p99_ms=NAN), "P99 of one row in ms is missing"),
    ("latency", _part("latency", rows_per_second=999.0), "rows per second is 999, below 1,000"),
    ("latency", _part("latency", rows_per_second=None), "rows per second is missing"),
    ("latency", _part("latency", calls=10), "calls is 10, below 100"),
    ("size", {"bundle_bytes": 1_000_001}, "bytes of the bundle is 1,000,001, above 1,000,000"),
    ("size", {"bundle_bytes": None}, "bytes of the bundle is missing"),
    ("size", {"bundle_bytes": 0}, "bytes of the bundle is missing"),
    ("cost", {"cost": None}, "the cost of the run was not measured"),
    ("cost", _part("cost", per_run=1.1), "per run is 1.1, above 1"),
    ("cost", _part("cost", per_1000_predictions=None), "per 1,000 predictions is missing"),
    ("cost", _part("cost", currency="EUR"), "the cost is in EUR, not in USD"),
]


def _names(value: object) -> str:
    return value if isinstance(value, str) else ""


def test_a_good_candidate_passes_every_gate_and_is_promoted() -> None:
    report = evaluate_gates(good_evidence(), config())
    assert [verdict.gate for verdict in report.verdicts] == list(GATES)
    assert report.failed == ()
    assert (report.decision, report.ship) == ("promote", "ensemble")


@pytest.mark.parametrize(("gate", "change", "reason"), FAILURES, ids=_names)
def test_one_change_fails_one_gate_and_nothing_else(gate: str, change: dict[str, Any], reason: str) -> None:
    report = evaluate_gates(good_evidence(**change), config())
    [verdict] = report.failed
    assert verdict.gate == gate
    assert re.search(reason, verdict.reason), verdict.reason
    assert (report.decision, report.ship) == ("reject", None)


def test_every_gate_has_a_failing_candidate_above() -> None:
    assert {gate for gate, _, _ in FAILURES} == set(GATES)


def test_evidence_of_nothing_fails_every_gate() -> None:
    bare = Evidence(candidate="x", members=(), production="2026-01", rows_hash="sha256:0")
    report = evaluate_gates(bare, config())
    assert {verdict.gate for verdict in report.failed} == set(GATES)
    assert report.decision == "reject"


def test_a_first_model_passes_with_a_stated_reason() -> None:
    report = evaluate_gates(good_evidence(production=None, against_production=None), config())
    verdict = next(one for one in report.verdicts if one.gate == "production")
    assert (verdict.passed, report.decision) == (True, "promote")
    assert "no model is in production" in verdict.reason


def test_a_first_model_fails_where_the_configuration_says_so() -> None:
    strict = config(production=ProductionGate(first_model="fails"))
    [verdict] = evaluate_gates(good_evidence(production=None, against_production=None), strict).failed
    assert verdict.reason == "no model is in production, and the configuration lets no first model pass"


def test_a_small_loss_within_the_margin_passes() -> None:
    assert evaluate_gates(good_evidence(**_production(low=-0.019, difference=-0.001)), config()).decision == "promote"


def test_an_ensemble_must_be_better_where_the_configuration_asks_for_it() -> None:
    change = _member("boosted", low=0.0, difference=0.01)
    assert evaluate_gates(good_evidence(**change), config()).decision == "promote"
    [verdict] = evaluate_gates(good_evidence(**change), config(ensemble=EnsembleGate(require="better"))).failed
    assert verdict.reason.endswith("its lower end is not above zero: ship the member boosted")


def test_an_unfair_ratio_of_two_tiny_rates_is_let_pass() -> None:
    change = _site(1, **{**UNFAIR, "rate": 0.0003, "others": 0.0001, "difference": 0.0002})
    assert evaluate_gates(good_evidence(**change), config()).decision == "promote"


def test_an_unfair_rate_that_may_be_chance_is_let_pass() -> None:
    assert evaluate_gates(good_evidence(**_site(1, **{**UNFAIR, "ratio_low": 1.4})), config()).decision == "promote"


def test_a_segment_too_small_to_judge_does_not_count() -> None:
    small = _site(1, ratio=None, ratio_low=None, ratio_high=None, difference=None, note="5 negative rows")
    assert evaluate_gates(good_evidence(**small), config()).decision == "promote"


def test_a_gate_that_is_not_asked_is_named_as_such() -> None:
    report = evaluate_gates(good_evidence(cost=None), config(cost=None))
    assert (report.decision, report.not_asked) == ("promote", ("cost",))


def test_the_best_member_ships_where_it_beats_the_ensemble_and_passes_itself() -> None:
    report = evaluate_gates(beaten_evidence(alternatives={"boosted": member_evidence()}), config())
    assert (report.decision, report.ship) == ("ship_member", "boosted")
    assert report.summary.endswith("ship the member boosted")


def test_the_best_member_ships_even_if_the_ensemble_fails_other_gates_as_well() -> None:
    evidence = beaten_evidence(alternatives={"boosted": member_evidence()}, latency=None)
    assert evaluate_gates(evidence, config()).decision == "ship_member"


def test_no_member_ships_without_evidence_of_its_own() -> None:
    report = evaluate_gates(beaten_evidence(), config())
    assert (report.decision, report.ship) == ("reject", None)
    assert "ship the member boosted" in report.failed[0].reason
    assert report.summary.endswith("no evidence of boosted on its own was given: reject")


def test_no_member_ships_that_fails_a_gate_itself() -> None:
    evidence = beaten_evidence(alternatives={"boosted": member_evidence(bundle_bytes=None)})
    report = evaluate_gates(evidence, config())
    assert report.decision == "reject"
    assert report.alternative.failed[0].gate == "size"


def test_no_member_ships_on_the_evidence_of_another() -> None:
    evidence = beaten_evidence(alternatives={"boosted": member_evidence(candidate="forest", members=("forest",))})
    assert evaluate_gates(evidence, config()).decision == "reject"


def test_no_member_ships_on_evidence_from_other_rows() -> None:
    evidence = beaten_evidence(
        alternatives={"boosted": member_evidence(rows_hash="sha256:other", against_production=None, production=None)}
    )
    assert evaluate_gates(evidence, config()).decision == "reject"


def test_no_member_ships_where_the_ensemble_is_good_but_fails_another_gate() -> None:
    evidence = good_evidence(alternatives={"boosted": member_evidence()}, latency=None)
    assert evaluate_gates(evidence, config()).decision == "reject"


def test_a_single_member_needs_no_comparison_with_itself() -> None:
    assert evaluate_gates(member_evidence(), config()).decision == "promote"


@pytest.mark.parametrize(
    "evidence",
    [good_evidence(), good_evidence(latency=None), beaten_evidence(alternatives={"boosted": member_evidence()})],
)
def test_the_decision_is_one_lower_case_word_and_survives_json(evidence: Evidence) -> None:
    report = evaluate_gates(evidence, config())
    assert re.fullmatch("[a-z_]+", report.decision)
    assert GateReport.model_validate_json(report.model_dump_json()) == report


def test_evidence_survives_json_and_gives_the_same_report() -> None:
    evidence = beaten_evidence(alternatives={"boosted": member_evidence()})
    again = Evidence.model_validate_json(evidence.model_dump_json())
    assert evaluate_gates(again, config()) == evaluate_gates(evidence, config())


def test_a_nan_in_the_evidence_becomes_missing_in_json_and_still_fails() -> None:
    again = Evidence.model_validate_json(good_evidence(**_part("latency", p99_ms=NAN)).model_dump_json())
    [verdict] = evaluate_gates(again, config()).failed
    assert verdict.reason == "P99 of one row in ms is missing"
    json.dumps(verdict.model_dump(mode="json"), allow_nan=False)


def test_an_unknown_field_in_the_evidence_is_refused() -> None:
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        Evidence.model_validate({**good_evidence().model_dump(), "approved": True})


def test_evidence_must_say_whether_there_is_a_model_in_production() -> None:
    with pytest.raises(ValueError, match="production"):
        Evidence(candidate="x", members=("x",), rows_hash="sha256:0")


def test_the_outcomes_of_a_scorer_are_evidence_as_they_are() -> None:
    assert all(isinstance(one, CaseOutcome) for one in good_evidence().cases)
    assert all(isinstance(one, BehaviourOutcome) for one in good_evidence().behaviours)
    assert np.isfinite(good_evidence().latency.p99_ms)
