"""What a scorer must do whatever its metrics say: named cases, directions, invariances; any callable can be tried."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from vigil.errors import ContractError
from vigil.evaluation.rows import FloatArray

Matrix = NDArray[np.float32]
"""Feature vectors, shape (rows, features)."""

Score = Callable[[Matrix], NDArray[np.floating[Any]]]
"""A scorer: feature vectors, shape (rows, features), to scores, shape (rows,), higher is more anomalous."""

_REFUSALS = (ContractError, ValueError, ArithmeticError)


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, eq=False)
class Case:
    """Feature vectors of one kind: a canary (known fraud) and a normal row have an expected side of the threshold."""

    name: str
    kind: Literal["canary", "normal", "edge"]
    vectors: Matrix


class CaseOutcome(_Data):
    """How many rows of a case did not do what its kind demands, and the range of their scores."""

    name: str
    kind: Literal["canary", "normal", "edge"]
    rows: int
    failures: int
    lowest: float | None
    highest: float | None
    note: str = ""


class BehaviourOutcome(_Data):
    """How many rows of a behavioural test broke its rule; `worst` is the largest break, in units of the score."""

    name: str
    kind: Literal["direction", "invariance", "functionality"]
    rows: int
    violations: int
    worst: float | None
    note: str = ""


def run_cases(score: Score, cases: Sequence[Case], threshold: float) -> list[CaseOutcome]:
    """Return the outcome of each case: canaries reach the threshold, normal rows do not, every score is finite."""
    return [_run_case(score, case, threshold) for case in cases]


def _run_case(score: Score, case: Case, threshold: float) -> CaseOutcome:
    scores, note = _scores(score, case.vectors)
    if scores is None:
        failures = max(1, len(case.vectors))
        return _outcome(case, failures, None, note)
    finite = np.isfinite(scores)
    side = {"canary": scores >= threshold, "normal": scores < threshold, "edge": finite}[case.kind]
    failures = int((~(side & finite)).sum())
    note = f"{int((~finite).sum())} scores are not finite" if not finite.all() else ""
    return _outcome(case, failures, scores[finite], note)


def _outcome(case: Case, failures: int, scores: FloatArray | None, note: str) -> CaseOutcome:
    some = scores is not None and len(scores) > 0
    return CaseOutcome(
        name=case.name,
        kind=case.kind,
        rows=len(case.vectors),
        failures=failures,
        lowest=float(scores.min()) if some and scores is not None else None,
        highest=float(scores.max()) if some and scores is not None else None,
        note=note,
    )


def _scores(score: Score, vectors: Matrix) -> tuple[FloatArray | None, str]:
    """Return the scores, or None and what the scorer said against it."""
    if not len(vectors):
        return None, "the case has no rows"
    try:
        scores = np.asarray(score(np.array(vectors, np.float32)), np.float64)
    except _REFUSALS as error:
        return None, f"the scorer refuses: {type(error).__name__}: {error}"
    if scores.shape != (len(vectors),):
        return None, f"the scorer gives shape {scores.shape} for {len(vectors)} rows"
    return scores, ""


def edge_cases(reference: Matrix, cold_start: Matrix | None = None) -> list[Case]:
    """Return vectors at and beyond the edge of what the reference holds; each must have a finite score.

    `cold_start` is the vector of an entity's first event, shape (1, features), where it is not all zeros.
    """
    if not len(reference):
        raise ContractError("edge cases need reference rows")
    low, high = reference.min(axis=0), reference.max(axis=0)
    zero = np.zeros_like(low)
    vectors = {
        "all_zero": zero,
        "median": np.median(reference, axis=0),
        "smallest": low,
        "largest": high,
        "ten_times_largest": np.maximum(np.abs(low), np.abs(high)) * 10,
        "ten_times_negative": -np.maximum(np.abs(low), np.abs(high)) * 10,
        "huge": zero + np.float32(1e30),
    }
    cases = [Case(name, "edge", np.asarray(vector, np.float32)[None, :]) for name, vector in vectors.items()]
    return [*cases, Case("cold_start", "edge", zero[None, :] if cold_start is None else cold_start)]


def never_looks_safer(
    name: str,
    score: Score,
    matrix: Matrix,
    raise_by: Callable[[Matrix, float], Matrix],
    factors: Sequence[float] = (1.5, 2.0, 5.0, 10.0),
    tolerance: float = 0.01,
) -> BehaviourOutcome:
    """Return in how many rows the score falls by more than the tolerance when a quantity grows by any of the factors.

    `raise_by` returns the vectors with the quantity multiplied by a factor, such as `scaled_columns([0, 3])`.
    """
    before, note = _scores(score, matrix)
    if before is None:
        return BehaviourOutcome(name=name, kind="direction", rows=0, violations=0, worst=None, note=note)
    drop = np.zeros(len(before))
    for factor in factors:
        after, note = _scores(score, raise_by(matrix, factor))
        if after is None or not np.isfinite(after).all():
            note = note or "a score is not finite"
            return BehaviourOutcome(name=name, kind="direction", rows=0, violations=0, worst=None, note=note)
        drop = np.maximum(drop, before - after)
    return BehaviourOutcome(
        name=name,
        kind="direction",
        rows=len(before),
        violations=int((drop > tolerance).sum()),
        worst=float(drop.max()),
    )


def scaled_columns(columns: Sequence[int]) -> Callable[[Matrix, float], Matrix]:
    """Return the function that multiplies the given columns by a factor."""

    def scale(matrix: Matrix, factor: float) -> Matrix:
        scaled = np.array(matrix, np.float32)
        scaled[:, list(columns)] *= np.float32(factor)
        return scaled

    return scale


def stays_the_same(
    name: str, score: Score, matrix: Matrix, change: Callable[[Matrix], Matrix], tolerance: float = 1e-6
) -> BehaviourOutcome:
    """Return in how many rows the score moves by more than the tolerance under a change that must not matter."""
    before, note = _scores(score, matrix)
    after, note_after = _scores(score, change(np.array(matrix, np.float32)))
    return _moved(name, before, after, note or note_after, tolerance)


def _moved(
    name: str, before: FloatArray | None, after: FloatArray | None, note: str, tolerance: float
) -> BehaviourOutcome:
    if before is None or after is None:
        return BehaviourOutcome(name=name, kind="invariance", rows=0, violations=0, worst=None, note=note)
    distance = np.abs(before - after)
    return BehaviourOutcome(
        name=name,
        kind="invariance",
        rows=len(before),
        violations=int((~(distance <= tolerance)).sum()),
        worst=float(distance.max()) if np.isfinite(distance).all() else None,
    )


def order_does_not_matter(
    score: Score, matrix: Matrix, generator: np.random.Generator, tolerance: float = 1e-6
) -> BehaviourOutcome:
    """Return in how many rows the score depends on which rows are scored with it, and in which order."""
    order = generator.permutation(len(matrix))
    before, note = _scores(score, matrix)
    shuffled, note_after = _scores(score, matrix[order])
    after = None if shuffled is None else shuffled[np.argsort(order)]
    return _moved("row_order", before, after, note or note_after, tolerance)


def shuffled_column(column: int, generator: np.random.Generator) -> Callable[[Matrix], Matrix]:
    """Return the function that shuffles one column, such as an id that no score may depend on."""

    def shuffle(matrix: Matrix) -> Matrix:
        matrix[:, column] = generator.permutation(matrix[:, column])
        return matrix

    return shuffle


def ranks_above(name: str, score: Score, suspicious: Matrix, ordinary: Matrix) -> BehaviourOutcome:
    """Return how many rows that anybody would call suspicious do not score above every ordinary one."""
    high, note = _scores(score, suspicious)
    low, note_low = _scores(score, ordinary)
    if high is None or low is None:
        note = note or note_low
        return BehaviourOutcome(name=name, kind="functionality", rows=0, violations=0, worst=None, note=note)
    lack = low.max() - high
    return BehaviourOutcome(
        name=name,
        kind="functionality",
        rows=len(high),
        violations=int((~(lack < 0)).sum()),
        worst=float(max(0.0, lack.max())) if np.isfinite(lack).all() else None,
    )
