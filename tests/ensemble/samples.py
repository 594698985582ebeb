"""Small data with planted frauds, and real members fitted on it."""

import numpy as np

from vigil.members.base import FeatureMatrix, Member, TooFewLabels, TrainingRows
from vigil.members.catalog import fit_member, parse_settings

PARTS = (
    "business_high_value",
    "business_low_stock",
    "business_customer_behavior",
    "business_churn",
    "business_outlier",
)
NAMES = ("amount", "pace", "noise", *PARTS)


def make_rows(count: int, seed: int, *, labelled: bool = True) -> TrainingRows:
    """Return rows of which 4 % are frauds: large amounts at a high pace, with some overlap."""
    random = np.random.default_rng(seed)
    fraud = random.random(count) < 0.04
    values = random.normal(size=(count, len(NAMES))).astype(np.float32)
    values[fraud, 0] += 3.0
    values[fraud, 1] += 1.5
    values[:, 3:] = random.random((count, len(PARTS))).astype(np.float32)
    times = np.arange(count, dtype=np.int64) * 1_000_000
    labels = fraud.astype(np.int8) if labelled else np.full(count, -1, np.int8)
    return TrainingRows(FeatureMatrix(values, NAMES), times, labels)


def fitted(kind: str, rows: TrainingRows, **settings: object) -> Member:
    member = fit_member(parse_settings({"kind": kind, "features": ["amount", "pace", "noise"], **settings}), rows)
    assert not isinstance(member, TooFewLabels)
    return member
