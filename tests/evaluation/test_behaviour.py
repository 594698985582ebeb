import numpy as np
import pytest

from vigil.errors import ContractError
from vigil.evaluation.behaviour import (
    Case,
    Matrix,
    edge_cases,
    never_looks_safer,
    order_does_not_matter,
    ranks_above,
    run_cases,
    scaled_columns,
    shuffled_column,
    stays_the_same,
)
from vigil.evaluation.rows import FloatArray

MATRIX = np.abs(np.random.default_rng(0).normal(size=(200, 3))).astype(np.float32)


def amount_score(matrix: Matrix) -> FloatArray:
    """Rises with the first column alone."""
    with np.errstate(over="ignore"):
        return 1 - 1 / (1 + np.abs(matrix[:, 0].astype(np.float64)))


def refuses(matrix: Matrix) -> FloatArray:
    raise ContractError("column 0 is too large")


def test_a_canary_above_the_threshold_is_no_failure() -> None:
    [found] = run_cases(amount_score, [Case("fraud", "canary", MATRIX + 10)], 0.8)
    assert (found.rows, found.failures) == (200, 0)


def test_a_canary_below_the_threshold_is_counted() -> None:
    [found] = run_cases(amount_score, [Case("fraud", "canary", np.array([[9, 0, 0], [0.1, 0, 0]], np.float32))], 0.8)
    assert (found.rows, found.failures) == (2, 1)


def test_a_normal_row_that_is_alerted_is_counted() -> None:
    [found] = run_cases(amount_score, [Case("calm", "normal", np.array([[9, 0, 0], [0.1, 0, 0]], np.float32))], 0.8)
    assert found.failures == 1


def test_a_score_that_is_not_finite_is_a_failure_of_any_case() -> None:
    [found] = run_cases(lambda matrix: matrix[:, 0] * np.nan, [Case("zero", "edge", MATRIX[:4])], 0.5)
    assert (found.failures, found.note, found.lowest) == (4, "4 scores are not finite", None)


def test_a_scorer_that_refuses_a_case_fails_it_with_its_own_words() -> None:
    [found] = run_cases(refuses, [Case("zero", "edge", MATRIX[:4])], 0.5)
    assert found.failures == 4
    assert "column 0 is too large" in found.note


def test_a_scorer_of_the_wrong_shape_fails_the_case() -> None:
    [found] = run_cases(lambda matrix: matrix, [Case("zero", "edge", MATRIX[:4])], 0.5)
    assert "shape (4, 3)" in found.note


def test_a_case_without_rows_is_a_failure() -> None:
    [found] = run_cases(amount_score, [Case("fraud", "canary", MATRIX[:0])], 0.5)
    assert (found.failures, found.note) == (1, "the case has no rows")


def test_the_edge_cases_are_finite_vectors_of_the_right_width() -> None:
    cases = edge_cases(MATRIX)
    assert {case.name for case in cases} >= {"all_zero", "cold_start", "largest", "ten_times_largest", "huge"}
    for case in cases:
        assert case.vectors.shape == (1, 3)
        assert np.isfinite(case.vectors).all()


def test_a_scorer_for_which_more_is_riskier_passes_the_direction() -> None:
    found = never_looks_safer("larger_amount", amount_score, MATRIX, scaled_columns([0]))
    assert (found.rows, found.violations) == (200, 0)


def test_a_scorer_for_which_more_is_safer_is_caught_in_every_row() -> None:
    found = never_looks_safer("larger_amount", lambda m: 1 - amount_score(m), MATRIX + 0.1, scaled_columns([0]))
    assert found.violations == 200
    assert found.worst > 0.01


def test_a_direction_is_not_tested_where_the_scorer_refuses() -> None:
    found = never_looks_safer("larger_amount", refuses, MATRIX, scaled_columns([0]))
    assert found.rows == 0
    assert "too large" in found.note


def test_scores_that_do_not_depend_on_the_order_pass() -> None:
    assert order_does_not_matter(amount_score, MATRIX, np.random.default_rng(0)).violations == 0


def test_scores_that_depend_on_the_order_are_caught() -> None:
    found = order_does_not_matter(lambda m: np.arange(len(m)) / len(m), MATRIX, np.random.default_rng(0))
    assert found.violations > 100


def test_a_column_without_influence_passes_the_invariance() -> None:
    change = shuffled_column(2, np.random.default_rng(0))
    assert stays_the_same("irrelevant_id", amount_score, MATRIX, change).violations == 0


def test_a_column_with_influence_is_caught_by_the_invariance() -> None:
    change = shuffled_column(0, np.random.default_rng(0))
    assert stays_the_same("irrelevant_id", amount_score, MATRIX, change).violations > 100


def test_a_change_never_reaches_the_callers_matrix() -> None:
    before = MATRIX.copy()
    stays_the_same("irrelevant_id", amount_score, MATRIX, shuffled_column(0, np.random.default_rng(0)))
    assert (MATRIX == before).all()


@pytest.mark.parametrize(("suspicious", "violations"), [(20.0, 0), (0.0, 1)])
def test_a_suspicious_row_must_score_above_every_ordinary_one(suspicious: float, violations: int) -> None:
    vector = np.array([[suspicious, 0, 0]], np.float32)
    assert ranks_above("obvious", amount_score, vector, MATRIX).violations == violations
