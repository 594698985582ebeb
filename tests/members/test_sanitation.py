import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.members.subjects import FEATURES, make_rows, make_values
from vigil.clock import HOUR
from vigil.contracts.artifacts import verify
from vigil.errors import ContractError
from vigil.evaluation.gates.conduct import judge_sanitation
from vigil.evaluation.gates.config import SanitationGate
from vigil.evaluation.gates.evidence import Sanitation
from vigil.members.base import FRAUD, LEGITIMATE, FeatureMatrix, TrainingRows
from vigil.members.fitting.sanitation.canaries import CanaryVerdict
from vigil.members.fitting.sanitation.incidents import IncidentWindow
from vigil.members.fitting.sanitation.sanitize import Sanitized, sanitize
from vigil.members.fitting.sanitation.settings import SanitationSettings, parse_sanitation

DEFAULTS = SanitationSettings()
GATE = SanitationGate(screens=("incident_windows", "outliers", "poison"), maximum_excluded=0.2)
CANARIES = CanaryVerdict(True, "all found", 20, 1.0)
MINUTES = 60_000_000


def usual_rows(count: int = 2000, seed: int = 0) -> TrainingRows:
    """Rows without a fraud among them, one each minute."""
    matrix = FeatureMatrix(make_values(count, seed), FEATURES)
    return TrainingRows(matrix, np.arange(count, dtype=np.int64) * MINUTES, np.zeros(count, dtype=np.int8))


def with_values(rows: TrainingRows, chosen: slice, column: int, value: float) -> TrainingRows:
    values = rows.matrix.values.copy()
    values[chosen, column] = value
    return replace(rows, matrix=FeatureMatrix(values, rows.matrix.names))


def window(start: int, end: int, **entities: str) -> IncidentWindow:
    return IncidentWindow(name="flood", start=start * MINUTES, end=end * MINUTES, entities=entities)


def after_hours(hours: float) -> SanitationSettings:
    return parse_sanitation({"incident_windows": {"hours_after": hours}, "outliers": None, "poison": None})


def left_out(sanitized: Sanitized, rule: str) -> list[int]:
    table = sanitized.excluded.to_pylist()
    return [line["row"] for line in table if line["rule"] == rule]


def test_known_frauds_are_left_out_and_named_so() -> None:
    rows = make_rows()
    sanitized = sanitize(rows, [], DEFAULTS)
    assert left_out(sanitized, "known_fraud") == np.flatnonzero(rows.labels == FRAUD).tolist()
    assert not (sanitized.training_rows(rows).labels == FRAUD).any()


def test_of_usual_rows_hardly_any_is_left_out() -> None:
    sanitized = sanitize(usual_rows(), [], DEFAULTS)
    assert sanitized.passed
    assert sanitized.kept.mean() > 0.998


def test_rows_in_an_incident_window_are_left_out_and_those_at_its_end_are_not() -> None:
    sanitized = sanitize(usual_rows(), [window(100, 110)], after_hours(0))
    assert left_out(sanitized, "incident_window") == list(range(100, 110))


def test_rows_soon_after_an_incident_are_left_out_as_well() -> None:
    sanitized = sanitize(usual_rows(), [window(100, 110)], after_hours(0.5))
    assert left_out(sanitized, "incident_window") == list(range(100, 140))


def test_an_incident_of_one_entity_leaves_the_others_in() -> None:
    sites = np.array(["S1", "S2"] * 1000)
    sanitized = sanitize(usual_rows(), [window(100, 110, site="S2")], after_hours(0), {"site": sites})
    assert left_out(sanitized, "incident_window") == [101, 103, 105, 107, 109]


def test_an_incident_of_one_metric_leaves_the_others_in() -> None:
    metrics = np.array(["sales", "footfall"] * 1000)
    incident = window(100, 104).model_copy(update={"metric": "sales"})
    sanitized = sanitize(usual_rows(), [incident], after_hours(0), {"metric": metrics})
    assert left_out(sanitized, "incident_window") == [100, 102]


def test_an_incident_of_an_entity_that_the_rows_do_not_name_is_refused() -> None:
    with pytest.raises(ContractError, match=r"names a terminal.* pass entities\['terminal'\]"):
        sanitize(usual_rows(), [window(100, 110, terminal="T1")], DEFAULTS)


def test_an_incident_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(ValueError, match="not after its start"):
        window(110, 100)


def test_entities_of_another_length_are_refused() -> None:
    with pytest.raises(ContractError, match="entities\\['site'\\] has shape \\(3,\\), expected \\(2000,\\)"):
        sanitize(usual_rows(), [], DEFAULTS, {"site": np.array(["a", "b", "c"])})


def test_a_value_far_beyond_all_others_is_left_out_with_the_name_of_its_feature() -> None:
    rows = with_values(usual_rows(), slice(7, 8), 0, 1e7)
    sanitized = sanitize(rows, [], DEFAULTS)
    assert left_out(sanitized, "feature_outlier") == [7]
    assert "amount is more than 12 robust deviations" in sanitized.excluded.to_pylist()[0]["detail"]


