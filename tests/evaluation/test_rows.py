import dataclasses

import numpy as np
import pytest

from tests.evaluation.samples import sample
from vigil.errors import ContractError
from vigil.evaluation.rows import ScoredRows


def test_a_score_that_is_nan_is_refused_with_its_row() -> None:
    with pytest.raises(ContractError, match="scores of row 1 is nan"):
        ScoredRows(np.array([0.1, np.nan]), np.zeros(2))


def test_a_label_other_than_0_and_1_is_refused_with_its_row() -> None:
    with pytest.raises(ContractError, match="label of row 2 is 2: 0 or 1"):
        ScoredRows(np.zeros(3), np.zeros(3), labels=np.array([0, 1, 2]))


@pytest.mark.parametrize("name", ["event_time", "labels", "amounts", "entities"])
def test_a_column_of_another_length_is_refused_by_name(name: str) -> None:
    with pytest.raises(ContractError, match=f"{name} has shape"):
        dataclasses.replace(sample(), **{name: np.zeros(3)})


def test_a_segment_that_the_rows_do_not_have_is_named_with_those_they_have() -> None:
    with pytest.raises(ContractError, match=r"no segment 'shop' \(known: site\)"):
        sample().segment("shop")


def test_what_is_missing_is_said_together_with_what_it_is_needed_for() -> None:
    with pytest.raises(ContractError, match="a metric needs labels"):
        ScoredRows(np.zeros(3), np.zeros(3)).need_labels("a metric")


def test_the_hash_is_that_of_the_rows_and_not_of_the_scores() -> None:
    rows = sample()
    assert rows.with_scores(1 - rows.scores).rows_hash == rows.rows_hash


@pytest.mark.parametrize("name", ["event_time", "labels", "amounts", "entities"])
def test_the_hash_changes_with_every_other_column(name: str) -> None:
    rows = sample()
    changed = dataclasses.replace(rows, **{name: getattr(rows, name)[::-1].copy()})
    assert changed.rows_hash != rows.rows_hash


def test_rows_can_be_taken_by_mask_with_everything_that_belongs_to_them() -> None:
    rows = sample()
    part = rows.take(rows.segment("site") == "site 1")
    assert set(part.segment("site")) == {"site 1"}
    assert len(part.need_amounts("a test")) == len(part)
