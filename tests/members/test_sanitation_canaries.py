from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.members.subjects import FEATURES, make_rows, make_values, planted_anomalies
from vigil.contracts.artifacts import seal
from vigil.errors import ContractError
from vigil.members.base import FRAUD, FeatureMatrix, Member, Scores
from vigil.members.catalog import fit_member, parse_settings
from vigil.members.fitting.sanitation.canaries import (
    check_canaries,
    choose_canaries,
    read_canaries,
    write_canaries,
)
from vigil.members.fitting.sanitation.sanitize import sanitize
from vigil.members.fitting.sanitation.settings import SanitationSettings


@cache
def fitted() -> Member:
    """A forest on screened rows."""
    rows = make_rows()
    screened = sanitize(rows, [], SanitationSettings()).training_rows(rows)
    member = fit_member(parse_settings({"kind": "isolation_forest", "seed": 3}), screened)
    assert isinstance(member, Member)
    return member


def test_known_frauds_are_still_found_after_training_on_screened_rows() -> None:
    member = fitted()
    verdict = check_canaries(member.score, planted_anomalies(), member.threshold)
    assert verdict.passed
    assert (verdict.detected, verdict.missed) == (1.0, ())


def test_one_missed_canary_fails_and_is_named() -> None:
    member = fitted()
    values = planted_anomalies().values.copy()
    values[5] = np.median(make_values(500, seed=1), axis=0)
    verdict = check_canaries(member.score, FeatureMatrix(values, FEATURES), member.threshold)
    assert not verdict.passed
    assert (verdict.detected, verdict.missed) == (0.95, (5,))
    assert "19 of 20 known frauds reach the threshold" in verdict.reason


def test_no_canaries_fail() -> None:
    verdict = check_canaries(fitted().score, None, 0.5)
    assert not verdict.passed
    assert verdict.detected is None
    assert "0 known frauds prove nothing, at least 20 are needed" in verdict.reason


def test_too_few_canaries_fail_although_all_are_found() -> None:
    few = FeatureMatrix(planted_anomalies().values[:19], FEATURES)
    member = fitted()
    assert check_canaries(member.score, few, member.threshold, least=19).passed
    assert not check_canaries(member.score, few, member.threshold).passed


@pytest.mark.parametrize("threshold", [np.nan, np.inf, -np.inf])
def test_a_threshold_that_is_no_number_fails(threshold: float) -> None:
    assert not check_canaries(fitted().score, planted_anomalies(), threshold).passed


def test_a_score_that_is_not_a_number_is_a_missed_canary() -> None:
    def broken(matrix: FeatureMatrix) -> Scores:
        return np.full(len(matrix), np.nan)

    assert check_canaries(broken, planted_anomalies(), 0.5).detected == 0.0


def test_scores_of_the_wrong_shape_fail() -> None:
    def short(matrix: FeatureMatrix) -> Scores:
        return np.ones(len(matrix) - 1)

    assert "scores of shape (19,)" in check_canaries(short, planted_anomalies(), 0.5).reason


def test_canaries_are_labelled_frauds_that_a_trusted_model_finds() -> None:
    member, rows = fitted(), make_rows()
    canaries = choose_canaries(rows, member.score, member.threshold, count=15, seed=1)
    frauds = {row.tobytes() for row in rows.matrix.values[rows.labels == FRAUD]}
    assert len(canaries) == 15
    assert all(row.tobytes() in frauds for row in canaries.values)
    assert (member.score(canaries) >= member.threshold).all()


def test_frauds_that_no_model_finds_are_no_canaries() -> None:
    with pytest.raises(ContractError, match=r"finds none of .* labelled frauds"):
        choose_canaries(make_rows(), fitted().score, 2.0, count=15, seed=1)


def test_the_stored_set_comes_back_as_it_was(tmp_path: Path) -> None:
    write_canaries(planted_anomalies(), tmp_path)
    canaries = read_canaries(tmp_path)
    assert canaries.names == FEATURES
    assert np.array_equal(canaries.values, planted_anomalies().values)


def test_a_stored_set_that_was_changed_is_refused(tmp_path: Path) -> None:
    write_canaries(planted_anomalies(), tmp_path)
    content = bytearray((tmp_path / "vectors.npz").read_bytes())
    content[200] ^= 1
    (tmp_path / "vectors.npz").write_bytes(bytes(content))
    with pytest.raises(ContractError, match="was changed after it was sealed"):
        read_canaries(tmp_path)


def test_an_artifact_of_another_kind_is_refused(tmp_path: Path) -> None:
    seal(tmp_path, "features")
    with pytest.raises(ContractError, match="holds features, not canaries"):
        read_canaries(tmp_path)
