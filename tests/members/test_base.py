import io
import zipfile

import numpy as np
import pytest

from vigil.errors import ContractError
from vigil.members.base import FeatureMatrix, TrainingRows
from vigil.members.files import read_arrays, read_json, write_arrays, write_json

NAMES = ("a", "b", "c")


def matrix(rows: int = 4) -> FeatureMatrix:
    return FeatureMatrix(np.arange(rows * 3, dtype=np.float32).reshape(rows, 3), NAMES)


def training_rows(**changes: object) -> TrainingRows:
    columns = {
        "matrix": matrix(),
        "times": np.array([30, 10, 20, 20], dtype=np.int64),
        "labels": np.array([1, 0, -1, 0], dtype=np.int8),
    }
    return TrainingRows(**(columns | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones((2, 3)), "are float64 with 2 dimensions: pass np.ascontiguousarray"),
        (np.ones(3, dtype=np.float32), "with 1 dimensions"),
        (np.ones((3, 2), dtype=np.float32).T, "pass np.ascontiguousarray"),
        (np.ones((2, 4), dtype=np.float32), "the rows have 4 values, but there are 3 features: a, b, c"),
        (np.ones((0, 3), dtype=np.float32), "nothing to score: 0 rows"),
    ],
)
def test_a_matrix_of_another_shape_or_type_is_refused(values: np.ndarray, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        FeatureMatrix(values, NAMES)


def test_the_first_value_that_is_not_finite_is_named() -> None:
    values = np.ones((5, 3), dtype=np.float32)
    values[3, 1] = np.nan
    values[4, 0] = np.inf
    with pytest.raises(ContractError, match="feature b of row 3 is nan"):
        FeatureMatrix(values, NAMES)


def test_two_columns_of_one_name_are_refused() -> None:
    with pytest.raises(ContractError, match="feature a is there twice"):
        FeatureMatrix(np.ones((1, 3), dtype=np.float32), ("a", "b", "a"))


def test_selecting_all_columns_in_their_order_copies_nothing() -> None:
    assert matrix().select(NAMES).base is None or np.shares_memory(matrix().select(NAMES), matrix().values) is False
    whole = matrix()
    assert whole.select(("a", "b", "c")) is whole.values


def test_selected_columns_are_contiguous_in_the_order_asked_for() -> None:
    selected = matrix(2).select(("c", "a"))
    assert selected.flags.c_contiguous
    assert selected.tolist() == [[2, 0], [5, 3]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"times": np.zeros(3, dtype=np.int64)}, r"times are int64 of shape \(3,\), expected int64 of shape \(4,\)"),
        ({"times": np.zeros(4)}, "times are float64"),
        ({"labels": np.zeros(4, dtype=np.int64)}, "labels are int64"),
        ({"labels": np.array([0, 0, 2, 0], dtype=np.int8)}, "label of row 2 is 2"),
        ({"weights": np.array([1, 1, 1, 0], dtype=np.float32)}, "weight of row 3 is 0.0: weights are positive"),
    ],
)
def test_wrong_training_columns_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        training_rows(**changes)


def test_prepared_rows_are_in_the_order_of_time_and_ties_keep_theirs() -> None:
    prepared = training_rows(weights=np.array([1, 2, 3, 4], dtype=np.float32)).prepared(())
    assert prepared.times.tolist() == [10, 20, 20, 30]
    assert prepared.labels.tolist() == [0, -1, 0, 1]
    assert prepared.weights is not None
    assert prepared.weights.tolist() == [2, 3, 4, 1]
    assert prepared.matrix.values[:, 0].tolist() == [3, 6, 9, 0]


def test_groups_stand_for_their_features_once() -> None:
    prepared = training_rows(groups={"ends": ("c", "a")}).prepared(("a", "ends"))
    assert prepared.matrix.names == ("a", "c")


def test_an_unknown_feature_or_group_is_named_with_those_that_exist() -> None:
    with pytest.raises(ContractError, match="velocity is neither a feature nor a group: features a, b, c; groups ends"):
        training_rows(groups={"ends": ("c", "a")}).prepared(("velocity",))


def test_rows_not_known_as_fraud_are_the_legitimate_and_the_unknown() -> None:
    assert training_rows().normal[:, 0].tolist() == [3, 6, 9]


def test_arrays_have_the_same_bytes_at_any_time_and_in_any_order() -> None:
    first, second = np.arange(3), np.ones((2, 2), dtype=np.float32)
    written = write_arrays({"first": first, "second": second})
    assert written == write_arrays({"second": second, "first": first})
    with zipfile.ZipFile(io.BytesIO(written)) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_an_array_of_objects_is_neither_written_nor_read() -> None:
    objects = np.array([{"a": 1}], dtype=object)
    with pytest.raises(ValueError, match="allow_pickle"):
        write_arrays({"objects": objects})
    buffer = io.BytesIO()
    np.savez(buffer, objects=objects)
    with pytest.raises(ContractError, match=r"arrays\.npz is not an npz of plain arrays"):
        read_arrays({"arrays.npz": buffer.getvalue()}, "arrays.npz")


def test_json_that_is_no_object_is_refused() -> None:
    with pytest.raises(ContractError, match="holds a JSON list"):
        read_json({"member.json": b"[]"}, "member.json")


def test_json_refuses_nan() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json({"threshold": float("nan")})
