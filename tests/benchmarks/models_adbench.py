"""Unsupervised average precision on four ADBench sets, against detectors of PyOD on the same rows in the same run."""

import importlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score

from vigil.ensemble.fitting import EnsembleSettings, fit_crosswise
from vigil.members.base import UNKNOWN, FeatureMatrix, Scores, TrainingRows
from vigil.members.catalog import parse_settings

SETS = ("shuttle", "mammography", "thyroid", "http")
MOST_ROWS = 50_000
"""Drawn from a larger set, the same for all, so that the slow detectors finish."""
OURS = ("isolation_forest", "autoencoder", "z_score")
ENSEMBLE = "Vigil ensemble"
PYOD = {
    "ecod.ECOD": {},
    "copod.COPOD": {},
    "hbos.HBOS": {},
    "pca.PCA": {"random_state": 0},
    "loda.LODA": {},
    "knn.KNN": {},
    "lof.LOF": {},
    "gmm.GMM": {"random_state": 0},
    "mcd.MCD": {"random_state": 0},
    "cblof.CBLOF": {"random_state": 0},
    "inne.INNE": {"random_state": 0},
    "iforest.IForest": {"random_state": 0},
}
"""Module and class of each detector and its seed where it takes one; everything else as PyOD has it by default."""

Table = dict[str, dict[str, float]]
"""Average precision by detector and set."""


@dataclass(frozen=True, eq=False)
class Task:
    """Rows in random order, and which of them are anomalies (for the measure alone)."""

    name: str
    values: NDArray[np.float32]
    is_anomaly: NDArray[np.bool_]

    def measure(self, scores: Scores) -> float:
        """Return the average precision."""
        return float(average_precision_score(self.is_anomaly, scores))


def load_task(folder: Path, name: str) -> Task:
    """Return a set's rows, at most `MOST_ROWS` of them."""
    with np.load(folder / f"{name}.npz") as stored:
        values, labels = stored["X"], stored["y"]
    drawn = np.random.default_rng(0).permutation(len(values))[:MOST_ROWS]
    return Task(name, np.ascontiguousarray(values[drawn], dtype=np.float32), labels[drawn] == 1)


def our_scores(task: Task) -> dict[str, Scores]:
    """Return the scores of our members with their defaults, and of their ensemble."""
    count, width = task.values.shape
    matrix = FeatureMatrix(task.values, tuple(f"feature_{column}" for column in range(width)))
    rows = TrainingRows(matrix, np.arange(count, dtype=np.int64), np.full(count, UNKNOWN, np.int8))
    ensemble = fit_crosswise([parse_settings({"kind": kind}) for kind in OURS], rows, EnsembleSettings()).ensemble
    scores = {f"Vigil {member.name}": member.score(matrix) for member in ensemble.members}
    surprises = [ensemble.curves[member.name].surprise(member.score(matrix)) for member in ensemble.members]
    return scores | {ENSEMBLE: ensemble.score(matrix).score, "Vigil mean of surprises": np.mean(surprises, axis=0)}


def pyod_scores(task: Task, path: str) -> Scores:
    """Return the scores that a detector gives the rows that it was fitted on."""
    module, _, name = path.partition(".")
    detector: Callable[..., Any] = getattr(importlib.import_module(f"pyod.models.{module}"), name)
    np.random.seed(0)  # noqa: NPY002 - LODA draws from numpy's global state
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores: Scores = detector(**PYOD[path]).fit(task.values.astype(np.float64)).decision_scores_
    return scores


def compare_all(folder: Path) -> Table:
    """Return the average precision of every detector on every set."""
    table: Table = {}
    for task in (load_task(folder, name) for name in SETS):
        scores = our_scores(task) | {path.partition(".")[2]: pyod_scores(task, path) for path in PYOD}
        for name, values in scores.items():
            table.setdefault(name, {})[task.name] = task.measure(values)
    return table


def best_three(table: Table) -> list[str]:
    """Return PyOD's detectors of the highest mean average precision."""
    theirs = [name for name in table if not name.startswith("Vigil")]
    return sorted(theirs, key=lambda name: -np.mean(list(table[name].values())))[:3]


def mean_ranks(table: Table, names: list[str]) -> dict[str, float]:
    """Return each detector's rank among `names` (1 is best, ties share), averaged over the sets."""
    precision = np.array([[table[name][task] for task in SETS] for name in names])
    ranks = rankdata(-precision, axis=0).mean(axis=1)
    return dict(zip(names, ranks.tolist(), strict=True))


def in_words(table: Table) -> str:
    """Return the table as text, the highest mean first."""
    lines = ["  " + "detector".ljust(26) + "".join(name.rjust(13) for name in (*SETS, "mean"))]
    for name, found in sorted(table.items(), key=lambda item: -np.mean(list(item[1].values()))):
        values = [*(found[task] for task in SETS), float(np.mean(list(found.values())))]
        lines.append("  " + name.ljust(26) + "".join(f"{value:13.4f}" for value in values))
    return "\n".join(lines)
