"""The ensemble over real members, fitted on small data with planted anomalies."""

import numpy as np
import pytest

from tests.ensemble.samples import NAMES, PARTS, fitted, make_rows
from vigil.ensemble.business import BusinessWeights, score_business
from vigil.ensemble.calibration import fit_tail, restore_tail
from vigil.ensemble.combination import Combination, Formula, Unlabelled, restore_combination
from vigil.ensemble.fitting import EnsembleSettings, fit_ensemble
from vigil.ensemble.model import Ensemble, log_odds, restore_ensemble
from vigil.errors import ContractError
from vigil.members.base import FeatureMatrix, Member


@pytest.fixture(scope="module")
def members() -> list[Member]:
    rows = make_rows(4_000, 1)
    return [fitted("isolation_forest", rows, trees=50), fitted("boosted", rows, rounds=40, max_depth=3)]


@pytest.fixture(scope="module")
def ensemble(members: list[Member]) -> Ensemble:
    return fit_ensemble(members, make_rows(4_000, 2), EnsembleSettings())


def test_the_score_is_in_0_1_and_ranks_planted_frauds_higher(ensemble: Ensemble) -> None:
    rows = make_rows(2_000, 3)
    score = ensemble.score(rows.matrix).score
    assert ((score >= 0) & (score <= 1)).all()
    assert score[rows.labels == 1].mean() > 5 * score[rows.labels == 0].mean()


def test_a_row_scores_the_same_alone_and_among_others(ensemble: Ensemble) -> None:
    matrix = make_rows(300, 4).matrix
    together = ensemble.score(matrix).score
    alone = [ensemble.score(FeatureMatrix(matrix.values[k : k + 1].copy(), NAMES)).score[0] for k in range(300)]
    assert np.array_equal(together, alone)


def test_files_lead_back_to_the_same_scores_and_the_same_bytes(ensemble: Ensemble) -> None:
    matrix = make_rows(300, 5).matrix
    again = restore_ensemble(ensemble.to_files())
    assert again.to_files() == ensemble.to_files()
    assert np.array_equal(again.score(matrix).score, ensemble.score(matrix).score)


def test_weights_are_never_negative_so_no_alarm_makes_a_row_safer(ensemble: Ensemble) -> None:
    assert all(min(formula.weights) >= 0 for formula in ensemble.combination.formulas)


def test_a_missing_member_is_a_stated_mode_with_its_own_formula(ensemble: Ensemble) -> None:
    rows = make_rows(500, 6)
    full, degraded = ensemble.score(rows.matrix), ensemble.score(rows.matrix, frozenset({"boosted"}))
    assert (full.mode, degraded.mode) == ("full", "without boosted")
    assert set(degraded.levels) == {"isolation_forest"}
    assert degraded.score[rows.labels == 1].mean() > degraded.score[rows.labels == 0].mean()


def test_without_any_member_there_is_no_score(ensemble: Ensemble) -> None:
    with pytest.raises(ContractError, match="no degraded mode is known for no member at all"):
        ensemble.score(make_rows(10, 7).matrix, frozenset({"boosted", "isolation_forest"}))


def test_without_labels_it_is_made_of_those_that_need_none(members: list[Member]) -> None:
    unlabelled = fit_ensemble(members, make_rows(2_000, 8, labelled=False), EnsembleSettings())
    assert unlabelled.combination.full.way == "max"
    assert [member.name for member in unlabelled.members] == ["isolation_forest"]


@pytest.mark.parametrize(("way", "expected"), [("max", [3.0, 2.0]), ("mean", [1.5, 2.0])])
def test_surprises_become_one_by_their_maximum_or_their_mean(way: Unlabelled, expected: list[float]) -> None:
    weight = 1.0 if way == "max" else 0.5
    score = Formula(way, ("a", "b"), (weight, weight)).combine(np.array([[3.0, 0.0], [2.0, 2.0]]))
    assert -np.log1p(-score) == pytest.approx(expected)


@pytest.mark.parametrize("way", ["max", "mean"])
def test_the_way_without_labels_is_configuration(members: list[Member], way: Unlabelled) -> None:
    two = [members[0], fitted("z_score", make_rows(2_000, 1))]
    rows = make_rows(2_000, 8, labelled=False)
    ensemble = fit_ensemble(two, rows, EnsembleSettings(unlabelled=way))
    assert ensemble.combination.full.way == way
    surprise = np.stack([ensemble.curves[member.name].surprise(member.score(rows.matrix)) for member in two])
    combined = surprise.max(axis=0) if way == "max" else surprise.mean(axis=0)
    assert ensemble.score(rows.matrix).score == pytest.approx(-np.expm1(-combined))


