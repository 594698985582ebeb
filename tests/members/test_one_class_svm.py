import numpy as np
import pytest
from sklearn.svm import OneClassSVM

from tests.members.subjects import FEATURES, fit, make_rows, make_values
from vigil.errors import ContractError
from vigil.members.base import FeatureMatrix
from vigil.members.catalog import load_member, parse_settings
from vigil.members.files import read_arrays, write_arrays
from vigil.members.one_class_svm import OneClassSvm


def machine(**given: object) -> OneClassSvm:
    member = fit(parse_settings({"kind": "one_class_svm", **given}), make_rows(400))
    assert isinstance(member, OneClassSvm)
    return member


def test_scores_are_the_opposite_of_scikit_learns_decision_function() -> None:
    member, rows = machine(nu=0.1), make_rows(400)
    scaled = (rows.normal - member.centre) / member.spread
    reference = OneClassSVM(gamma=member.bumps.gamma, nu=0.1).fit(scaled)
    values = make_values(100, seed=6)
    expected = -reference.decision_function((values - member.centre) / member.spread)
    np.testing.assert_allclose(member.score(FeatureMatrix(values, FEATURES)), expected, atol=1e-9)


def test_contributions_are_what_the_median_would_change() -> None:
    member, values = machine(), make_values(20, seed=6)
    scores = member.score(FeatureMatrix(values, FEATURES))
    for column in range(len(FEATURES)):
        neutral = values.astype(np.float64)
        neutral[:, column] = member.centre[column]
        without = member.score(FeatureMatrix(neutral.astype(np.float32), FEATURES))
        found = member.explain(FeatureMatrix(values, FEATURES))[:, column]
        np.testing.assert_allclose(found, scores - without, atol=1e-5)


def test_it_draws_no_more_rows_than_asked_for() -> None:
    assert machine(rows=50).facts["rows"] == 50


def test_another_seed_draws_other_rows() -> None:
    assert machine(rows=50, seed=1).to_files() != machine(rows=50, seed=2).to_files()


def test_support_vectors_of_another_width_are_refused() -> None:
    files = machine().to_files()
    arrays = read_arrays(files, "arrays.npz")
    arrays["centres"] = arrays["centres"][:, :3]
    with pytest.raises(ContractError, match="member one_class_svm is damaged"):
        load_member(files | {"arrays.npz": write_arrays(arrays)})
