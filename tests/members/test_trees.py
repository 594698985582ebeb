from itertools import combinations
from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vigil.members.trees import Tree, TreeSum


def random_tree(random: np.random.Generator, features: int, depth: int) -> Tree:
    """Return a tree of random shape whose nodes lie in the order of their making, parents first."""
    nodes: list[dict[str, float]] = []

    def grow(level: int, cover: float) -> int:
        place = len(nodes)
        node = {"feature": -2, "threshold": -2.0, "left": -1, "right": -1, "leaf": random.normal(), "cover": cover}
        nodes.append(node)
        if level < depth and random.random() < 0.8:
            share = random.uniform(0.05, 0.95)
            node |= {"feature": int(random.integers(features)), "threshold": float(random.normal())}
            node["left"] = grow(level + 1, cover * share)
            node["right"] = grow(level + 1, cover * (1 - share))
        return place

    grow(0, 100.0)
    columns = {name: np.array([node[name] for node in nodes]) for name in Tree._fields}
    for name in ("feature", "left", "right"):
        columns[name] = columns[name].astype(np.int64)
    return Tree(**columns | {"threshold": columns["threshold"].astype(np.float32)})


def expected_leaf(tree: Tree, row: np.ndarray, known: tuple[int, ...], node: int = 0) -> float:
    """Return the mean leaf where only the features in `known` are known: the definition, without any cleverness."""
    if tree.left[node] < 0:
        return float(tree.leaf[node])
    left, right = int(tree.left[node]), int(tree.right[node])
    if tree.feature[node] in known:
        return expected_leaf(tree, row, known, right if row[tree.feature[node]] >= tree.threshold[node] else left)
    share = tree.cover[left] / tree.cover[node]
    return share * expected_leaf(tree, row, known, left) + (1 - share) * expected_leaf(tree, row, known, right)


def shapley(tree: Tree, row: np.ndarray) -> np.ndarray:
    """Return the Shapley values by their definition: over all coalitions."""
    features = len(row)
    values = np.zeros(features)
    for feature in range(features):
        others = [other for other in range(features) if other != feature]
        for size in range(features):
            weight = factorial(size) * factorial(features - size - 1) / factorial(features)
            for known in combinations(others, size):
                gain = expected_leaf(tree, row, (*known, feature)) - expected_leaf(tree, row, known)
                values[feature] += weight * gain
    return values


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), depth=st.integers(0, 7), features=st.integers(1, 5))
def test_contributions_are_the_shapley_values_by_definition(seed: int, depth: int, features: int) -> None:
    random = np.random.default_rng(seed)
    trees = [random_tree(random, features, depth) for _ in range(3)]
    rows = random.normal(size=(4, features)).astype(np.float32)
    found = TreeSum.of(trees, np.float64).contributions(rows)
    expected = np.array([sum(shapley(tree, row) for tree in trees) for row in rows])
    np.testing.assert_allclose(found, expected, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), depth=st.integers(0, 9), count=st.sampled_from([1, 7, 256, 257, 600]))
def test_sums_are_those_of_walking_each_tree(seed: int, depth: int, count: int) -> None:
    random = np.random.default_rng(seed)
    trees = [random_tree(random, 4, depth) for _ in range(5)]
    rows = random.normal(size=(count, 4)).astype(np.float32)
    rows[0] = trees[0].threshold[0]
    totals = np.zeros(count)
    TreeSum.of(trees, np.float64).add_to(totals, rows)
    walked = [sum(expected_leaf(tree, row, (0, 1, 2, 3)) for tree in trees) for row in rows]
    np.testing.assert_array_equal(totals, walked)


def test_contributions_add_up_to_the_sum_less_the_expectation() -> None:
    random = np.random.default_rng(1)
    trees = TreeSum.of([random_tree(random, 6, 8) for _ in range(20)], np.float64)
    rows = random.normal(size=(50, 6)).astype(np.float32)
    totals = np.zeros(50)
    trees.add_to(totals, rows)
    np.testing.assert_allclose(trees.contributions(rows).sum(axis=1), totals - trees.expectation, atol=1e-12)


@pytest.mark.parametrize(
    ("column", "value"),
    [("left", 10**6), ("left", -1), ("feature", 4), ("feature", -1), ("cover", 0.0), ("leaf", np.nan), ("root", 5)],
)
def test_nodes_that_point_elsewhere_are_refused(column: str, value: float) -> None:
    random = np.random.default_rng(3)
    arrays = TreeSum.of([random_tree(random, 4, 6) for _ in range(3)], np.float64).to_arrays()
    TreeSum.from_arrays(arrays, features=4)
    broken = arrays[column].copy()
    broken[0] = value
    with pytest.raises(ValueError, match="do not fit together"):
        TreeSum.from_arrays(arrays | {column: broken}, features=4)
