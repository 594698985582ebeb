"""Poison in the calibration window is left out of it; what else is rare there stays, for it is the tail."""

from dataclasses import replace

import numpy as np

from tests.members.test_sanitation import usual_rows, with_values
from vigil.members.base import FRAUD, FeatureMatrix, TrainingRows
from vigil.members.fitting.sanitation.likeness import fraud_lift
from vigil.members.fitting.sanitation.settings import LikenessScreen, SanitationSettings
from vigil.training.sanitize import screen_calibration

DEFAULTS = SanitationSettings()


def copied(count: int) -> TrainingRows:
    """Usual rows, the first `count` of which are one and the same."""
    rows = usual_rows()
    values = rows.matrix.values.copy()
    values[:count] = values[0]
    return replace(rows, matrix=FeatureMatrix(values, rows.matrix.names))


def test_copies_do_not_calibrate() -> None:
    kept, found = screen_calibration(copied(15), DEFAULTS, {})
    assert found.counts == {"copies": 14}
    assert np.flatnonzero(~kept).tolist() == list(range(1, 15))


def test_of_usual_rows_all_calibrate() -> None:
    kept, _ = screen_calibration(usual_rows(), DEFAULTS, {})
    assert kept.mean() > 0.999


def test_an_outlier_calibrates() -> None:
    kept, _ = screen_calibration(with_values(usual_rows(), slice(7, 8), 0, 1e7), DEFAULTS, {})
    assert kept[7]


def test_known_frauds_and_rows_like_them_calibrate() -> None:
    rows = with_values(usual_rows(), slice(0, 200, 2), 0, 4000)
    labels = rows.labels.copy()
    labels[0:160:2] = FRAUD
    lesson = replace(rows, labels=labels)
    assert (fraud_lift(lesson, 0)[160:200:2] > LikenessScreen().lift).all()
    kept, _ = screen_calibration(lesson, SanitationSettings(likeness=LikenessScreen(), poison=None), {})
    assert kept.all()


def test_a_screen_that_would_leave_out_too_much_leaves_out_nothing_and_says_so() -> None:
    kept, found = screen_calibration(copied(200), DEFAULTS, {})
    assert kept.all()
    assert found.failures[0].startswith("poison: 10.0% of 2,000 rows would be left out")
