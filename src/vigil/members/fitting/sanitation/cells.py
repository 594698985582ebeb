"""Which rows are alike: the same values, or the same cell of a random division of space. Linear in the rows."""

import numpy as np
from numpy.typing import NDArray

from vigil.members.base import Matrix
from vigil.members.fitting.sanitation.settings import ClusterScreen

Groups = NDArray[np.int64]
"""For each row the number of its group."""

_ODD = np.uint64(0x9E3779B97F4A7C15)


def equal_rows(values: Matrix) -> Groups:
    """Return the group of each row: rows of the same bits are together, but for chances of one in 2**64."""
    return _numbered(_hashed((values + np.float32(0)).view(np.int32)))


def cells(scaled: Matrix, settings: ClusterScreen, seed: int) -> list[Groups]:
    """Return the cell of each row, once for each table: rows a small part of the width apart mostly share a cell."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(settings.tables):
        directions = random.normal(size=(scaled.shape[1], settings.directions))
        directions /= np.linalg.norm(directions, axis=0)
        places = scaled @ directions.astype(np.float32) / settings.width + random.random(settings.directions)
        found.append(_numbered(_hashed(np.floor(places).astype(np.int32))))
    return found


def sizes(groups: Groups) -> NDArray[np.int64]:
    """Return for each row how many rows its group has."""
    size: NDArray[np.int64] = np.bincount(groups)[groups]
    return size


def places_in_group(groups: Groups) -> NDArray[np.int64]:
    """Return for each row how many rows of its group come before it."""
    order = np.argsort(groups, kind="stable")
    counts = np.bincount(groups)
    starts = np.cumsum(counts) - counts
    places = np.empty(len(groups), dtype=np.int64)
    places[order] = np.arange(len(groups)) - np.repeat(starts, counts)
    return places


def _hashed(parts: NDArray[np.int32]) -> NDArray[np.uint64]:
    mixed = np.zeros(len(parts), dtype=np.uint64)
    for column in parts.T:
        mixed = (mixed ^ column.astype(np.uint32).astype(np.uint64)) * _ODD
        mixed ^= mixed >> np.uint64(29)
    return mixed


def _numbered(keys: NDArray[np.uint64]) -> Groups:
    groups: Groups = np.unique(keys, return_inverse=True)[1].astype(np.int64)
    return groups
