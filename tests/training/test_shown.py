import json

import numpy as np
import pytest

from vigil.training.shown import MOST_POINTS, confusion, plain, roc_points


def test_only_what_json_can_say_is_shown() -> None:
    given = {
        "count": np.int64(3),
        "share": np.float32(0.5),
        "flag": np.bool_(True),
        "missing": float("nan"),
        "endless": np.inf,
        "nothing": None,
        "nested": {"a": 1},
        "word": "ok",
    }
    shown = plain(given)
    assert shown == {"count": 3, "share": 0.5, "flag": True, "word": "ok"}
    assert {type(value) for value in shown.values()} == {int, float, bool, str}
    json.dumps(shown, allow_nan=False)


def test_a_roc_curve_is_thinned_without_losing_its_ends_or_its_order() -> None:
    random = np.random.default_rng(1)
    labels = random.random(5000) < 0.1
    scores = random.random(5000) + labels * 0.4
    fpr, tpr, thresholds = roc_points(scores, labels)
    assert len(fpr) == len(tpr) == len(thresholds) <= MOST_POINTS
    assert (fpr[0], tpr[0]) == (0.0, 0.0)
    assert (fpr[-1], tpr[-1]) == (1.0, 1.0)
    assert np.isfinite(thresholds).all()
    for series, sign in ((fpr, 1), (tpr, 1), (thresholds, -1)):
        assert (np.diff(series) * sign >= 0).all()
    for x, y, threshold in zip(fpr[1:], tpr[1:], thresholds[1:], strict=True):
        assert y == pytest.approx((scores[labels] >= threshold).mean())
        assert x == pytest.approx((scores[~labels] >= threshold).mean())


@pytest.mark.parametrize("labels", [[], [True, True], [False, False]])
def test_rows_of_one_label_have_no_curve(labels: list[bool]) -> None:
    assert roc_points([0.5] * len(labels), labels) == ([], [], [])


def test_scores_that_are_no_numbers_have_no_point() -> None:
    fpr, tpr, thresholds = roc_points([0.1, np.nan, 0.9, np.inf], [False, True, True, False])
    assert thresholds == [0.9, 0.9, 0.1]
    assert (fpr, tpr) == ([0.0, 0.0, 1.0], [0.0, 1.0, 1.0])


def test_the_confusion_matrix_has_a_row_for_each_truth() -> None:
    assert confusion(found=4, missed=3, false_alarms=2, passed=1) == [[1, 2], [3, 4]]
