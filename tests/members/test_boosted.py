import json

import numpy as np
import pytest
import xgboost as xgb
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.members.subjects import FEATURES, make_rows, make_values
from vigil.errors import ContractError
from vigil.members.base import FeatureMatrix, TooFewLabels, TrainingRows
from vigil.members.boosted import Boosted
from vigil.members.catalog import fit_member, load_member, parse_settings
from vigil.members.xgboost_file import read_booster

QUICK = {"kind": "boosted", "rounds": 30, "max_bin": 64}


def boosted(rows: TrainingRows, **given_settings: object) -> Boosted:
    member = fit_member(parse_settings({**QUICK, **given_settings}), rows)
    assert isinstance(member, Boosted)
    return member


def relabelled(rows: TrainingRows, labels: np.ndarray) -> TrainingRows:
    return TrainingRows(rows.matrix, rows.times, labels.astype(np.int8), rows.weights)


def usual(count: int = 300) -> FeatureMatrix:
    return FeatureMatrix(make_values(count, seed=9), FEATURES)


def booster_of(member: Boosted, bag: int = 0) -> xgb.Booster:
    return xgb.Booster(model_file=bytearray(member.to_files()[f"booster_{bag}.json"]))


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000), depth=st.integers(1, 9), rounds=st.integers(1, 60))
def test_margins_are_those_of_xgboost_bit_for_bit(seed: int, depth: int, rounds: int) -> None:
    member = boosted(make_rows(2000, seed), max_depth=depth, rounds=rounds, early_stopping=None)
    reference = booster_of(member).inplace_predict(usual().values, predict_type="margin")
    assert np.array_equal(member.margins(usual()), reference)


def test_contributions_are_those_of_xgboost() -> None:
    member = boosted(make_rows(), max_depth=8)
    reference = booster_of(member).predict(xgb.DMatrix(usual().values), pred_contribs=True)
    np.testing.assert_allclose(member.explain(usual()), reference[:, :-1], atol=1e-4)
    assert member.expected_margin == pytest.approx(float(reference[0, -1]), abs=1e-4)


def test_contributions_add_up_to_the_margin() -> None:
    member = boosted(make_rows(), bags=2)
    total = member.expected_margin + member.explain(usual()).sum(axis=1)
    np.testing.assert_allclose(total, member.margins(usual()), atol=1e-5)


def test_bags_average_the_margins_of_different_models() -> None:
    member = boosted(make_rows(), bags=3)
    margins = [booster_of(member, bag).inplace_predict(usual().values, predict_type="margin") for bag in range(3)]
    assert not np.array_equal(margins[0], margins[1])
    np.testing.assert_allclose(member.margins(usual()), np.mean(margins, axis=0), atol=1e-6)


def test_it_abstains_below_the_stated_number_of_frauds() -> None:
    rows = make_rows()
    few = rows.labels.copy()
    few[np.flatnonzero(few == 1)[49:]] = 0
    outcome = fit_member(parse_settings(QUICK), relabelled(rows, few))
    assert outcome == TooFewLabels(
        "boosted", 49, 50, "49 labelled frauds are too few to learn from, it needs 50 (least_frauds)"
    )


def test_it_does_not_abstain_at_the_stated_number_of_frauds() -> None:
    rows = make_rows()
    found = int((rows.labels == 1).sum())
    assert boosted(rows, least_frauds=found).facts["frauds"] == found


def test_it_abstains_when_the_latest_rows_hold_no_frauds() -> None:
    rows = make_rows()
    labels = np.where(np.arange(len(rows)) < 1200, rows.labels, 0)
    outcome = fit_member(parse_settings(QUICK), relabelled(rows, labels))
    assert isinstance(outcome, TooFewLabels)
    assert (outcome.found, outcome.needed) == (0, 10)
    assert outcome.reason.startswith("0 frauds in the later part of the labelled rows, it needs 10")


def test_it_abstains_when_the_rows_cannot_be_cut_in_time() -> None:
    rows = make_rows()
    outcome = fit_member(parse_settings(QUICK), TrainingRows(rows.matrix, np.zeros_like(rows.times), rows.labels))
    assert isinstance(outcome, TooFewLabels)
    assert "in the earlier part" in outcome.reason


def test_it_abstains_without_any_label() -> None:
    rows = make_rows(50)
    outcome = fit_member(parse_settings(QUICK), relabelled(rows, np.full(50, -1)))
    assert isinstance(outcome, TooFewLabels)


def test_rows_of_unknown_label_teach_nothing() -> None:
    rows = make_rows()
    labels = np.where(np.arange(len(rows)) % 3 == 0, -1, rows.labels)
    known = rows.take(labels != -1)
    files = boosted(relabelled(rows, labels)).to_files()
    assert files["booster_0.json"] == boosted(known).to_files()["booster_0.json"]


