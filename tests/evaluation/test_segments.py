import numpy as np
import pytest

from tests.evaluation.samples import FEW, sample
from vigil.evaluation.metrics import measure
from vigil.evaluation.rows import ScoredRows
from vigil.evaluation.segments import REST, SegmentSettings, false_positive_rates, measure_segments


def test_the_metrics_of_a_segment_are_those_of_its_rows_alone() -> None:
    rows = sample()
    found = {one.segment: one for one in measure_segments(rows, "site", FEW, 0.8)}
    inside = rows.segment("site") == "site 2"
    assert found["site 2"].metrics == measure(rows.take(inside), FEW, 0.8)


def test_a_threshold_for_each_row_goes_with_its_segment() -> None:
    rows = sample()
    thresholds = np.where(rows.segment("site") == "site 2", 0.9, 0.1)
    found = {one.segment: one.metrics["recall"].value for one in measure_segments(rows, "site", FEW, thresholds)}
    assert found["site 2"] < found["site 1"]


def test_segments_that_are_too_small_are_measured_together() -> None:
    rows = sample()
    settings = SegmentSettings(minimum_rows=int(np.sort(np.unique(rows.segment("site"), return_counts=True)[1])[2]))
    found = measure_segments(rows, "site", FEW, segments=settings)
    assert [one.segment for one in found][-1] == f"{REST}: 2"
    assert sum(one.rows for one in found) == len(rows)


def test_no_more_segments_than_the_maximum_are_shown_and_none_is_lost() -> None:
    rows = sample()
    found = measure_segments(rows, "site", FEW, segments=SegmentSettings(maximum=1))
    assert len(found) == 2
    assert sum(one.positives for one in found) == rows.labels.sum()


def test_the_false_positive_rates_are_those_of_the_segment_and_of_all_others() -> None:
    rows = sample()
    found = {one.segment: one for one in false_positive_rates(rows, "site", 0.7, FEW)}
    inside, alarm = rows.segment("site") == "site 0", rows.scores >= 0.7
    assert found["site 0"].rate == pytest.approx(alarm[inside & ~rows.labels].mean())
    assert found["site 0"].others == pytest.approx(alarm[~inside & ~rows.labels].mean())
    assert found["site 0"].ratio_low < found["site 0"].ratio < found["site 0"].ratio_high


def test_a_segment_with_too_few_negatives_has_no_ratio_and_says_why() -> None:
    found = false_positive_rates(sample(), "site", 0.7, FEW, minimum_negatives=10_000)
    assert {one.ratio for one in found} == {None}
    assert all("fewer than 10000" in one.note for one in found)


def test_a_single_segment_has_nobody_to_be_compared_with() -> None:
    rows = sample().take(sample().segment("site") == "site 0")
    [found] = false_positive_rates(rows, "site", 0.7, FEW)
    assert (found.ratio, found.note) == (None, "no other segment")


def test_a_segment_without_false_alarms_still_has_a_finite_ratio() -> None:
    rows = ScoredRows(
        scores=np.r_[np.zeros(600), np.tile([0.0, 1.0], 300)],
        event_time=np.zeros(1200),
        labels=np.zeros(1200),
        entities=np.arange(1200),
        segments={"site": np.repeat(["quiet", "loud"], 600)},
    )
    quiet = next(one for one in false_positive_rates(rows, "site", 0.5, FEW) if one.segment == "quiet")
    assert 0 < quiet.ratio < 0.01
