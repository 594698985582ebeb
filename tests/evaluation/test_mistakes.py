import dataclasses

import numpy as np
import pytest

from tests.evaluation.samples import sample
from vigil.errors import ContractError
from vigil.evaluation.behaviour import Matrix
from vigil.evaluation.mistakes import MistakeSettings, find_mistakes
from vigil.evaluation.rows import ScoredRows

NAMES = ("amount", "night", "noise")


def _planted() -> tuple[ScoredRows, Matrix]:
    """Rows whose false alarms are the large amounts at night, and whose missed frauds are the small amounts."""
    random = np.random.default_rng(0)
    rows = sample(customers=1000)
    amount, night = rows.amounts * 2, random.random(len(rows)) < 0.3
    false_alarm, missed = ~rows.labels & (amount > 220) & night, rows.labels & (amount < 60)
    scores = np.where(rows.labels, 0.9, 0.1)
    scores[false_alarm], scores[missed] = 0.95, 0.05
    features = np.column_stack([amount, night, random.normal(size=len(rows))]).astype(np.float32)
    return dataclasses.replace(rows, scores=scores), features


def test_planted_false_alarms_are_described_in_words() -> None:
    rows, features = _planted()
    [group] = find_mistakes(rows, features, NAMES, 0.5)[0].groups
    assert set(group.description.split(" and ")) == {"amount > 220", "night"}
    assert (group.mistakes, group.rate, group.share) == (group.rows, 1.0, 1.0)
    assert group.lift > 10


def test_planted_missed_frauds_are_described_in_words() -> None:
    rows, features = _planted()
    [group] = find_mistakes(rows, features, NAMES, 0.5)[1].groups
    assert group.description == "amount ≤ 59.91"
    assert group.amount == pytest.approx(rows.amounts[rows.labels & (features[:, 0] < 60)].sum())


def test_the_examples_are_mistakes_furthest_from_the_threshold() -> None:
    rows, features = _planted()
    wrong = np.flatnonzero(~rows.labels & (rows.scores > 0.9))
    rows.scores[wrong[7]] = 0.99
    examples = find_mistakes(rows, features, NAMES, 0.5)[0].groups[0].examples
    assert examples[0] == wrong[7]
    assert set(examples) <= set(wrong)


def test_two_bounds_on_one_feature_are_drawn_together() -> None:
    rows, features = _planted()
    inside = (features[:, 0] > 100) & (features[:, 0] < 150)
    rows = rows.with_scores(np.where(inside & ~rows.labels, 0.9, 0.1))
    [group] = find_mistakes(rows, features, NAMES, 0.5)[0].groups
    assert group.description == "100 < amount ≤ 150"


def test_too_few_mistakes_are_not_grouped_and_that_is_said() -> None:
    rows, features = _planted()
    found = find_mistakes(rows, features, NAMES, 0.5, MistakeSettings(minimum_mistakes=1000))[0]
    assert found.groups == ()
    assert found.note.endswith("fewer than 1000: nothing to group")


def test_a_model_that_is_always_wrong_has_no_groups() -> None:
    rows, features = _planted()
    found = find_mistakes(rows, features, NAMES, 0.0)[0]
    assert (found.groups, found.count) == ((), found.compared)
    assert "every row is a mistake" in found.note


def test_mistakes_that_no_feature_explains_are_said_to_be_so() -> None:
    rows, features = _planted()
    features = np.zeros_like(features)
    assert find_mistakes(rows, features, NAMES, 0.5)[0].note == "no feature tells the mistakes from the other rows"


def test_the_same_rows_give_the_same_groups() -> None:
    assert find_mistakes(*_planted(), NAMES, 0.5) == find_mistakes(*_planted(), NAMES, 0.5)


def test_features_of_another_shape_are_refused() -> None:
    rows, features = _planted()
    with pytest.raises(ContractError, match=r"features have shape \(8000, 2\)"):
        find_mistakes(rows, features[:, :2], NAMES, 0.5)
