import dataclasses
from typing import Any

import numpy as np
import pytest

from tests.evaluation.samples import FEW, sample, with_labels
from vigil.errors import ContractError
from vigil.evaluation.diagnosis import Suspect, diagnose, stability_index

NAMES = ("amount", "count")
HEALTHY_THRESHOLD = 0.88
TEN_A_DAY = FEW.model_copy(update={"alerts_per_day": 10})


def _suspect(**changes: Any) -> Suspect:
    random = np.random.default_rng(0)
    rows = sample(strength=3.0)
    healthy = Suspect(
        rows=rows,
        features=random.gamma(2.0, 30.0, (len(rows), 2)).astype(np.float32),
        names=NAMES,
        reference=random.gamma(2.0, 30.0, (5000, 2)).astype(np.float32),
        reference_rate=0.02,
        threshold=HEALTHY_THRESHOLD,
        baselines={"random": sample(8).scores},
    )
    return dataclasses.replace(healthy, **changes)


def _with_column(values: object) -> dict[str, Any]:
    features = _suspect().features.copy()
    features[:, 0] = values
    return {"features": features}


def _copied_negatives() -> dict[str, Any]:
    suspect = _suspect()
    features, labels = suspect.features.copy(), suspect.rows.labels
    features[labels] = features[~labels][: int(labels.sum())]
    return {"features": features}


FAULTS = [
    ("data", _with_column(np.nan), "amount: 100.0% of the values are not finite"),
    ("data", _with_column(np.linspace(5, 6, 3200)), "amount: moved, stability index"),
    ("labels", {"reference_rate": 0.2}, "20.000% at training"),
    ("labels", {"unlabelled": 3200}, "50% of the rows have no label yet"),
    ("labels", _copied_negatives(), "positive rows have the very features of a negative row"),
    ("model", {"baselines": {"rules": sample(strength=3.0).scores}}, "not better than the baseline rules"),
    ("threshold", {"threshold": 0.9999}, "alerts a day, the budget is 10"),
]


def test_a_healthy_model_is_in_order_in_all_four_steps() -> None:
    found = diagnose(_suspect(), TEN_A_DAY)
    assert found.first_fault is None
    assert [step.step for step in found.steps] == ["data", "labels", "model", "threshold"]
    assert all(step.advice == "nothing to do" for step in found.steps)


@pytest.mark.parametrize(("step", "change", "finding"), FAULTS)
def test_a_fault_is_found_in_its_step_and_in_no_other(step: str, change: dict[str, Any], finding: str) -> None:
    found = diagnose(_suspect(**change), TEN_A_DAY)
    assert [one.step for one in found.steps if not one.ok] == [step]
    assert any(finding in line for one in found.steps for line in one.findings)
    assert found.first_fault == step


def test_a_feature_that_became_constant_is_named() -> None:
    found = diagnose(_suspect(**_with_column(7.0)), TEN_A_DAY)
    assert found.steps[0].findings == ("amount: constant at 7, it was not at training",)


def test_a_collapsed_model_is_called_that() -> None:
    found = diagnose(_suspect(rows=sample().with_scores(np.full(3200, 0.5))), TEN_A_DAY)
    assert found.steps[2].findings == ("every score is 0.5: the model has collapsed",)


def test_a_model_no_better_than_chance_is_found() -> None:
    found = diagnose(_suspect(rows=sample(strength=0.0), baselines={}), TEN_A_DAY)
    assert "is not above chance" in found.steps[2].findings[0]


def test_a_threshold_that_wastes_what_the_model_knows_is_found() -> None:
    found = diagnose(_suspect(threshold=0.0), TEN_A_DAY)
    assert any("a threshold of" in finding for finding in found.steps[3].findings)


def test_too_few_labels_are_a_fault_of_the_labels_before_the_model_is_blamed() -> None:
    rows = with_labels(sample(), np.arange(3200) < 3)
    found = diagnose(_suspect(rows=rows), TEN_A_DAY)
    assert found.first_fault == "labels"
    assert "only 3 positive rows" in found.steps[1].findings[0]


def test_no_rows_at_all_begin_with_the_data() -> None:
    nothing = np.zeros(0, int)
    empty = _suspect(rows=sample().take(nothing), features=np.zeros((0, 2), np.float32), baselines={})
    assert diagnose(empty, TEN_A_DAY).first_fault == "data"


def test_every_step_runs_although_the_first_one_found_a_fault() -> None:
    found = diagnose(_suspect(**_with_column(np.nan), threshold=0.9999), TEN_A_DAY)
    assert [step.ok for step in found.steps] == [False, True, True, False]


@pytest.mark.parametrize("change", [{"features": np.zeros((5, 2))}, {"reference": np.zeros((5, 3))}])
def test_features_of_another_shape_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ContractError, match="shape"):
        diagnose(_suspect(**change), TEN_A_DAY)


def test_the_stability_index_is_near_zero_for_equal_and_large_for_moved_values() -> None:
    random = np.random.default_rng(0)
    then = random.normal(size=5000)
    assert stability_index(then, random.normal(size=5000)) < 0.02
    assert stability_index(then, random.normal(size=5000) + 1) > 0.25
