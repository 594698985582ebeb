"""Rules as arrays: comparisons of features with values, joined by "and" within a rule."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vigil.members.kernels.jit import kernel

COMPARISONS = (">", ">=", "<", "<=", "==", "!=")
"""In the order of their codes."""


class Conditions(NamedTuple):
    """The conditions of all rules."""

    rule: NDArray[np.int32]
    feature: NDArray[np.int32]
    comparison: NDArray[np.int32]
    value: NDArray[np.float32]


@kernel
def find_hits(values: NDArray[np.float32], conditions: Conditions, rules: int) -> NDArray[np.bool_]:
    """Return whether all conditions of each rule hold in each row, (rows, rules)."""
    hits = np.ones((values.shape[0], rules), dtype=np.bool_)
    for row in range(values.shape[0]):
        for index in range(conditions.rule.size):
            found = values[row, conditions.feature[index]]
            hits[row, conditions.rule[index]] &= _holds(found, conditions.comparison[index], conditions.value[index])
    return hits


@kernel
def combine(hits: NDArray[np.bool_], severities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 - product of (1 - severity) over the rules that each row hits, (rows,)."""
    scores = np.empty(hits.shape[0])
    for row in range(hits.shape[0]):
        innocent = 1.0
        for rule in range(severities.size):
            if hits[row, rule]:
                innocent *= 1.0 - severities[rule]
        scores[row] = 1.0 - innocent
    return scores


@kernel
def divide(hits: NDArray[np.bool_], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sum of `shares`, (rules, features), over the rules that each row hits, (rows, features)."""
    parts = np.zeros((hits.shape[0], shares.shape[1]))
    for row in range(hits.shape[0]):
        for rule in range(shares.shape[0]):
            if hits[row, rule]:
                for feature in range(shares.shape[1]):
                    parts[row, feature] += shares[rule, feature]
    return parts


@kernel
def _holds(found: np.float32, comparison: int, value: np.float32) -> bool:
    if comparison == 0:
        return bool(found > value)
    if comparison == 1:
        return bool(found >= value)
    if comparison == 2:
        return bool(found < value)
    if comparison == 3:
        return bool(found <= value)
    return bool((found == value) == (comparison == 4))
