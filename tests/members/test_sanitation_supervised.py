"""What the supervised member is not taught: doubtful labels, copies, crowds; and that the rest stays."""

from dataclasses import replace

import numpy as np

from tests.members.test_sanitation import usual_rows
from tests.members.test_sanitation_poison import labelled_rows
from vigil.members.base import FRAUD, LEGITIMATE, UNKNOWN, FeatureMatrix, TrainingRows
from vigil.members.fitting.sanitation.settings import SanitationSettings
from vigil.members.fitting.sanitation.supervised import Supervised, screen_supervised

DEFAULTS = SanitationSettings()


def rules(found: Supervised) -> set[str]:
    return set(found.excluded["rule"].to_pylist())


def called_legitimate() -> tuple[TrainingRows, np.ndarray]:
    """Rows with every third fraud called legitimate, and which ones."""
    rows = labelled_rows(flipped=0)
    chosen = np.flatnonzero(rows.labels == FRAUD)[::3]
    labels = rows.labels.copy()
    labels[chosen] = LEGITIMATE
    return replace(rows, labels=labels), chosen


def test_most_frauds_that_are_called_legitimate_are_not_taught() -> None:
    rows, chosen = called_legitimate()
    found = screen_supervised(rows, DEFAULTS)
    assert (~found.kept[chosen]).mean() >= 0.7
    assert "labelled_legitimate_surely_fraud" in rules(found)


def test_of_labels_that_fit_hardly_any_row_is_left_out_and_no_fraud() -> None:
    rows = labelled_rows(flipped=0)
    found = screen_supervised(rows, DEFAULTS)
    assert found.kept.mean() >= 0.99
    assert found.kept[rows.labels == FRAUD].mean() >= 0.99
    assert found.notes == ()


def test_copies_of_an_ordinary_row_are_not_taught_but_the_first() -> None:
    rows = labelled_rows(flipped=0)
    values = rows.matrix.values.copy()
    copies = np.flatnonzero(rows.labels == LEGITIMATE)[:15]
    values[copies] = values[copies[0]]
    found = screen_supervised(replace(rows, matrix=FeatureMatrix(values, rows.matrix.names)), DEFAULTS)
    assert not found.kept[copies[1:]].any()
    assert len(set(found.excluded["row"].to_pylist())) == found.excluded.num_rows


def test_most_of_a_crowd_that_the_trusted_rows_do_not_know_is_not_taught() -> None:
    rows, random = usual_rows(), np.random.default_rng(2)
    crowd = np.arange(0, 2000, 50)
    values = rows.matrix.values.copy()
    values[crowd, 0] = random.uniform(300, 3000, len(crowd))
    poisoned = replace(rows, matrix=FeatureMatrix(values, rows.matrix.names))
    trusted = usual_rows(2000, seed=1).matrix
    assert (~screen_supervised(poisoned, DEFAULTS, reference=trusted).kept[crowd]).mean() >= 0.7
    assert screen_supervised(rows, DEFAULTS, reference=trusted).kept.mean() >= 0.99


def test_without_labels_it_says_that_they_were_not_judged() -> None:
    rows = usual_rows()
    found = screen_supervised(replace(rows, labels=np.full(len(rows), UNKNOWN, np.int8)), DEFAULTS)
    assert found.kept.mean() >= 0.99
    assert found.notes == ("0 labelled frauds are too few to judge labels by, it needs 50",)


def test_a_screen_that_would_leave_out_too_much_leaves_out_nothing_and_says_so() -> None:
    rows = labelled_rows(flipped=0)
    values = rows.matrix.values.copy()
    values[100:400] = values[101]
    found = screen_supervised(replace(rows, matrix=FeatureMatrix(values, rows.matrix.names)), DEFAULTS)
    assert "copies" not in rules(found)
    assert found.kept.mean() >= 0.97
    assert any(note.startswith("poison: ") for note in found.notes)
