import dataclasses

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from tests.evaluation.samples import FEW, sample
from vigil.evaluation.bootstrap import blocks_of, draws, interval
from vigil.evaluation.comparison import Scorer, compare
from vigil.evaluation.metrics import measure, metric_statistics
from vigil.evaluation.settings import MetricSettings


@pytest.mark.parametrize("block", ["entity", "day"])
def test_the_weighted_metrics_equal_those_of_the_rows_drawn_one_by_one(block: str) -> None:
    rows, settings = sample(), FEW.model_copy(update={"block": block})
    blocks = blocks_of(rows, settings)
    weights = next(draws(blocks.count, settings))[:5]
    found = metric_statistics(rows, blocks, settings, None)(weights)
    for i, drawn in enumerate(weights.astype(int)):
        index = np.repeat(np.arange(len(rows)), drawn[blocks.code])
        labels, scores = rows.labels[index], rows.scores[index]
        assert found["average_precision"][i] == pytest.approx(average_precision_score(labels, scores))
        assert found["roc_auc"][i] == pytest.approx(roc_auc_score(labels, scores))


def test_the_draws_do_not_depend_on_how_they_are_chunked() -> None:
    whole = np.concatenate(list(draws(50, MetricSettings(resamples=250))))
    generator = np.random.default_rng(0)
    expected = [np.bincount(generator.integers(0, 50, 50), minlength=50) for _ in range(250)]
    assert (whole == np.array(expected)).all()


def test_each_draw_has_as_many_blocks_as_there_are() -> None:
    assert all((weights.sum(axis=1) == 30).all() for weights in draws(30, FEW))


def test_an_interval_is_refused_where_too_many_resamples_are_undefined() -> None:
    values = np.r_[np.full(6, np.nan), np.linspace(0, 1, 94)]
    assert interval(values, 0.95) is None
    assert interval(values[1:], 0.95) is None
    assert interval(values[2:], 0.95) is not None


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    many = sample(seed=1000, customers=100_000)
    truth = average_precision_score(many.labels, many.scores)
    found = [measure(sample(seed), FEW)["average_precision"] for seed in range(60)]
    covered = sum(one.low <= truth <= one.high for one in found)
    assert covered >= 52


def test_of_two_equally_good_scorers_neither_is_often_called_better() -> None:
    claims = 0
    for seed in range(60):
        rows = sample(seed)
        random = np.random.default_rng(seed)
        noisy = [rows.scores + random.normal(size=len(rows)) * 0.1 for _ in range(2)]
        found = compare(rows, Scorer("a", noisy[0]), Scorer("b", noisy[1]), "average_precision", FEW)
        claims += found.low > 0 or found.high < 0
    assert claims <= 8


def test_positives_of_one_entity_alone_leave_no_interval_and_that_is_said() -> None:
    rows = dataclasses.replace(sample(), labels=(sample().entities < 2))
    note = "undefined in more than 5 % of the resamples: no interval"
    found = measure(rows, FEW)["average_precision"]
    assert (found.low, found.note) == (None, note)
    paired = compare(rows, Scorer("a", rows.scores), Scorer("b", rows.scores), "average_precision", FEW)
    assert (paired.difference, paired.low, paired.note) == (0.0, None, note)