def test_the_latest_rows_are_held_out_and_those_of_one_moment_stay_together() -> None:
    rows = make_rows()
    times = rows.times.copy()
    times[1100:1250] = times[1100]
    member = boosted(TrainingRows(rows.matrix, times, rows.labels), held_out=0.2)
    assert member.facts["held_out_rows"] == len(rows) - 1100


def test_the_refit_learns_from_the_held_out_rows_too() -> None:
    rows = make_rows()
    values = rows.matrix.values.copy()
    values[1400:, 0] += 1.0
    other = TrainingRows(FeatureMatrix(values, FEATURES), rows.times, rows.labels)
    once = {"refit": False, "early_stopping": None}
    assert boosted(rows, **once).boosters == boosted(other, **once).boosters
    assert boosted(rows, **once | {"refit": True}).boosters != boosted(other, **once | {"refit": True}).boosters


def test_early_stopping_ends_before_the_last_round() -> None:
    rows = make_rows()
    noise = np.random.default_rng(0).permutation(rows.labels)
    member = boosted(relabelled(rows, noise), rounds=200, early_stopping=5, learning_rate=0.3)
    assert member.facts["rounds"][0] < 200


def test_a_monotone_feature_never_lowers_the_score() -> None:
    values = np.repeat(make_values(20, seed=3), 50, axis=0)
    values[:, 3] = np.tile(np.linspace(1, 500, 50), 20)
    matrix = FeatureMatrix(values, FEATURES)
    free = boosted(make_rows(seed=4)).score(matrix).reshape(20, 50)
    held = boosted(make_rows(seed=4), monotone={"mean_30d": 1}).score(matrix).reshape(20, 50)
    assert (np.diff(free, axis=1) < 0).any()
    assert (np.diff(held, axis=1) >= 0).all()


def test_a_monotone_feature_that_it_does_not_have_is_refused() -> None:
    with pytest.raises(ContractError, match="member boosted, monotone: price is not among its features"):
        boosted(make_rows(), monotone={"price": 1})


@pytest.mark.parametrize(("fraud_weight", "factor"), [("balanced", 1.0), ("root", 0.5)])
def test_the_weight_of_a_fraud_follows_from_the_labels(fraud_weight: str, factor: float) -> None:
    rows = make_rows()
    ratio = (rows.labels == 0).sum() / (rows.labels == 1).sum()
    assert boosted(rows, fraud_weight=fraud_weight).facts["fraud_weight"] == pytest.approx(ratio**factor)


def test_heavier_rows_count_for_more() -> None:
    rows = make_rows()
    weights = np.where(rows.matrix.values[:, 5] > 10, 5.0, 1.0).astype(np.float32)
    weighted = TrainingRows(rows.matrix, rows.times, rows.labels, weights)
    assert boosted(weighted).boosters != boosted(rows).boosters


@pytest.mark.parametrize("calibration", ["beta", "platt", "isotonic"])
def test_scores_are_calibrated_probabilities(calibration: str) -> None:
    rows, later = make_rows(4000), make_rows(4000, seed=50)
    member = boosted(rows, calibration=calibration, fraud_weight=30.0)
    scores = member.score(later.matrix)
    raw = 1 / (1 + np.exp(-member.margins(later.matrix)))
    assert abs(scores.mean() - later.labels.mean()) < 0.02
    assert np.mean((scores - later.labels) ** 2) < np.mean((raw - later.labels) ** 2)


def test_the_file_is_xgboosts_own() -> None:
    member = boosted(make_rows())
    assert booster_of(member).num_boosted_rounds() == member.facts["rounds"][0]


def broken(member: Boosted, change: str) -> bytes:
    """Return the member's booster with one thing changed."""
    content = json.loads(member.boosters[0])
    learner = content["learner"]
    if change == "objective":
        learner["objective"]["name"] = "reg:squarederror"
    elif change == "booster":
        learner["gradient_booster"]["name"] = "dart"
    elif change == "features":
        learner["learner_model_param"]["num_feature"] = "7"
    else:
        learner["gradient_booster"]["model"]["trees"][0]["split_type"][0] = 1
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("objective", "it is reg:squarederror by gbtree"),
        ("booster", "binary:logistic by dart"),
        ("features", "it has 7 features, the member has 6"),
        ("categories", "it splits on categories"),
    ],
)
def test_a_booster_of_another_make_is_refused(change: str, message: str) -> None:
    member = boosted(make_rows())
    read_booster(member.boosters[0], "booster_0.json", features=6)
    with pytest.raises(ContractError, match=f"booster_0.json is not a binary classifier.*{message}"):
        load_member(member.to_files() | {"booster_0.json": broken(member, change)})