def test_more_outliers_than_the_cap_are_a_failure_not_a_silent_cut() -> None:
    rows = usual_rows()
    many = with_values(rows, slice(0, 100), 0, 1e7)
    sanitized = sanitize(many, [], parse_sanitation({"poison": None}))
    assert sanitized.failures[0].startswith("outliers: 5.0% of 2,000 rows would be left out, at most 3.0% may be")
    with pytest.raises(ContractError, match="did not pass the screens: outliers"):
        sanitized.training_rows(many)


def test_the_gate_passes_what_was_screened() -> None:
    rows = make_rows()
    evidence = Sanitation.model_validate(sanitize(rows, [], DEFAULTS).evidence(CANARIES))
    assert judge_sanitation(_evidence(evidence), GATE).passed


def test_the_gate_stays_closed_when_a_screen_failed() -> None:
    rows = with_values(usual_rows(), slice(0, 100), 0, 1e7)
    failed = sanitize(rows, [], parse_sanitation({"poison": {"most": 0.5}}))
    verdict = judge_sanitation(_evidence(Sanitation.model_validate(failed.evidence(CANARIES))), GATE)
    assert not verdict.passed
    assert "screen outliers was not run" in verdict.reason


def test_the_gate_stays_closed_without_canaries() -> None:
    found = sanitize(make_rows(), [], DEFAULTS)
    verdict = judge_sanitation(_evidence(Sanitation.model_validate(found.evidence(None))), GATE)
    assert "share of known frauds found is missing" in verdict.reason


def test_too_few_rows_to_screen_are_a_failure() -> None:
    sanitized = sanitize(usual_rows(count=100), [], DEFAULTS)
    assert sanitized.screens == ("incident_windows",)
    assert sanitized.failures[0] == "poison: 100 rows are too few to tell, it needs 500 (least_rows)"


def test_nothing_left_to_train_on_is_a_failure() -> None:
    sanitized = sanitize(usual_rows(), [window(0, 2000)], DEFAULTS)
    assert "nothing is left to train on" in sanitized.failures


def test_other_rows_than_the_screened_ones_are_refused() -> None:
    sanitized = sanitize(usual_rows(), [], DEFAULTS)
    with pytest.raises(ContractError, match="2000 rows were screened, these are 1999"):
        sanitized.training_rows(usual_rows(count=1999))


def test_the_order_of_rows_does_not_change_which_are_left_out() -> None:
    rows = with_values(usual_rows(), slice(7, 8), 0, 1e7)
    order = np.random.default_rng(0).permutation(len(rows))
    turned = sanitize(rows.take(order), [], DEFAULTS)
    assert order[left_out(turned, "feature_outlier")].tolist() == [7]


def test_the_same_rows_give_the_same_bytes_and_the_list_is_sealed(tmp_path: Path) -> None:
    rows = make_rows()
    for name in ("one", "two"):
        sanitize(rows, [window(0, 10)], DEFAULTS).write(tmp_path / name, CANARIES)
    assert verify(tmp_path / "one") == verify(tmp_path / "two")
    table = pq.read_table(tmp_path / "one" / "excluded.parquet")
    report = json.loads((tmp_path / "one" / "report.json").read_text())
    assert table.column_names == ["row", "event_time", "rule", "detail"]
    assert report["rows_excluded"] == table.num_rows
    assert sum(report["excluded_by_rule"].values()) == table.num_rows


def test_the_input_is_not_changed() -> None:
    rows = make_rows()
    values, labels = rows.matrix.values.copy(), rows.labels.copy()
    sanitize(rows, [], DEFAULTS)
    assert np.array_equal(rows.matrix.values, values)
    assert np.array_equal(rows.labels, labels)


def test_natural_repetition_is_no_poison() -> None:
    random = np.random.default_rng(0)
    values = random.integers(0, 3, (5000, 4)).astype(np.float32)
    matrix = FeatureMatrix(values, ("a", "b", "c", "d"))
    rows = TrainingRows(matrix, np.arange(5000) * HOUR, np.full(5000, LEGITIMATE, dtype=np.int8))
    assert sanitize(rows, [], parse_sanitation({"outliers": None})).kept.mean() > 0.99


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"typo": 1}, "sanitation, typo: Extra inputs"),
        ({"outliers": {"most": 2}}, "sanitation, outliers.most"),
        ({"version": 2}, "sanitation, version"),
    ],
)
def test_wrong_settings_name_their_field(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        parse_sanitation(given)


def test_other_settings_are_another_version() -> None:
    assert DEFAULTS.content_hash != parse_sanitation({"outliers": None}).content_hash


def _evidence(found: Sanitation) -> Any:
    from tests.evaluation.good_evidence import good_evidence

    return good_evidence(sanitation=found)
