"""Sums over decision trees, evaluated and explained from flat arrays."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vigil.members.base import Arrays, Matrix, Scores
from vigil.members.kernels.jit import Bound
from vigil.members.kernels.shapley import Paths, Quadrature, add_contributions, trace_paths
from vigil.members.kernels.trees import Nodes, add_leaves

_LEAST_COVER = 1e-30


class Tree(NamedTuple):
    """One tree as libraries store it: an entry per node, the root first, `left` and `right` -1 for a leaf.

    A row goes right when its value is at or above the threshold.
    """

    feature: NDArray[Any]
    threshold: NDArray[np.float32]
    left: NDArray[Any]
    right: NDArray[Any]
    leaf: NDArray[Any]
    cover: NDArray[Any]


@dataclass(frozen=True, eq=False)
class TreeSum:
    """The sum of the leaves that a row reaches in each of many trees."""

    nodes: Nodes

    @classmethod
    def of(cls, trees: Iterable[Tree], leaf_type: type[np.floating[Any]]) -> "TreeSum":
        """Return the sum over `trees`, its leaves held in the precision in which they are to be added."""
        columns: dict[str, list[NDArray[Any]]] = {name: [] for name in Nodes._fields}
        start = 0
        for tree in trees:
            for name, column in _flatten(tree, start).items():
                columns[name].append(column)
            start += len(tree.left)
        types: dict[str, type] = {"threshold": np.float32, "leaf": leaf_type, "cover": np.float64}
        joined = {name: np.concatenate(parts).astype(types.get(name, np.int32)) for name, parts in columns.items()}
        return cls(Nodes(**joined))

    @classmethod
    def from_arrays(cls, arrays: Arrays, features: int) -> "TreeSum":
        """Return the sum from `to_arrays`, or raise ValueError if a node points outside of its tree or its row."""
        nodes = Nodes(**{name: arrays[name] for name in Nodes._fields})
        _check(nodes, features)
        return cls(nodes)

    def to_arrays(self) -> Arrays:
        """Return the nodes, an array for each of their columns."""
        return dict(self.nodes._asdict())

    def add_to(self, totals: NDArray[np.floating[Any]], values: Matrix) -> None:
        """Add the sum for each row of `values` to `totals`, (rows,), in the precision of `totals`."""
        self._add_leaves(values, self.nodes, totals)

    def contributions(self, values: Matrix) -> Scores:
        """Return the exact Shapley values, (rows, features): a row's sum is its total less the expectation."""
        totals = np.zeros(values.shape)
        self._add_contributions(values, self.nodes, self._paths, self._quadrature, totals)
        return totals

    @property
    def expectation(self) -> float:
        """The mean sum over the training rows."""
        weighted = np.add.reduceat(self.nodes.leaf * self.nodes.cover, self.nodes.root)
        return float((weighted / self.nodes.cover[self.nodes.root]).sum())

    @cached_property
    def _add_leaves(self) -> Bound:
        return Bound(add_leaves)

    @cached_property
    def _add_contributions(self) -> Bound:
        return Bound(add_contributions)

    @cached_property
    def _paths(self) -> Paths:
        return trace_paths(self.nodes)

    @cached_property
    def _quadrature(self) -> Quadrature:
        degree = max(1, (int(self.nodes.depth.max()) + 1) // 2)
        points, weights = np.polynomial.legendre.leggauss(degree)  # type: ignore[no-untyped-call]  # numpy lacks its type
        return Quadrature((points + 1.0) / 2.0, weights / 2.0)


def _flatten(tree: Tree, start: int) -> dict[str, NDArray[Any]]:
    order, level = _breadth_first(tree)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = start + np.arange(len(order))
    is_leaf = tree.left[order] < 0
    return {
        "feature": np.where(is_leaf, 0, tree.feature[order]),
        "threshold": np.where(is_leaf, np.float32(np.inf), tree.threshold[order]),
        "left": np.where(is_leaf, place[order], place[tree.left[order]]),
        "leaf": np.where(is_leaf, tree.leaf[order], 0),
        "cover": np.maximum(tree.cover[order], _LEAST_COVER),
        "root": np.array([start]),
        "depth": np.array([level]),
    }


def _breadth_first(tree: Tree) -> tuple[NDArray[np.int64], int]:
    """Return the nodes level by level, siblings side by side, and the number of steps to the deepest."""
    levels = [np.zeros(1, dtype=np.int64)]
    while True:
        inner = levels[-1][tree.left[levels[-1]] >= 0]
        if not inner.size:
            return np.concatenate(levels), len(levels) - 1
        levels.append(np.stack([tree.left[inner], tree.right[inner]], axis=1).ravel().astype(np.int64))


def _check(nodes: Nodes, features: int) -> None:
    count = nodes.left.size
    place = np.arange(count)
    end = np.append(nodes.root[1:], count)[np.searchsorted(nodes.root, place, side="right") - 1]
    is_leaf = nodes.left == place
    sound = (
        nodes.root.size == nodes.depth.size
        and nodes.root[0] == 0
        and (np.diff(nodes.root) > 0).all()
        and all(column.shape == (count,) for column in (nodes.feature, nodes.threshold, nodes.leaf, nodes.cover))
        and (is_leaf | ((nodes.left > place) & (nodes.left + 1 < end))).all()
        and ((nodes.feature >= 0) & (nodes.feature < features)).all()
        and (nodes.cover > 0).all()
        and np.isfinite(nodes.leaf).all()
    )
    if not sound:
        raise ValueError("the nodes of the trees do not fit together")
