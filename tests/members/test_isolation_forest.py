import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import IsolationForest as SklearnForest

from tests.members.subjects import FEATURES, fit, make_rows, make_values
from vigil.members.base import FeatureMatrix, TrainingRows
from vigil.members.catalog import parse_settings
from vigil.members.isolation_forest import IsolationForest


def unlabelled(values: np.ndarray) -> TrainingRows:
    count, width = values.shape
    names = tuple(f"f{index}" for index in range(width))
    matrix = FeatureMatrix(np.ascontiguousarray(values, dtype=np.float32), names)
    return TrainingRows(matrix, np.arange(count, dtype=np.int64), np.full(count, -1, dtype=np.int8))


def forest(rows: TrainingRows, **given_settings: object) -> IsolationForest:
    member = fit(parse_settings({"kind": "isolation_forest", **given_settings}), rows)
    assert isinstance(member, IsolationForest)
    return member


@pytest.mark.parametrize("count", [1, 2, 100, 257, 20_000])
def test_scores_are_those_of_scikit_learn(count: int) -> None:
    rows = unlabelled(make_values(5000, seed=0))
    reference = SklearnForest(n_estimators=100, random_state=0).fit(rows.matrix.values)
    values = make_values(count, seed=1)
    scores = forest(rows).score(FeatureMatrix(values, rows.matrix.names))
    np.testing.assert_allclose(scores, -reference.score_samples(values), rtol=0, atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    samples=st.integers(2, 2000),
    kind=st.sampled_from(["normal", "tied", "tiny", "huge", "constant"]),
)
def test_scores_are_those_of_scikit_learn_on_awkward_values(seed: int, samples: int, kind: str) -> None:
    random = np.random.default_rng(seed)
    values = {
        "normal": random.normal(size=(300, 3)),
        "tied": random.integers(0, 3, (300, 3)),
        "tiny": random.normal(size=(300, 3)) * 1e-40,
        "huge": random.normal(size=(300, 3)) * 1e37,
        "constant": np.ones((300, 3)),
    }[kind].astype(np.float32)
    reference = SklearnForest(n_estimators=20, max_samples=min(samples, 300), random_state=seed).fit(values)
    scores = forest(unlabelled(values), trees=20, max_samples=samples, seed=seed).score(unlabelled(values).matrix)
    np.testing.assert_allclose(scores, -reference.score_samples(values), rtol=0, atol=1e-12)


def test_rows_exactly_on_a_split_go_where_scikit_learn_sends_them() -> None:
    rows = unlabelled(make_values(500, seed=2))
    reference = SklearnForest(n_estimators=10, random_state=0).fit(rows.matrix.values)
    values = make_values(200, seed=3)
    for row, tree in enumerate(reference.estimators_ * 20):
        split = tree.tree_.threshold[0]
        near = np.float32(split)
        values[row, tree.tree_.feature[0]] = (near, np.nextafter(near, np.float32(-1e9)))[row % 2]
    scores = forest(rows, trees=10).score(FeatureMatrix(values, rows.matrix.names))
    np.testing.assert_allclose(scores, -reference.score_samples(values), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("profile", "contamination"), [("general", 0.1), ("retail", 0.08), ("stream", 0.01)])
def test_the_threshold_of_a_profile_is_scikit_learns_offset(profile: str, contamination: float) -> None:
    rows = unlabelled(make_values(2000, seed=0))
    member = forest(rows, profile=profile)
    reference = SklearnForest(
        n_estimators=200 if profile == "stream" else 100,
        contamination=contamination,
        random_state=42 if profile == "stream" else 0,
    ).fit(rows.matrix.values)
    assert member.threshold == pytest.approx(-reference.offset_, abs=1e-12)
    assert (member.score(rows.matrix) > member.threshold).mean() == pytest.approx(contamination, abs=0.002)


def test_another_seed_gives_another_forest() -> None:
    rows = make_rows(300)
    assert forest(rows, seed=1).to_files() != forest(rows, seed=2).to_files()


def test_scaling_a_feature_changes_no_score() -> None:
    values = make_values(500, seed=4)
    scaled = values * np.float32(1024)
    scores = forest(unlabelled(values)).score(unlabelled(values).matrix)
    assert np.array_equal(forest(unlabelled(scaled)).score(unlabelled(scaled).matrix), scores)


def test_known_frauds_teach_nothing() -> None:
    rows = make_rows(600)
    changed = rows.matrix.values.copy()
    changed[rows.labels == 1] *= 2
    other = TrainingRows(FeatureMatrix(changed, FEATURES), rows.times, rows.labels)
    assert forest(rows).to_files()["arrays.npz"] == forest(other).to_files()["arrays.npz"]


def test_contributions_add_up_to_the_logarithm_of_the_score() -> None:
    rows = unlabelled(make_values(1000, seed=5))
    member = forest(rows)
    usual = -member.trees.expectation / member.scale
    found = member.explain(rows.matrix).sum(axis=1)
    np.testing.assert_allclose(found, np.log2(member.score(rows.matrix)) - usual, atol=1e-12)
