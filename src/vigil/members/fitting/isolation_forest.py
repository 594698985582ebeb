"""How an Isolation Forest is fitted, and flattened."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest as SklearnForest

from vigil.members.base import TrainingRows, need_rows
from vigil.members.isolation_forest import IsolationForest, IsolationForestSettings
from vigil.members.trees import Tree, TreeSum


def fit(settings: IsolationForestSettings, rows: TrainingRows) -> IsolationForest:
    """Return the forest fitted on the rows that are not known as fraud; its threshold is set over all rows."""
    normal = rows.normal
    need_rows(len(normal), 2, settings.name)
    samples = min(settings.max_samples, len(normal))
    forest = SklearnForest(n_estimators=settings.trees, max_samples=samples, random_state=settings.seed).fit(normal)
    member = IsolationForest(
        name=settings.name,
        feature_names=rows.matrix.names,
        threshold=1.0,
        facts={"rows": len(normal), "rows_left_out": len(rows) - len(normal), "contamination": settings.contamination},
        trees=TreeSum.of(_trees(forest), np.float64),
        scale=float(settings.trees * _mean_path_length(np.array([samples]))[0]),
    )
    return replace(member, threshold=float(np.quantile(member.score(rows.matrix), 1.0 - settings.contamination)))


def _trees(forest: SklearnForest) -> Iterator[Tree]:
    for estimator in forest.estimators_:
        tree = estimator.tree_
        lengths = tree.compute_node_depths() - 1.0 + _mean_path_length(tree.n_node_samples)
        yield Tree(
            feature=tree.feature,
            threshold=_least_above(tree.threshold),
            left=tree.children_left,
            right=tree.children_right,
            leaf=lengths,
            cover=tree.n_node_samples,
        )


def _least_above(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the least float32 above each threshold: a float32 is at or above it just when it exceeds the threshold."""
    nearest = thresholds.astype(np.float32)
    return np.where(nearest > thresholds, nearest, np.nextafter(nearest, np.float32(np.inf)))


def _mean_path_length(samples: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean length of the path to a leaf in a random tree of so many samples (Liu et al., 2008)."""
    beyond = np.maximum(samples, 3)
    lengths = 2.0 * (np.log(beyond - 1.0) + np.euler_gamma) - 2.0 * (beyond - 1.0) / beyond
    return np.select([samples <= 1, samples == 2], [0.0, 1.0], lengths)
