import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from tests.evaluation.samples import FEW, sample, with_labels
from vigil.clock import DAY
from vigil.errors import ContractError
from vigil.evaluation.metrics import METRICS, measure
from vigil.evaluation.operating import budget_shares, card_precision
from vigil.evaluation.rows import ScoredRows


def _rows(scores: list[float], labels: list[int]) -> ScoredRows:
    return ScoredRows(
        np.array(scores, float), np.zeros(len(scores), int), np.array(labels), entities=np.arange(len(scores))
    )


_tied = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 1)), min_size=2, max_size=60).filter(
    lambda pairs: len({label for _, label in pairs}) == 2
)


@given(_tied)
@settings(max_examples=60, deadline=None)
def test_average_precision_and_auc_equal_scikit_learn_with_ties(pairs: list[tuple[int, int]]) -> None:
    scores, labels = [score / 7 for score, _ in pairs], [label for _, label in pairs]
    found = measure(_rows(scores, labels), FEW)
    assert found["average_precision"].value == pytest.approx(sklearn_metrics.average_precision_score(labels, scores))
    assert found["roc_auc"].value == pytest.approx(sklearn_metrics.roc_auc_score(labels, scores))


@given(_tied, st.sampled_from([0.05, 0.2, 0.5]))
@settings(max_examples=60, deadline=None)
def test_recall_at_a_false_positive_rate_is_the_best_threshold_that_keeps_it(
    pairs: list[tuple[int, int]], rate: float
) -> None:
    scores, labels = np.array([score for score, _ in pairs]), np.array([label for _, label in pairs])
    best = 0.0
    for threshold in np.unique(scores):
        alerted = scores >= threshold
        if alerted[labels == 0].mean() <= rate:
            best = max(best, alerted[labels == 1].mean())
    found = measure(_rows(scores.tolist(), labels.tolist()), FEW.model_copy(update={"false_positive_rate": rate}))
    assert found["recall_at_fpr"].value == pytest.approx(best)


