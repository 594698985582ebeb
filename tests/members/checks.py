"""The checks that every kind of member passes; each takes a subject and asserts one behaviour."""

from collections.abc import Callable

import numpy as np
import pytest

from tests.members.subjects import FEATURES, PLANTED, Subject, fit
from vigil.errors import ContractError
from vigil.members.base import LEGITIMATE, FeatureMatrix, TooFewLabels, TrainingRows, in_threads
from vigil.members.catalog import fit_member, load_member

CHECKS: list[Callable[[Subject], None]] = []


def check(function: Callable[[Subject], None]) -> Callable[[Subject], None]:
    """Register a check: it is run on every kind."""
    CHECKS.append(function)
    return function


@check
def planted_anomalies_score_higher_than_usual_rows(subject: Subject) -> None:
    usual, planted = subject.member.score(subject.usual), subject.member.score(subject.planted)
    assert np.median(planted) > np.quantile(usual, 0.95)


@check
def planted_anomalies_pass_the_threshold_and_most_usual_rows_do_not(subject: Subject) -> None:
    assert (subject.member.score(subject.planted) > subject.member.threshold).mean() > 0.5
    assert (subject.member.score(subject.usual) > subject.member.threshold).mean() < 0.5


@check
def the_planted_feature_explains_the_planted_anomalies(subject: Subject) -> None:
    mean = subject.member.explain(subject.planted).mean(axis=0)
    assert subject.member.feature_names[int(np.argmax(mean))] == PLANTED


@check
def order_of_features_and_further_features_are_irrelevant(subject: Subject) -> None:
    values = subject.usual.values
    order = [4, 2, 0, 5, 1, 3]
    shuffled = np.ascontiguousarray(np.column_stack([values[:, order], values[:, :1] * 2]))
    matrix = FeatureMatrix(shuffled, (*(FEATURES[index] for index in order), "unrelated"))
    assert np.array_equal(subject.member.score(matrix), subject.member.score(subject.usual))
    assert np.array_equal(subject.member.explain(matrix), subject.member.explain(subject.usual))


@check
def input_is_not_changed(subject: Subject) -> None:
    values = subject.usual.values.copy()
    matrix = FeatureMatrix(values, FEATURES)
    subject.member.score(matrix)
    subject.member.explain(matrix)
    assert np.array_equal(values, subject.usual.values)


@check
def scores_are_finite_and_not_constant(subject: Subject) -> None:
    scores = subject.member.score(subject.usual)
    assert scores.dtype == np.float64
    assert scores.shape == (len(subject.usual),)
    assert np.isfinite(scores).all()
    assert len(np.unique(scores)) >= 3


@check
def contributions_are_finite_one_per_feature(subject: Subject) -> None:
    parts = subject.member.explain(subject.usual)
    assert parts.shape == (len(subject.usual), len(subject.member.feature_names))
    assert np.isfinite(parts).all()


@check
def absurd_but_finite_values_score_finite(subject: Subject) -> None:
    values = np.vstack([np.full(len(FEATURES), value, dtype=np.float32) for value in (-3e38, -1e20, 1e20, 3e38)])
    matrix = FeatureMatrix(values, FEATURES)
    assert np.isfinite(subject.member.score(matrix)).all()
    assert np.isfinite(subject.member.explain(matrix)).all()


@check
def a_single_row_scores_as_in_its_batch_bit_for_bit(subject: Subject) -> None:
    scores, parts = subject.member.score(subject.usual), subject.member.explain(subject.usual)
    for row in (0, 1, 17, 255, 256, 399):
        alone = FeatureMatrix(subject.usual.values[row : row + 1], FEATURES)
        assert subject.member.score(alone)[0] == scores[row]
        assert np.array_equal(subject.member.explain(alone)[0], parts[row])


@check
def threads_change_nothing(subject: Subject) -> None:
    assert np.array_equal(in_threads(subject.member.score, subject.usual, 3), subject.member.score(subject.usual))


