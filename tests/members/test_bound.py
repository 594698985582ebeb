"""A kernel bound to one object's tuples returns what the kernel returns, whatever lies in memory."""

import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

from tests.ensemble.samples import fitted, make_rows
from vigil.members.isolation_forest import IsolationForest
from vigil.members.kernels.jit import Bound
from vigil.members.kernels.trees import add_leaves


@pytest.fixture(scope="module")
def forest() -> IsolationForest:
    found = fitted("isolation_forest", make_rows(500, 1), trees=10)
    assert isinstance(found, IsolationForest)
    return found


@pytest.mark.parametrize("precision", [np.float64, np.float32])
def test_a_bound_kernel_returns_the_same_bits_for_each_type(forest: IsolationForest, precision: type) -> None:
    values = forest_values(forest)
    bound, plain = np.zeros(len(values), precision), np.zeros(len(values), precision)
    add_leaves(values, forest.trees.nodes, plain)
    call = Bound(add_leaves)
    call(values, forest.trees.nodes, bound)
    assert (bound == plain).all() and plain.any()


def test_values_that_may_not_be_written_are_read(forest: IsolationForest) -> None:
    values = forest_values(forest)
    frozen = values.copy()
    frozen.flags.writeable = False
    call, totals = Bound(add_leaves), np.zeros((2, len(values)))
    call(frozen, forest.trees.nodes, totals[0])
    call(values, forest.trees.nodes, totals[1])
    assert (totals[0] == totals[1]).all()


def test_scoring_types_nothing_anew(forest: IsolationForest, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = make_rows(1, 2).matrix
    forest.score(matrix)
    typed: list[object] = []
    original = Dispatcher.typeof_pyval

    def watch(self: Dispatcher, value: object) -> object:
        typed.append(value)
        return original(self, value)

    monkeypatch.setattr(Dispatcher, "typeof_pyval", watch)
    for size in range(300):
        junk = [bytes([size % 256]) * count for count in range(0, 400, 8)]
        forest.score(matrix)
        del junk
    assert not typed


def forest_values(forest: IsolationForest) -> np.ndarray:
    return make_rows(200, 2).matrix.select(forest.feature_names)
