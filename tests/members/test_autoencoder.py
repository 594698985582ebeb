import numpy as np
import pytest

from tests.members.subjects import FEATURES, fit, make_rows, make_values, subject_of
from vigil.errors import ContractError
from vigil.members.autoencoder import Autoencoder
from vigil.members.base import FeatureMatrix, TrainingRows
from vigil.members.catalog import load_member, parse_settings
from vigil.members.files import read_arrays, write_arrays

QUICK = {"kind": "autoencoder", "epochs": 3, "batch": 128}


def autoencoder(rows: TrainingRows, **given_settings: object) -> Autoencoder:
    member = fit(parse_settings({**QUICK, **given_settings}), rows)
    assert isinstance(member, Autoencoder)
    return member


def fitted() -> Autoencoder:
    member = subject_of("autoencoder").member
    assert isinstance(member, Autoencoder)
    return member


def errors_by_definition(member: Autoencoder, values: np.ndarray) -> np.ndarray:
    """Return the errors per feature as plain matrix algebra in float64."""
    scaling, network = member.scaling, member.network
    scaled = (values - scaling.centre) / scaling.spread
    current = np.clip(scaled, scaling.low, scaling.high)
    weight, bias = 0, 0
    for layer, (taken, made) in enumerate(zip(network.widths, network.widths[1:], strict=False)):
        weights = network.weights[weight : weight + taken * made].reshape(taken, made)
        current = current @ weights + network.biases[bias : bias + made]
        current = [lambda x: x, lambda x: np.maximum(x, 0), np.tanh][network.activations[layer]](current)
        weight, bias = weight + taken * made, bias + made
    return np.abs(scaled - current) / scaling.usual_error


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_scores_are_mean_errors_of_the_network(activation: str) -> None:
    member = autoencoder(make_rows(300), activation=activation, layers=(9, 5))
    values = make_values(50, seed=8)
    errors = errors_by_definition(member, values)
    matrix = FeatureMatrix(values, FEATURES)
    np.testing.assert_allclose(member.explain(matrix), errors / 6, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(member.score(matrix), errors.mean(axis=1), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize("direction", [-1, 1])
def test_the_further_a_value_is_out_of_the_training_range_the_higher_it_scores(feature: str, direction: int) -> None:
    member, column = fitted(), FEATURES.index(feature)
    values = np.repeat(np.median(make_values(500, seed=0), axis=0)[None].astype(np.float32), 8, axis=0)
    steps = np.array([3, 10, 30, 100, 1e3, 1e4, 1e6, 1e9]) * member.scaling.spread[column]
    beyond = member.scaling.high if direction > 0 else member.scaling.low
    edge = member.scaling.centre[column] + beyond[column] * member.scaling.spread[column]
    values[:, column] = edge + direction * steps
    scores = member.score(FeatureMatrix(values, FEATURES))
    assert (np.diff(scores) > 0).all()
    assert scores[-1] > 1000 * member.threshold


def test_known_frauds_teach_nothing() -> None:
    rows = make_rows(300)
    changed = rows.matrix.values.copy()
    changed[rows.labels == 1] += 5
    other = TrainingRows(FeatureMatrix(changed, FEATURES), rows.times, rows.labels)
    assert autoencoder(rows).to_files() == autoencoder(other).to_files()
    assert autoencoder(rows).facts["rows_left_out"] == int((rows.labels == 1).sum())


def test_training_stops_when_the_held_out_rows_gain_no_more() -> None:
    member = autoencoder(make_rows(300), epochs=200, patience=1, learning_rate=0.05)
    assert member.facts["epochs"] < 200
    assert len(member.facts["held_out_loss"]) == member.facts["epochs"]


def test_the_latest_rows_are_held_out() -> None:
    rows = make_rows(300)
    legitimate = int((rows.labels == 0).sum())
    member = autoencoder(rows, held_out=0.25)
    assert member.facts["held_out_rows"] == legitimate - int(legitimate * 0.75)


def test_the_threshold_is_a_quantile_of_the_held_out_scores() -> None:
    rows = make_rows(600)
    member = autoencoder(rows, quantile=0.9)
    latest = rows.normal[-member.facts["held_out_rows"] :]
    scores = member.score(FeatureMatrix(np.ascontiguousarray(latest), FEATURES))
    assert member.threshold == pytest.approx(np.quantile(scores, 0.9))


def test_the_shape_is_the_one_asked_for() -> None:
    member = autoencoder(make_rows(100), profile="100-32-100", epochs=1)
    assert member.network.widths.tolist() == [6, 100, 32, 100, 6]


def test_another_seed_gives_another_network() -> None:
    rows = make_rows(100)
    assert autoencoder(rows, seed=1, epochs=1).to_files() != autoencoder(rows, seed=2, epochs=1).to_files()


@pytest.mark.parametrize("loss", ["mae", "huber"])
def test_the_loss_can_be_chosen(loss: str) -> None:
    rows = make_rows(100)
    assert autoencoder(rows, loss=loss, epochs=1).to_files() != autoencoder(rows, epochs=1).to_files()


def test_a_feature_that_never_varied_scores_when_it_does() -> None:
    rows = make_rows(200)
    values = rows.matrix.values.copy()
    values[:, 4] = 0.0
    member = autoencoder(TrainingRows(FeatureMatrix(values, FEATURES), rows.times, rows.labels))
    varied = values.copy()
    varied[:, 4] = 1.0
    before, after = (member.score(FeatureMatrix(part, FEATURES)) for part in (values, varied))
    assert (after > before + 10).all()


@pytest.mark.parametrize(
    ("name", "value"), [("widths", np.array([6, 9, 6], dtype=np.int32)), ("spread", np.zeros(6)), ("low", np.zeros(5))]
)
def test_arrays_that_do_not_fit_together_are_refused(name: str, value: np.ndarray) -> None:
    files = fitted().to_files()
    arrays = read_arrays(files, "arrays.npz") | {name: value}
    with pytest.raises(ContractError, match="member autoencoder is damaged"):
        load_member(files | {"arrays.npz": write_arrays(arrays)})