@check
def the_same_seed_gives_the_same_bytes_whatever_the_order_of_the_rows(subject: Subject) -> None:
    rows = subject.rows
    order = np.random.default_rng(1).permutation(len(rows))
    assert fit(subject.settings, rows.take(order)).to_files() == subject.member.to_files()


@check
def a_loaded_member_scores_bit_for_bit_as_the_saved_one(subject: Subject) -> None:
    files = subject.member.to_files()
    loaded = load_member(files)
    assert loaded.to_files() == files
    assert (loaded.name, loaded.threshold, loaded.facts) == (
        subject.member.name,
        subject.member.threshold,
        subject.member.facts,
    )
    assert np.array_equal(loaded.score(subject.usual), subject.member.score(subject.usual))
    assert np.array_equal(loaded.explain(subject.usual), subject.member.explain(subject.usual))


@check
def files_are_of_safe_formats(subject: Subject) -> None:
    assert all(name.endswith((".json", ".npz")) for name in subject.member.to_files())


@check
def a_truncated_or_missing_file_is_refused_by_name(subject: Subject) -> None:
    files = subject.member.to_files()
    for name, content in files.items():
        with pytest.raises(ContractError, match=name):
            load_member(files | {name: content[: len(content) // 2]})
        with pytest.raises(ContractError, match=name):
            load_member({other: files[other] for other in files if other != name})


@check
def a_missing_feature_is_named(subject: Subject) -> None:
    kept = [index for index, name in enumerate(FEATURES) if name != PLANTED]
    matrix = FeatureMatrix(np.ascontiguousarray(subject.usual.values[:, kept]), tuple(FEATURES[i] for i in kept))
    with pytest.raises(ContractError, match=f"feature {PLANTED} is missing"):
        subject.member.score(matrix)
    with pytest.raises(ContractError, match=f"feature {PLANTED} is missing"):
        subject.member.explain(matrix)


@check
def values_that_are_not_finite_are_refused_by_feature_and_row(subject: Subject) -> None:
    for value in (np.nan, np.inf, -np.inf):
        values = subject.usual.values.copy()
        values[12, 2] = value
        with pytest.raises(ContractError, match=r"feature gap_hours of row 12 is (nan|-?inf)"):
            subject.member.score(FeatureMatrix(values, FEATURES))


@check
def rows_of_another_width_are_refused(subject: Subject) -> None:
    with pytest.raises(ContractError, match="5 values, but there are 6 features"):
        subject.member.score(FeatureMatrix(np.ones((2, 5), dtype=np.float32), FEATURES))


@check
def empty_input_is_refused(subject: Subject) -> None:
    with pytest.raises(ContractError, match="nothing to score"):
        subject.member.score(FeatureMatrix(np.ones((0, 6), dtype=np.float32), FEATURES))


@check
def a_subset_of_the_features_is_all_it_asks_for(subject: Subject) -> None:
    rows = TrainingRows(
        subject.rows.matrix, subject.rows.times, subject.rows.labels, groups={"money": ("amount", "mean_30d")}
    )
    settings = subject.settings.model_copy(update={"features": ("money", "distance"), "name": "narrow"})
    member = fit(settings, rows)
    assert member.name == "narrow"
    assert member.feature_names == ("amount", "mean_30d", "distance")
    narrow = FeatureMatrix(np.ascontiguousarray(subject.usual.values[:, [5, 3, 0]]), ("distance", "mean_30d", "amount"))
    assert np.array_equal(member.score(narrow), member.score(subject.usual))


@check
def a_single_training_row_is_too_few_and_that_is_said(subject: Subject) -> None:
    legitimate = subject.rows.take(subject.rows.labels == LEGITIMATE)
    try:
        outcome = fit_member(subject.settings, legitimate.take(slice(0, 1)))
    except ContractError as error:
        assert f"member {subject.settings.name} needs at least" in str(error)
    else:
        assert isinstance(outcome, TooFewLabels)
