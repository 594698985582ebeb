import numpy as np
import pytest

from vigil.errors import ContractError
from vigil.members.base import FeatureMatrix, TrainingRows
from vigil.members.catalog import fit_member, load_member, parse_settings
from vigil.members.deviation import DeviationMember
from vigil.members.files import read_arrays, write_arrays
from vigil.members.rolling_quantile import RollingQuantile


def column(values: object, labels: object = None) -> TrainingRows:
    """Return rows of one feature in the order of time."""
    matrix = FeatureMatrix(np.array(values, dtype=np.float32).reshape(-1, 1), ("x",))
    marks = np.zeros(len(matrix)) if labels is None else np.array(labels)
    return TrainingRows(matrix, np.arange(len(matrix), dtype=np.int64), marks.astype(np.int8))


def fitted(kind: str, rows: TrainingRows, **given: object) -> DeviationMember:
    member = fit_member(parse_settings({"kind": kind, **given}), rows)
    assert isinstance(member, DeviationMember)
    return member


def scores_of(member: DeviationMember, *values: float) -> list[float]:
    return member.score(column(values).matrix).tolist()


def test_z_scores_are_distances_from_the_median_in_scaled_median_deviations() -> None:
    member = fitted("z_score", column([1, 2, 3, 4, 5, 6, 100]))
    assert scores_of(member, 4, 6, -2) == pytest.approx([0, 2 / (2 * 1.4826), 6 / (2 * 1.4826)])


def test_iqr_scores_are_distances_from_the_box_in_its_length() -> None:
    member = fitted("iqr", column([0, 10, 20, 30, 40]))
    assert scores_of(member, 20, 30, 40, -10) == pytest.approx([0, 0, 0.5, 1.0])
    assert member.threshold == 1.5


def test_a_control_chart_measures_by_successive_differences() -> None:
    steps = fitted("control_chart", column([0, 1] * 50))
    assert scores_of(steps, 0.5, 0.5 + 3 / 1.128) == pytest.approx([0, 3.0])


def test_a_drifting_level_does_not_widen_a_control_chart_but_a_z_score() -> None:
    drift = column(np.linspace(0, 100, 1000) + np.tile([0, 1], 500))
    chart, z_score = fitted("control_chart", drift), fitted("z_score", drift)
    assert scores_of(chart, 120)[0] > 20 * scores_of(z_score, 120)[0]


def test_known_frauds_are_not_usual() -> None:
    values = [1, 2, 3, 4, 5, 1000]
    with_fraud = fitted("control_chart", column(values, [0, 0, 0, 0, 0, 1]))
    without = fitted("control_chart", column(values[:-1]))
    assert scores_of(with_fraud, 9) == scores_of(without, 9)


def test_a_rare_flag_and_a_constant_are_measured_by_finite_spreads() -> None:
    rare = fitted("z_score", column([0] * 99 + [1]))
    assert scores_of(rare, 1) == pytest.approx([1 / np.std([0] * 99 + [1])])
    constant = fitted("z_score", column([5] * 10))
    assert scores_of(constant, 5, 6) == pytest.approx([0, 2.0])


def test_the_largest_deviation_of_all_features_counts() -> None:
    values = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)
    rows = TrainingRows(FeatureMatrix(values, ("a", "b")), np.arange(100, dtype=np.int64), np.zeros(100, dtype=np.int8))
    member = fit_member(parse_settings({"kind": "z_score"}), rows)
    assert isinstance(member, DeviationMember)
    matrix = FeatureMatrix(np.array([[0.1, -9.0]], dtype=np.float32), ("a", "b"))
    assert member.score(matrix)[0] == member.explain(matrix)[0, 1] > member.explain(matrix)[0, 0]


def rolling(rows: TrainingRows, **given: object) -> RollingQuantile:
    member = fitted("rolling_quantile", rows, **given)
    assert isinstance(member, RollingQuantile)
    return member


def test_rolling_quantiles_follow_a_new_level() -> None:
    member = rolling(column(np.arange(100)), window=100)
    moved = member.after(column(1000 + np.arange(100)).matrix)
    assert scores_of(member, 1050)[0] > member.threshold
    assert scores_of(moved, 1050) == [0.0]
    assert scores_of(moved, 50)[0] > moved.threshold


def test_an_update_leaves_the_member_before_it_as_it_was() -> None:
    member = rolling(column(np.arange(100)), window=50)
    before = member.to_files()
    member.after(column([1e6] * 30).matrix)
    assert member.to_files() == before


def test_updates_in_parts_equal_one_update() -> None:
    member = rolling(column(np.arange(100)), window=60)
    values = np.random.default_rng(0).normal(500, 90, 80)
    whole = member.after(column(values).matrix)
    parts = member.after(column(values[:33]).matrix).after(column(values[33:]).matrix)
    assert parts.to_files() == whole.to_files()


def test_an_updated_member_survives_its_files() -> None:
    member = rolling(column(np.arange(100)), window=60).after(column([200.0] * 30).matrix)
    loaded = load_member(member.to_files())
    assert loaded.to_files() == member.to_files()
    assert scores_of(member, 150, 1e4) == loaded.score(column([150, 1e4]).matrix).tolist()


def test_rows_that_score_too_high_are_not_learned_from_where_that_is_set() -> None:
    flood = column([1e6] * 100).matrix
    guarded = rolling(column(np.arange(100)), window=100, learn_below=1.0).after(flood)
    trusting = rolling(column(np.arange(100)), window=100).after(flood)
    assert scores_of(guarded, 1e6)[0] > guarded.threshold
    assert scores_of(trusting, 1e6) == [0.0]


@pytest.mark.parametrize(
    ("name", "value"),
    [("low", np.zeros(2)), ("spread", np.zeros(1)), ("low", np.full(1, 1e9)), ("high", np.full(1, np.nan))],
)
def test_a_band_that_does_not_hold_together_is_refused(name: str, value: np.ndarray) -> None:
    files = fitted("iqr", column(np.arange(10))).to_files()
    arrays = read_arrays(files, "arrays.npz") | {name: value}
    with pytest.raises(ContractError, match="member iqr is damaged"):
        load_member(files | {"arrays.npz": write_arrays(arrays)})
