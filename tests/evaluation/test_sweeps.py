import dataclasses
from typing import Any

import numpy as np
import pytest

from tests.evaluation.samples import FEW, START, sample
from vigil.clock import DAY
from vigil.errors import ContractError
from vigil.evaluation.metrics import measure
from vigil.evaluation.rows import ScoredRows
from vigil.evaluation.splits import Window
from vigil.evaluation.sweeps import (
    compare_thresholds,
    operating_point,
    propose_thresholds,
    sweep_contamination,
    sweep_thresholds,
)
from vigil.evaluation.thresholds import ThresholdPolicy, Thresholds, fit_thresholds

WINDOW = Window(start=START, end=START + 14 * DAY)


def _later() -> ScoredRows:
    rows = sample(1)
    return dataclasses.replace(rows, event_time=rows.event_time + 14 * DAY)


def _fit(**policy: Any) -> Thresholds:
    return fit_thresholds(sample(), ThresholdPolicy(minimum_rows=100, minimum_positives=5, **policy), WINDOW)


def test_an_operating_point_says_the_same_as_the_metrics() -> None:
    rows = sample()
    point, found = operating_point(rows, 0.8, FEW), measure(rows, FEW, 0.8)
    for name in ("precision", "recall", "false_positive_rate", "cost_per_1000", "alerts_per_day"):
        assert getattr(point, name) == pytest.approx(found[name].value)


def test_an_operating_point_without_alerts_has_no_precision() -> None:
    point = operating_point(sample(), 2.0, FEW)
    assert (point.precision, point.recall, point.alerts_per_day) == (None, 0.0, 0.0)


def test_a_sweep_of_thresholds_goes_from_one_alert_to_a_tenth_of_the_rows() -> None:
    rows = sample()
    points = sweep_thresholds(rows, FEW)
    assert (rows.scores >= points[0].threshold).sum() == 1
    assert points[-1].alerts_per_day == pytest.approx(len(rows) / 10 / 14, rel=0.02)
    assert [point.threshold for point in points] == sorted((point.threshold for point in points), reverse=True)


def test_a_contamination_alerts_that_share_of_the_calibration_rows() -> None:
    calibration, rows = sample(), _later()
    for point in sweep_contamination(calibration.scores, rows, FEW, (0.1, 0.08, 0.01)):
        share = (calibration.scores >= point.threshold).mean()
        assert share == pytest.approx(point.contamination, abs=2 / len(calibration))


def test_a_contamination_that_is_no_share_is_refused() -> None:
    with pytest.raises(ContractError, match=r"contamination 1\.5"):
        sweep_contamination(sample().scores, _later(), FEW, (1.5,))


def test_a_sweep_on_no_rows_is_refused() -> None:
    with pytest.raises(ContractError, match="no rows"):
        operating_point(sample().take(np.zeros(0, int)), 0.5, FEW)


def test_the_proposal_by_cost_is_the_cheapest_of_the_calibration_rows() -> None:
    calibration = sample()
    proposal = next(one for one in propose_thresholds(calibration, _later(), FEW) if one.name == "cost")
    cheapest = operating_point(calibration, proposal.point.threshold, FEW).cost_per_1000
    assert all(cheapest <= point.cost_per_1000 for point in sweep_thresholds(calibration, FEW, count=60))


def test_without_labels_only_the_budget_is_proposed() -> None:
    calibration = dataclasses.replace(sample(), labels=None)
    assert [one.name for one in propose_thresholds(calibration, _later(), FEW)] == ["budget"]


def test_an_ab_of_thresholds_counts_what_only_one_of_them_alerts() -> None:
    rows = _later()
    strict, loose = _fit(rule="budget", alerts_per_day=5), _fit(rule="budget", alerts_per_day=20)
    found = compare_thresholds(strict, loose, rows, FEW)
    between = (rows.scores >= loose.overall) & (rows.scores < strict.overall)
    assert (found.only_a, found.only_b) == (0, between.sum())
    assert found.only_b_positives == (between & rows.labels).sum()
    assert found.metrics_b["recall"].value > found.metrics_a["recall"].value


def test_an_ab_of_thresholds_says_which_is_cheaper_and_how_sure_that_is() -> None:
    by_cost, by_budget = _fit(rule="cost", cost_per_alert=5), _fit(rule="budget", alerts_per_day=200)
    found = compare_thresholds(by_budget, by_cost, _later(), FEW.model_copy(update={"cost_per_alert": 5.0}))
    assert found.cheaper_b.low > 0
    assert (found.a, found.b) == (by_budget.content_hash, by_cost.content_hash)


def test_an_ab_on_the_rows_that_one_was_set_on_is_refused() -> None:
    with pytest.raises(ContractError, match="thresholds were set on"):
        compare_thresholds(_fit(), _fit(rule="cost"), sample(), FEW)