def test_the_metrics_at_a_threshold_equal_scikit_learn() -> None:
    rows = sample()
    labels, alerted = rows.labels, rows.scores >= 0.8
    found = {name: one.value for name, one in measure(rows, FEW, 0.8).items()}
    assert found["precision"] == pytest.approx(sklearn_metrics.precision_score(labels, alerted))
    assert found["recall"] == pytest.approx(sklearn_metrics.recall_score(labels, alerted))
    assert found["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(labels, alerted))
    assert found["brier"] == pytest.approx(sklearn_metrics.brier_score_loss(labels, rows.scores))
    negative, positive = sklearn_metrics.confusion_matrix(labels, alerted)
    assert found["false_positive_rate"] == pytest.approx(negative[1] / negative.sum())
    assert found["alerts_per_day"] == pytest.approx((negative[1] + positive[1]) / 14)


def test_the_trivial_baseline_has_the_accuracy_of_the_majority() -> None:
    rows = sample()
    assert measure(rows, FEW, 0.5)["trivial_accuracy"].value == pytest.approx(1 - rows.labels.mean())


def test_the_cost_is_missed_amounts_plus_work_and_a_refund_is_no_loss() -> None:
    rows = ScoredRows(
        scores=np.array([0.9, 0.9, 0.1, 0.1, 0.1]),
        event_time=np.zeros(5),
        labels=np.array([1, 0, 1, 1, 0]),
        amounts=np.array([100.0, 50.0, 30.0, -70.0, 20.0]),
    )
    found = measure(rows, FEW.model_copy(update={"cost_per_alert": 4.0}), 0.5)
    assert found["cost_per_1000"].value == pytest.approx(1000 * (2 * 4 + 30) / 5)
    assert found["cost_saved"].value == pytest.approx(1 - 38 / 130)


def test_one_threshold_a_row_is_the_same_as_the_same_number_for_all() -> None:
    rows = sample()
    assert measure(rows, FEW, np.full(len(rows), 0.7)) == measure(rows, FEW, 0.7)


def test_precision_and_recall_at_the_budget_take_the_best_rows_of_every_day() -> None:
    rows = sample()
    frame = pd.DataFrame({"day": rows.days, "score": rows.scores, "label": rows.labels})
    alerts = frame.sort_values("score", ascending=False).groupby("day").head(20)
    found = measure(rows, FEW)
    assert found["precision_at_budget"].value == pytest.approx(alerts.label.mean())
    assert found["recall_at_budget"].value == pytest.approx(alerts.label.sum() / rows.labels.sum())


def test_rows_that_tie_for_the_last_places_of_the_budget_share_them() -> None:
    shares = budget_shares(np.array([3.0, 2, 2, 2, 1]), np.zeros(5, int), 2)
    assert shares.tolist() == pytest.approx([1, 1 / 3, 1 / 3, 1 / 3, 0])


def test_a_day_with_fewer_rows_than_the_budget_alerts_them_all() -> None:
    assert budget_shares(np.array([3.0, 2, 1]), np.array([0, 0, 1]), 5).tolist() == [1, 1, 1]


def _card_precision_by_hand(rows: ScoredRows, top: int) -> float:
    """The handbook's procedure, a day at a time, in pandas."""
    frame = pd.DataFrame({"day": rows.days, "card": rows.entities, "score": rows.scores, "fraud": rows.labels})
    found: set[int] = set()
    daily = []
    for _, today in frame.groupby("day"):
        cards = today[~today.card.isin(found)].groupby("card").max().sort_values("score", ascending=False).head(top)
        hits = cards.index[cards.fraud].tolist()
        daily.append(len(hits) / top)
        found.update(hits)
    return float(np.mean(daily))


@pytest.mark.parametrize("seed", range(3))
def test_the_card_precision_follows_the_handbook(seed: int) -> None:
    rows = sample(seed)
    expected = _card_precision_by_hand(rows, 10)
    assert card_precision(rows, 10) == pytest.approx(expected)
    assert measure(rows, FEW)["card_precision"].value == pytest.approx(expected)


def test_a_card_found_once_makes_room_on_later_days() -> None:
    rows = ScoredRows(
        scores=np.array([0.9, 0.5, 0.9, 0.5]),
        event_time=np.array([0, 0, DAY, DAY]),
        labels=np.array([1, 0, 1, 1]),
        entities=np.array(["a", "b", "a", "b"]),
    )
    assert card_precision(rows, 1) == 1.0


def test_measuring_twice_gives_the_same_intervals() -> None:
    assert measure(sample(), FEW, 0.8) == measure(sample(), FEW, 0.8)


def test_another_seed_gives_other_intervals_but_the_same_value() -> None:
    rows = sample()
    one, other = measure(rows, FEW), measure(rows, FEW.model_copy(update={"seed": 1}))
    assert one["average_precision"].value == other["average_precision"].value
    assert one["average_precision"].low != other["average_precision"].low


def test_every_interval_holds_its_value() -> None:
    for found in measure(sample(), FEW, 0.8).values():
        assert found.low <= found.value <= found.high, found


def test_no_metric_is_ever_nan_whatever_the_rows_lack() -> None:
    full = sample()
    empty = full.take(np.zeros(0, int))
    bare = ScoredRows(full.scores, full.event_time, full.labels)
    negative, positive = with_labels(full, np.zeros(len(full))), with_labels(full, np.ones(len(full)))
    for rows in (full, empty, bare, negative, positive, full.take([0])):
        for threshold in (None, 0.5, 2.0):
            for found in measure(rows, FEW, threshold).values():
                assert found.value is None or np.isfinite(found.value)
                assert found.value is not None or found.note, found


@pytest.mark.parametrize(
    ("metric", "change", "threshold", "note"),
    [
        ("average_precision", {"labels": np.zeros(3200)}, None, "no positive rows"),
        ("roc_auc", {"labels": np.ones(3200)}, None, "no negative rows"),
        ("precision", {}, 2.0, "nothing is alerted at this threshold"),
        ("recall", {}, None, "no threshold was given"),
        ("cost_per_1000", {"amounts": None}, 0.5, "no amounts were given"),
        ("card_precision", {"entities": None}, None, "no entity ids were given"),
        (
            "brier",
            {"scores": np.linspace(0, 2, 3200)},
            None,
            "the scores are not probabilities: some lie outside [0, 1]",
        ),
    ],
)
def test_a_metric_without_a_value_says_why(metric: str, change: dict, threshold: float | None, note: str) -> None:
    found = measure(dataclasses.replace(sample(), **change), FEW, threshold)[metric]
    assert (found.value, found.note) == (None, note)


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"minimum_rows": 5000}, "only 3200 rows, fewer than 5000: no interval"),
        ({"minimum_positives": 5000}, "positive rows, fewer than 5000: no interval"),
        ({"minimum_blocks": 5000}, "only 400 entities, fewer than 5000: no interval"),
        ({"minimum_blocks": 15, "block": "day"}, "only 14 days, fewer than 15: no interval"),
    ],
)
def test_too_little_for_an_interval_leaves_the_value_and_says_so(change: dict, note: str) -> None:
    found = measure(sample(), FEW.model_copy(update=change))["average_precision"]
    assert found.value is not None
    assert (found.low, found.high) == (None, None)
    assert note in found.note


def test_a_constant_score_is_worth_chance() -> None:
    rows = sample().with_scores(np.full(3200, 0.5))
    found = measure(rows, FEW)
    assert found["roc_auc"].value == 0.5
    assert found["average_precision"].value == pytest.approx(rows.labels.mean())


def test_a_threshold_that_is_nan_is_refused() -> None:
    with pytest.raises(ContractError, match="threshold has shape"):
        measure(sample(), FEW, float("nan"))


def test_the_metrics_come_in_the_order_of_the_catalogue() -> None:
    assert list(measure(sample(), FEW)) == list(METRICS)
