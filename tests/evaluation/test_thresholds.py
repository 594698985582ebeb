import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation.samples import START, sample
from vigil.clock import DAY
from vigil.errors import ContractError
from vigil.evaluation.operating import costs
from vigil.evaluation.rows import ScoredRows
from vigil.evaluation.splits import Window
from vigil.evaluation.thresholds import (
    ThresholdPolicy,
    budget_threshold,
    cost_threshold,
    fit_thresholds,
    read_thresholds,
    recalculate,
    write_thresholds,
)

WINDOW = Window(start=START, end=START + 14 * DAY)
LATER = Window(start=WINDOW.end, end=WINDOW.end + 14 * DAY)
BUDGET = ThresholdPolicy(rule="budget", alerts_per_day=10, minimum_rows=100)
COST = ThresholdPolicy(rule="cost", cost_per_alert=5, minimum_rows=100, minimum_positives=5)


def _later(seed: int = 1, scale: float = 1.0) -> ScoredRows:
    rows = sample(seed)
    return dataclasses.replace(rows, event_time=rows.event_time + 14 * DAY, scores=rows.scores * scale)


_rows = st.lists(st.tuples(st.integers(0, 8), st.booleans(), st.floats(-5, 50)), min_size=1, max_size=40)


@given(_rows, st.floats(0.1, 20))
@settings(max_examples=80, deadline=None)
def test_no_threshold_costs_less_than_the_one_by_cost(rows: list[tuple[int, bool, float]], per_alert: float) -> None:
    scores, labels, amounts = (np.array(column) for column in zip(*rows, strict=True))
    scores = scores.astype(float)

    def cost(threshold: float) -> float:
        return costs(scores >= threshold, labels, amounts, per_alert).sum()

    least = min(cost(threshold) for threshold in [*np.unique(scores), np.inf])
    assert cost(cost_threshold(scores, labels, amounts, per_alert)) == pytest.approx(least)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.floats(0, 50))
@settings(max_examples=80, deadline=None)
def test_the_budget_is_kept_and_no_lower_threshold_would_keep_it(values: list[int], alerts: float) -> None:
    scores = np.array(values, float)
    threshold = budget_threshold(scores, alerts)
    assert (scores >= threshold).sum() <= alerts
    lower = scores[scores < threshold]
    assert not len(lower) or (scores >= lower.max()).sum() > alerts


def test_the_budget_counts_the_days_of_the_window_and_not_of_the_rows() -> None:
    rows = sample()
    one_day = rows.take(rows.days == rows.days.min())
    found = fit_thresholds(one_day, BUDGET, WINDOW)
    assert (one_day.scores >= found.overall).sum() == 140


def test_a_threshold_by_budget_needs_no_labels() -> None:
    rows = dataclasses.replace(sample(), labels=None)
    assert fit_thresholds(rows, BUDGET, WINDOW).overall == fit_thresholds(sample(), BUDGET, WINDOW).overall


def test_a_threshold_by_cost_without_labels_is_refused() -> None:
    with pytest.raises(ContractError, match="a threshold by cost needs labels"):
        fit_thresholds(dataclasses.replace(sample(), labels=None), COST, WINDOW)


def test_each_segment_gets_its_own_threshold_and_its_share_of_the_budget() -> None:
    rows = sample()
    found = fit_thresholds(rows, BUDGET.model_copy(update={"by": ("site",)}), WINDOW)
    inside = rows.segment("site") == "site 3"
    share = 140 * inside.sum() / len(rows)
    assert share - 1 < (rows.scores[inside] >= found.by_key["site 3"]).sum() <= share
    assert set(found.by_key) == {"site 0", "site 1", "site 2", "site 3"}


def test_a_segment_with_too_few_rows_falls_back_to_the_global_threshold_and_says_so() -> None:
    rows = sample()
    sites = rows.segment("site").copy()
    sites[:5] = "new"
    rows = dataclasses.replace(rows, segments={"site": sites})
    found = fit_thresholds(rows, BUDGET.model_copy(update={"by": ("site",)}), WINDOW)
    assert found.fallbacks == {"new": "5 rows, fewer than 100: the global threshold"}
    assert found.of(np.array(["new", "site 1"])).tolist() == [found.overall, found.by_key["site 1"]]


def test_a_segment_with_too_few_positives_falls_back_where_the_rule_is_cost() -> None:
    found = fit_thresholds(sample(), COST.model_copy(update={"by": ("site",), "minimum_positives": 21}), WINDOW)
    assert found.fallbacks
    assert all("positive rows, fewer than 21" in reason for reason in found.fallbacks.values())


