"""What the checks of the members are run on: rows with planted frauds, and each kind of member fitted on them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from vigil.members.base import FeatureMatrix, Member, TrainingRows
from vigil.members.catalog import fit_member, parse_settings
from vigil.members.settings import MemberSettings

FEATURES = ("amount", "count_7d", "gap_hours", "mean_30d", "is_night", "distance")
PLANTED = "amount"
"""The feature that makes the planted anomalies what they are."""

QUICK: Mapping[str, Mapping[str, Any]] = {
    "autoencoder": {"epochs": 10, "batch": 128},
    "boosted": {"rounds": 40, "max_bin": 64},
    "isolation_forest": {"trees": 50},
    "one_class_svm": {"rows": 300},
    "rolling_quantile": {"window": 1000},
}
"""Settings that spare time; a kind that is not here is fitted as it is by default."""


@dataclass(frozen=True)
class Subject:
    """A member, what it was fitted with and on, and rows that it has not seen."""

    settings: MemberSettings
    rows: TrainingRows
    member: Member
    usual: FeatureMatrix
    planted: FeatureMatrix


def make_values(count: int, seed: int) -> np.ndarray:
    """Return usual rows, (count, features): skewed, correlated and binary features among them."""
    random = np.random.default_rng(seed)
    level = random.normal(size=count)
    columns = [
        np.exp(0.5 * level + 0.3 * random.normal(size=count)) * 40,
        random.poisson(4, count),
        random.exponential(12, count),
        np.exp(0.5 * level) * 40,
        random.random(count) < 0.2,
        random.normal(10, 2, count),
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def make_rows(count: int = 1500, seed: int = 0) -> TrainingRows:
    """Return labelled rows in the order of time, a tenth of them frauds with large amounts."""
    values = make_values(count, seed)
    frauds = np.random.default_rng(seed + 1).random(count) < 0.1
    values[frauds, 0] *= 8
    times = np.arange(count, dtype=np.int64) * 60_000_000
    return TrainingRows(FeatureMatrix(values, FEATURES), times, frauds.astype(np.int8))


def planted_anomalies() -> FeatureMatrix:
    """Return usual rows whose amount alone is beyond anything seen."""
    values = make_values(20, seed=7)
    values[:, FEATURES.index(PLANTED)] = 3000.0
    return FeatureMatrix(values, FEATURES)


def fit(settings: MemberSettings, rows: TrainingRows) -> Member:
    """Return the fitted member; the rows have labels enough for all."""
    fitted = fit_member(settings, rows)
    assert isinstance(fitted, Member)
    return fitted


@cache
def subject_of(kind: str) -> Subject:
    """Return the member of a kind, fitted once for all checks."""
    settings, rows = parse_settings({"kind": kind, "seed": 3, **QUICK.get(kind, {})}), make_rows()
    usual = FeatureMatrix(make_values(400, seed=5), FEATURES)
    return Subject(settings, rows, fit(settings, rows), usual, planted_anomalies())
