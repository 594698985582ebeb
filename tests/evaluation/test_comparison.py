import numpy as np
import pytest

from tests.evaluation.samples import FEW, sample, with_labels
from vigil.errors import ContractError
from vigil.evaluation.comparison import Scorer, compare


def test_a_better_scorer_is_better_beyond_doubt() -> None:
    rows = sample()
    found = compare(rows, Scorer("good", rows.scores), Scorer("random", sample(7).scores), "average_precision", FEW)
    assert found.low > 0
    assert found.difference == pytest.approx(found.candidate_value - found.reference_value)


def test_the_same_scores_differ_by_nothing() -> None:
    rows = sample()
    found = compare(rows, Scorer("a", rows.scores), Scorer("b", rows.scores), "roc_auc", FEW)
    assert (found.difference, found.low, found.high) == (0.0, 0.0, 0.0)


def test_where_less_is_better_a_positive_difference_still_means_a_better_candidate() -> None:
    rows = sample()
    found = compare(rows, Scorer("a", rows.scores, 0.7), Scorer("b", rows.scores, 2.0), "false_positive_rate", FEW)
    assert found.difference == pytest.approx(found.reference_value - found.candidate_value)
    assert found.high < 0


def test_turning_the_pair_around_turns_the_interval_around() -> None:
    rows = sample()
    one, other = Scorer("a", rows.scores), Scorer("b", sample(3).scores)
    there, back = compare(rows, one, other, "card_precision", FEW), compare(rows, other, one, "card_precision", FEW)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))


def test_a_comparison_without_positive_rows_has_no_value_and_says_why() -> None:
    rows = with_labels(sample(), np.zeros(3200))
    found = compare(rows, Scorer("a", rows.scores), Scorer("b", rows.scores), "average_precision", FEW)
    assert (found.difference, found.low, found.note) == (None, None, "a: no positive rows")


def test_a_comparison_that_lacks_a_threshold_says_whose() -> None:
    rows = sample()
    found = compare(rows, Scorer("a", rows.scores, 0.5), Scorer("b", rows.scores), "cost_per_1000", FEW)
    assert found.note == "b: no threshold was given"


def test_a_comparison_on_no_rows_says_so() -> None:
    rows = sample().take(np.zeros(0, int))
    found = compare(rows, Scorer("a", []), Scorer("b", []), "average_precision", FEW)
    assert (found.difference, found.note) == (None, "no rows")


@pytest.mark.parametrize("metric", ["alerts_per_day", "f1"])
def test_a_metric_without_a_better_direction_is_refused(metric: str) -> None:
    rows = sample()
    with pytest.raises(ContractError, match="cannot be compared by"):
        compare(rows, Scorer("a", rows.scores), Scorer("b", rows.scores), metric, FEW)