def test_a_stack_needs_its_stated_number_of_frauds(members: list[Member]) -> None:
    rows = make_rows(2_000, 9)
    frauds = int((rows.labels == 1).sum())
    enough = fit_ensemble(members, rows, EnsembleSettings(least_frauds=frauds))
    too_few = fit_ensemble(members, rows, EnsembleSettings(least_frauds=frauds + 1))
    assert (enough.combination.full.way, too_few.combination.full.way) == ("stack", "max")


def test_one_member_alone_ranks_as_the_member_does(ensemble: Ensemble) -> None:
    matrix = make_rows(500, 10).matrix
    alone = ensemble.alone("boosted")
    raw = ensemble.member("boosted").score(matrix)
    assert np.array_equal(np.argsort(alone.score(matrix).score, kind="stable"), np.argsort(raw, kind="stable"))


def test_an_unknown_member_is_named(ensemble: Ensemble) -> None:
    with pytest.raises(ContractError, match="no member 'forest': it has isolation_forest, boosted"):
        ensemble.member("forest")


def test_two_members_of_one_name_are_refused(members: list[Member]) -> None:
    with pytest.raises(ContractError, match="members of different names"):
        fit_ensemble([members[0], members[0]], make_rows(1_000, 11), EnsembleSettings())


def test_surprise_rises_without_end_and_level_is_the_share_of_lower_scores() -> None:
    reference = np.random.default_rng(0).normal(size=20_000)
    curve = fit_tail(reference)
    grid = np.linspace(-3, 9, 500)
    assert (np.diff(curve.surprise(grid[grid > -2])) > 0).all()
    middle = np.linspace(-1, 2.5, 50)
    share = np.searchsorted(np.sort(reference), middle) / len(reference)
    assert np.abs(curve.level(middle) - share).max() < 0.01


def test_too_few_reference_rows_calibrate_nothing() -> None:
    assert fit_tail(np.arange(100.0)).level(np.array([50.0]))[0] == pytest.approx(0.5, abs=0.02)
    with pytest.raises(ContractError, match="99 rows calibrate a member, at least 100 are needed"):
        fit_tail(np.arange(99.0))


def test_constant_reference_scores_still_give_a_rising_curve() -> None:
    curve = fit_tail(np.ones(200))
    assert np.isfinite(curve.surprise(np.array([0.0, 1.0, 2.0]))).all()
    assert curve.surprise(np.array([2.0]))[0] > curve.surprise(np.array([1.0]))[0]


def test_a_falling_curve_is_refused() -> None:
    stored = fit_tail(np.arange(200.0)).to_array()
    assert restore_tail(stored).level(np.array([150.0]))[0] > 0.7
    with pytest.raises(ContractError, match="it must rise"):
        restore_tail(stored[:, ::-1])


def test_a_negative_weight_in_a_file_is_refused() -> None:
    stored = Combination((Formula("stack", ("a", "b"), (1.0, 0.5)),)).to_json()
    assert restore_combination(stored).full.weights == (1.0, 0.5)
    stored[0]["weights"] = [1.0, -0.5]
    with pytest.raises(ContractError, match="one weight of at least 0 for each member"):
        restore_combination(stored)


def test_log_odds_stay_finite_at_the_ends() -> None:
    odds = log_odds(np.array([0.0, 0.5, 1.0]))
    assert np.isfinite(odds).all()
    assert odds[1] == 0


def test_the_business_score_is_the_weighted_mean_of_its_parts() -> None:
    values = np.array([[1.0, 0.5, 0.0, 0.2, 1.0]], dtype=np.float32)
    scores = score_business(FeatureMatrix(values, PARTS), BusinessWeights())
    assert scores.score[0] == pytest.approx(0.3 + 0.2 * 0.5 + 0.1 * 0.2 + 0.2)


def test_a_missing_part_gives_its_weight_to_the_others_and_none_gives_no_score() -> None:
    values = np.array([[1.0, -1.0, 0.0, 0.0, 0.0], [-1.0] * 5], dtype=np.float32)
    scores = score_business(FeatureMatrix(values, PARTS), BusinessWeights())
    assert scores.score[0] == pytest.approx(0.3 / 0.8)
    assert np.isnan(scores.parts[0, 1])
    assert np.isnan(scores.score[1])


def test_business_weights_sum_to_one() -> None:
    assert BusinessWeights(churn=0.2, outlier=0.1).churn == 0.2
    with pytest.raises(ValueError, match=r"sum to 1\.1, not to 1"):
        BusinessWeights(churn=0.2)
