"""Flat decision trees, and sums of their leaves."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vigil.members.kernels.jit import kernel

_BLOCK = 256


class Nodes(NamedTuple):
    """The nodes of all trees, one tree after the other, each breadth first from its root.

    Siblings stand side by side: the left one at `left`, the right one behind it. A row goes right when its value is at
    or above the threshold. A leaf leads to itself and its threshold is infinite, so that every row takes as many steps
    as the tree is deep, without a branch that a processor could mispredict.
    """

    feature: NDArray[np.int32]
    threshold: NDArray[np.float32]
    left: NDArray[np.int32]
    leaf: NDArray[np.float64]
    """What a leaf adds to the sum; 0 elsewhere."""
    cover: NDArray[np.float64]
    """How much of the training rows came by, in any unit."""
    root: NDArray[np.int32]
    depth: NDArray[np.int32]


@kernel
def add_leaves(values: NDArray[np.float32], nodes: Nodes, totals: NDArray[Any]) -> None:
    """Add to `totals`, (rows,), the leaf that each row of `values` reaches in every tree, in the order of the trees.

    The sum has the precision of `totals`. Indices are unsigned: a signed one might count from the end, and finding out
    keeps the compiler from stepping many rows at once.
    """
    feature, threshold, left, leaf = nodes.feature, nodes.threshold, nodes.left, nodes.leaf
    rows, features = values.shape
    place = np.empty(_BLOCK, dtype=np.int32)
    for start in range(0, rows, _BLOCK):
        count = np.int32(min(_BLOCK, rows - start))
        block = values[start : start + count].reshape(-1)
        for tree in range(nodes.root.size):
            place[:count] = nodes.root[tree]
            for _ in range(nodes.depth[tree]):
                for row in range(count):
                    node = np.uint32(place[row])
                    value = block[np.uint32(row * features + feature[node])]
                    place[row] = left[node] + np.int32(value >= threshold[node])
            for row in range(count):
                totals[start + row] += leaf[np.uint32(place[row])]
