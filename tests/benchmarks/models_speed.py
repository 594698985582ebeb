"""How fast members and ensemble score, and how long and in how much memory all members are fitted."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import IsolationForest as SklearnForest

from tests.benchmarks.models_handbook import HISTORY_START, Handbook
from vigil.ensemble.fitting import EnsembleSettings, fit_ensemble
from vigil.ensemble.model import Ensemble
from vigil.members.base import FeatureMatrix, Member, TrainingRows, in_threads
from vigil.members.catalog import fit_member, parse_settings

FEATURES = 30
FITTED_ROWS = 250_000
FOREST_ROWS = (1, 100, 10_000, 100_000)
CALLS = {1: 400, 100: 100, 10_000: 5, 100_000: 3}
"""How often a batch of so many rows is scored; the median counts."""
CORES = 2
ENSEMBLE_MEMBERS: tuple[dict[str, Any], ...] = (
    {"kind": "isolation_forest"},
    {"kind": "autoencoder"},
    {"kind": "boosted"},
    {"kind": "z_score"},
)
"""The default settings of each member."""


@dataclass(frozen=True)
class Timed:
    """Median seconds of a call: of ours and of the other's."""

    ours: float
    other: float

    @property
    def ratio(self) -> float:
        """How many times as fast ours is."""
        return self.other / self.ours


@dataclass(frozen=True)
class EnsembleSpeed:
    """Seconds for one row, and rows a second in a batch."""

    one_row: float
    rows_per_second: float
    on_one_core: float


@dataclass(frozen=True)
class FitCost:
    """What the fit of all members took."""

    seconds: float
    processor_seconds: float
    """Summed over the threads: seconds far above half of it were waited for, on a busy machine."""
    by_member: dict[str, float]
    peak_gib: float
    data_gib: float
    """Peak before the first fit: the rows and what was imported."""


def speed_rows(handbook: Handbook) -> TrainingRows:
    """Return 250,000 transactions with 30 features."""
    start = int(np.searchsorted(handbook.rows.times, HISTORY_START))
    names = handbook.rows.matrix.names[:FEATURES]
    return handbook.rows.take(slice(start, start + FITTED_ROWS)).prepared(names)


def time_forest(rows: TrainingRows) -> dict[int, Timed]:
    """Return our time and scikit-learn's for the same forest by number of rows, one thread each."""
    settings = parse_settings({"kind": "isolation_forest"})
    ours = fit_member(settings, rows)
    assert isinstance(ours, Member)
    theirs = SklearnForest(n_estimators=100, max_samples=256, random_state=settings.seed).fit(rows.normal)
    found = {}
    for count in FOREST_ROWS:
        matrix = FeatureMatrix(rows.matrix.values[:count], rows.matrix.names)
        gap = np.abs(ours.score(matrix) + theirs.score_samples(matrix.values)).max()
        if gap > 1e-12:
            raise SystemExit(f"the flat forest differs from scikit-learn's by {gap} on {count} rows")
        mine = _median_seconds(lambda matrix=matrix: ours.score(matrix), CALLS[count])
        other = _median_seconds(lambda matrix=matrix: theirs.score_samples(matrix.values), min(CALLS[count], 50))
        found[count] = Timed(mine, other)
    return found


def time_ensemble(rows: TrainingRows) -> EnsembleSpeed:
    """Return the speed of the ensemble of the four members with their default settings."""
    ensemble = _ensemble(rows)
    one, batch = (FeatureMatrix(rows.matrix.values[:count], rows.matrix.names) for count in (1, 100_000))

    def score(matrix: FeatureMatrix) -> Any:
        return ensemble.score(matrix).score

    single = _median_seconds(lambda: score(one), 400)
    alone = _median_seconds(lambda: score(batch), 3)
    both = _median_seconds(lambda: in_threads(score, batch, CORES), 3)
    return EnsembleSpeed(single, len(batch) / both, len(batch) / alone)


def _ensemble(rows: TrainingRows) -> Ensemble:
    cut = len(rows) * 4 // 5
    taught, kept = rows.take(slice(0, cut)), rows.take(slice(cut, None))
    fitted = [fit_member(parse_settings(one), taught) for one in ENSEMBLE_MEMBERS]
    return fit_ensemble([one for one in fitted if isinstance(one, Member)], kept, EnsembleSettings())


def time_fit(rows: TrainingRows) -> FitCost:
    """Return what fitting every kind of member with its defaults takes, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npz"
        np.savez(path, values=rows.matrix.values, names=rows.matrix.names, times=rows.times, labels=rows.labels)
        command = [sys.executable, "-m", "tests.benchmarks.models_fit", str(path)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return FitCost(**json.loads(done.stdout.splitlines()[-1]))


def _median_seconds(call: Callable[[], object], times: int) -> float:
    call()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))
