"""Exact Shapley values of sums over trees ("TreeSHAP", path-dependent), by numerical integration.

Below a leaf's conditions 1..d, on distinct features, the prediction with only some features known is
`leaf * prod(met if known else share)`: `met` is 1 or 0, `share` the part of the training rows that pass. The Shapley
value of feature i is the integral over t from 0 to 1 of
`leaf * (met_i - share_i) * prod over j != i of (t * met_j + (1 - t) * share_j)`. That is a polynomial of degree d - 1,
which Gauss-Legendre quadrature with d / 2 points integrates exactly, and all factors are positive, so nothing cancels.
Leaves below the same condition share one sweep down and one up, as in Linear TreeShap (Yu et al., 2022): the cost is
nodes times points, where the original algorithm needs leaves times squared depth.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vigil.members.kernels.jit import kernel
from vigil.members.kernels.trees import Nodes


class Paths(NamedTuple):
    """How the nodes are reached."""

    inner: NDArray[np.int32]
    """The nodes that are no leaves, in order."""
    start: NDArray[np.int32]
    """Where each tree begins in `inner`, and where the last one ends."""
    earlier: NDArray[np.int32]
    """Of each inner node: the nearest node, itself included, that a condition on the node's feature led to.

    The root of the tree where there is none.
    """
    share: NDArray[np.float64]
    """Of each node: the part of the training rows that pass all conditions, from the root, on its last feature."""


class Quadrature(NamedTuple):
    """Points in (0, 1) and weights that sum to 1."""

    points: NDArray[np.float64]
    weights: NDArray[np.float64]


class Sweeps(NamedTuple):
    """Working memory of one tree at a time, counted from its root; `part` from its first inner node."""

    met: NDArray[np.float64]
    factor: NDArray[np.float64]
    inverse: NDArray[np.float64]
    gain: NDArray[np.float64]
    product: NDArray[np.float64]
    below: NDArray[np.float64]
    part: NDArray[np.float64]


@kernel
def trace_paths(nodes: Nodes) -> Paths:
    """Return how the nodes are reached."""
    count = nodes.left.size
    parent = np.arange(count).astype(np.int32)
    inner = np.empty(count, dtype=np.int32)
    earlier = np.empty(count, dtype=np.int32)
    start = np.zeros(nodes.root.size + 1, dtype=np.int32)
    share = np.ones(count)
    found, tree = 0, 0
    for node in range(count):
        if tree < nodes.root.size and nodes.root[tree] == node:
            start[tree] = found
            tree += 1
        left = nodes.left[node]
        if left == node:
            continue
        above = np.int32(node)
        while parent[above] != above and nodes.feature[parent[above]] != nodes.feature[node]:
            above = parent[above]
        inner[found] = node
        earlier[found] = above
        for child in range(left, left + 2):
            parent[child] = node
            share[child] = share[above] * nodes.cover[child] / nodes.cover[node]
        found += 1
    start[tree] = found
    return Paths(inner[:found].copy(), start, earlier[:found].copy(), share)


@kernel
def add_contributions(
    values: NDArray[np.float32], nodes: Nodes, paths: Paths, quadrature: Quadrature, totals: NDArray[np.float64]
) -> None:
    """Add to `totals`, (rows, features), the Shapley value of each feature for each row of `values`."""
    size = 1
    for tree in range(nodes.root.size):
        size = max(size, 2 * (paths.start[tree + 1] - paths.start[tree]) + 1)
    empty = np.empty((6, size))
    sweeps = Sweeps(np.ones(size), empty[0], empty[1], empty[2], empty[3], empty[4], empty[5])
    for row in range(values.shape[0]):
        for tree in range(nodes.root.size):
            place = (paths.start[tree], paths.start[tree + 1])
            if place[0] == place[1]:
                continue
            _meet(values[row], nodes, paths, place, sweeps)
            for point in range(quadrature.points.size):
                _sweep_down(quadrature.points[point], nodes, paths, place, sweeps)
                _sweep_up(quadrature.weights[point], nodes, paths, place, sweeps)
            for index in range(place[0], place[1]):
                totals[row, nodes.feature[paths.inner[index]]] += sweeps.part[index - place[0]]


@kernel
def _meet(values: NDArray[np.float32], nodes: Nodes, paths: Paths, place: tuple[int, int], sweeps: Sweeps) -> None:
    """Find which nodes the row could reach if only the conditions on their last feature counted."""
    root = paths.inner[place[0]]
    for index in range(place[0], place[1]):
        node = np.uint32(paths.inner[index])
        left = np.uint32(nodes.left[node] - root)
        met = sweeps.met[np.uint32(paths.earlier[index] - root)]
        goes_right = np.float64(values[np.uint32(nodes.feature[node])] >= nodes.threshold[node])
        sweeps.met[left] = met * (1.0 - goes_right)
        sweeps.met[left + np.uint32(1)] = met * goes_right
        sweeps.part[index - place[0]] = 0.0


@kernel
def _sweep_down(known: float, nodes: Nodes, paths: Paths, place: tuple[int, int], sweeps: Sweeps) -> None:
    """Fill `product`, over the features on the way to each node, and `gain`, of the last one, at one point.

    Each quantity has a loop of its own: with few arrays in a loop the compiler can vectorise it.
    """
    root = paths.inner[place[0]]
    size = 2 * (place[1] - place[0]) + 1
    share = paths.share[root : root + size]
    unknown = 1.0 - known
    for node in range(size):
        sweeps.factor[node] = share[node] * unknown + sweeps.met[node] * known
    for node in range(size):
        sweeps.inverse[node] = 1.0 / sweeps.factor[node]
    for node in range(size):
        sweeps.gain[node] = (sweeps.met[node] - share[node]) * sweeps.inverse[node]
    sweeps.product[0] = 1.0
    for index in range(place[0], place[1]):
        node = paths.inner[index]
        left = np.uint32(nodes.left[node] - root)
        right = left + np.uint32(1)
        above = sweeps.product[np.uint32(node - root)] * sweeps.inverse[np.uint32(paths.earlier[index] - root)]
        sweeps.product[left] = above * sweeps.factor[left]
        sweeps.product[right] = above * sweeps.factor[right]
    leaf = nodes.leaf[root : root + size]
    for node in range(size):
        sweeps.below[node] = leaf[node] * sweeps.product[node]


@kernel
def _sweep_up(weight: float, nodes: Nodes, paths: Paths, place: tuple[int, int], sweeps: Sweeps) -> None:
    """Sum the leaves below each node and add to each condition its part of them, at one point."""
    root = paths.inner[place[0]]
    for index in range(place[1] - 1, place[0] - 1, -1):
        node = paths.inner[index]
        left = np.uint32(nodes.left[node] - root)
        right = left + np.uint32(1)
        below = sweeps.below[left] + sweeps.below[right]
        sweeps.below[np.uint32(node - root)] = below
        gain = sweeps.gain[left] * sweeps.below[left] + sweeps.gain[right] * sweeps.below[right]
        earlier = sweeps.gain[np.uint32(paths.earlier[index] - root)]
        sweeps.part[index - place[0]] += weight * (gain - earlier * below)
