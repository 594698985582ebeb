"""Rows that look like known frauds: found where they are asked for, and never without frauds to compare with."""

from dataclasses import replace

import numpy as np
import pytest

from tests.members.test_sanitation import left_out, usual_rows
from vigil.errors import ContractError
from vigil.members.base import FRAUD, LEGITIMATE, UNKNOWN, FeatureMatrix, TrainingRows
from vigil.members.fitting.sanitation.sanitize import LIKENESS, Sanitized, sanitize
from vigil.members.fitting.sanitation.settings import LikenessScreen, SanitationSettings, parse_sanitation

ASKED = SanitationSettings(likeness=LikenessScreen())
FRAUDS = np.arange(0, 2000, 20)
POISON = np.arange(7, 2000, 50)
"""Every fiftieth row."""


def with_frauds(poison: bool) -> TrainingRows:
    """Frauds are ten times the amount after no event in a week; poison lies on the way to there."""
    rows, random = usual_rows(), np.random.default_rng(5)
    values, labels = rows.matrix.values.copy(), rows.labels.copy()
    moved = np.concatenate([FRAUDS, POISON]) if poison else FRAUDS
    way = np.where(np.isin(moved, FRAUDS), 1.0, random.uniform(0.6, 1.0, len(moved)))
    values[moved, 0] *= np.exp(way * np.log(10)).astype(np.float32)
    values[moved, 1] = 0
    labels[FRAUDS] = FRAUD
    return TrainingRows(FeatureMatrix(values, rows.matrix.names), rows.times, labels)


def like_frauds(sanitized: Sanitized) -> list[int]:
    return left_out(sanitized, "like_known_fraud")


def test_most_poison_scattered_between_the_usual_and_the_frauds_is_left_out_with_its_reason() -> None:
    rows = with_frauds(poison=True)
    sanitized = sanitize(rows, [], ASKED)
    assert LIKENESS in sanitized.screens
    assert (~sanitized.kept[POISON]).mean() >= 0.75
    assert set(like_frauds(sanitized)) & set(POISON.tolist())
    line = next(line for line in sanitized.excluded.to_pylist() if line["rule"] == "like_known_fraud")
    assert line["detail"] == "at least 5 times likelier than a row on average to be like the known frauds"


def test_of_rows_unlike_the_frauds_hardly_any_is_left_out() -> None:
    sanitized = sanitize(with_frauds(poison=False), [], ASKED)
    assert sanitized.passed
    assert len(like_frauds(sanitized)) <= 0.01 * 2000


def test_without_labels_it_leaves_nothing_out_and_says_so() -> None:
    rows = with_frauds(poison=True)
    unlabelled = replace(rows, labels=np.full(len(rows), UNKNOWN, np.int8))
    sanitized = sanitize(unlabelled, [], ASKED)
    assert like_frauds(sanitized) == []
    assert LIKENESS not in sanitized.screens
    assert sanitized.passed
    reason = "0 known frauds do not say what frauds look like, it needs 50 (least_frauds)"
    assert sanitized.report(None)["skipped"][LIKENESS] == reason


def test_it_is_not_run_and_not_missed_unless_it_is_asked_for() -> None:
    sanitized = sanitize(with_frauds(poison=True), [], SanitationSettings())
    assert LIKENESS not in (*sanitized.screens, *sanitized.skipped)
    assert like_frauds(sanitized) == []


def test_labelled_rows_without_verdict_are_compared_as_well() -> None:
    rows = with_frauds(poison=True)
    labels = np.where(rows.labels == LEGITIMATE, UNKNOWN, rows.labels).astype(np.int8)
    labelled, unknown = (sanitize(one, [], ASKED) for one in (rows, replace(rows, labels=labels)))
    assert like_frauds(labelled) == like_frauds(unknown)


def test_too_many_of_them_are_a_failure_not_a_silent_cut() -> None:
    rows = with_frauds(poison=True)
    strict = parse_sanitation({"likeness": {"most": 0.001}, "poison": None, "outliers": None})
    sanitized = sanitize(rows, [], strict)
    assert sanitized.failures[0].startswith("likeness: ")
    with pytest.raises(ContractError, match=r"rows would be left out, at most 0.1% may be"):
        sanitized.training_rows(rows)


def test_the_same_rows_give_the_same_list() -> None:
    rows = with_frauds(poison=True)
    assert sanitize(rows, [], ASKED).excluded_hash == sanitize(rows, [], ASKED).excluded_hash