def test_a_segment_never_seen_has_the_global_threshold() -> None:
    found = fit_thresholds(sample(), BUDGET.model_copy(update={"by": ("site",)}), WINDOW)
    assert found.of(np.array(["elsewhere"])).tolist() == [found.overall]


def test_thresholds_may_lie_by_several_segments_at_once() -> None:
    rows = sample()
    rows = dataclasses.replace(
        rows, segments={**rows.segments, "metric": np.where(rows.amounts > 50, "large", "small")}
    )
    policy = BUDGET.model_copy(update={"by": ("metric", "site")})
    assert "large|site 1" in fit_thresholds(rows, policy, WINDOW).by_key


@pytest.mark.parametrize(("limits", "expected"), [({"floor": 0.999}, 0.999), ({"ceiling": 0.2}, 0.2)])
def test_floor_and_ceiling_hold_and_are_noted(limits: dict[str, float], expected: float) -> None:
    found = fit_thresholds(sample(), BUDGET.model_copy(update=limits), WINDOW)
    assert found.overall == expected
    assert found.notes[0].startswith("all rows: the rule wants")


def test_a_floor_above_the_ceiling_is_refused() -> None:
    with pytest.raises(ValueError, match="lies above ceiling"):
        ThresholdPolicy(floor=0.9, ceiling=0.1)


def test_rows_outside_the_calibration_window_are_refused() -> None:
    with pytest.raises(ContractError, match="outside the calibration window"):
        fit_thresholds(sample(), BUDGET, Window(start=START, end=START + DAY))


def test_too_few_rows_for_any_threshold_are_refused() -> None:
    with pytest.raises(ContractError, match=r"no threshold can be set .* 50 rows, fewer than 100"):
        fit_thresholds(sample().take(np.arange(50)), BUDGET, WINDOW)


def test_thresholds_cannot_be_tried_on_the_rows_that_they_were_set_on() -> None:
    found = fit_thresholds(sample(), BUDGET, WINDOW)
    with pytest.raises(ContractError, match="lie in the window that the thresholds were set on"):
        found.for_rows(sample())


def test_thresholds_have_a_value_for_each_later_row() -> None:
    rows = _later()
    found = fit_thresholds(sample(), BUDGET.model_copy(update={"by": ("site",)}), WINDOW)
    inside = rows.segment("site") == "site 2"
    assert set(found.for_rows(rows)[inside]) == {found.by_key["site 2"]}


def test_thresholds_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    found = fit_thresholds(sample(), BUDGET.model_copy(update={"by": ("site",)}), WINDOW)
    version = write_thresholds(found, tmp_path / "thresholds.json")
    again = read_thresholds(tmp_path / "thresholds.json")
    assert (again, again.content_hash) == (found, version)


def test_the_version_changes_with_the_rows_and_with_the_policy() -> None:
    versions = {
        fit_thresholds(sample(), BUDGET, WINDOW).content_hash,
        fit_thresholds(sample(1), BUDGET, WINDOW).content_hash,
        fit_thresholds(sample(), BUDGET.model_copy(update={"alerts_per_day": 11}), WINDOW).content_hash,
    }
    assert len(versions) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "there are no thresholds"), ("{}", "policy: Field required"), ("[", "holds no thresholds")],
)
def test_a_file_without_thresholds_is_refused_by_name(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "thresholds.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ContractError, match=message):
        read_thresholds(path)


def test_a_recalculation_on_recent_scores_follows_them() -> None:
    before = fit_thresholds(sample(), BUDGET, WINDOW)
    change = recalculate(before, _later(scale=0.9), LATER)
    assert change.after.overall < before.overall
    assert change.moved["overall"] == pytest.approx(change.after.overall - before.overall)
    assert change.after.window == LATER


def test_a_recalculation_that_moves_too_far_is_held_back_and_says_so() -> None:
    before = fit_thresholds(sample(), BUDGET.model_copy(update={"maximum_step": 0.1}), WINDOW)
    change = recalculate(before, _later(scale=0.3), LATER)
    assert change.after.overall == pytest.approx(before.overall - 0.1)
    assert "more than one step of 0.1" in change.held["overall"]


def test_a_recalculation_on_older_rows_is_refused() -> None:
    before = fit_thresholds(_later(), BUDGET, LATER)
    with pytest.raises(ContractError, match="is not more recent"):
        recalculate(before, sample(), WINDOW)
