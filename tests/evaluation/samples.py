"""Rows to measure on: fraud that clusters by customer, scored by a model of known strength."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from vigil.clock import DAY
from vigil.evaluation.rows import ScoredRows
from vigil.evaluation.settings import MetricSettings
from vigil.settings import load_settings

FEW = MetricSettings(resamples=200, alerts_per_day=20, top_cards=10)
START = 17_000 * DAY


def sample(seed: int = 0, strength: float = 2.0, customers: int = 400, per_customer: int = 8) -> ScoredRows:
    """Return rows over 14 days with scores in [0, 1]; about 2 % are fraud."""
    random = np.random.default_rng(seed)
    customer = np.repeat(np.arange(customers), per_customer)
    compromised = random.random(customers) < 0.05
    labels = compromised[customer] & (random.random(len(customer)) < 0.5)
    scores = random.normal(size=len(customer)) + strength * labels
    site = np.char.add("site ", random.integers(0, 4, len(customer)).astype(str))
    return ScoredRows(
        scores=1 / (1 + np.exp(-scores)),
        event_time=START + random.integers(0, 14 * DAY, len(customer)),
        labels=labels,
        amounts=random.gamma(2.0, 30.0, len(customer)),
        entities=customer,
        segments={"site": site},
    )


def with_labels(rows: ScoredRows, labels: object) -> ScoredRows:
    return dataclasses.replace(rows, labels=np.asarray(labels))


def handbook_file() -> Path:
    path = load_settings().data / "fraud_handbook" / "transactions.parquet"
    if not path.is_file():
        pytest.skip(f"the reference data is absent: {path} (set VIGIL_DATA)")
    return path


def ticking(*spans: float) -> Callable[[], float]:
    """Return a timer that lets each span pass between a start and an end, over and over."""

    def readings() -> Iterator[float]:
        now = 0.0
        while True:
            for span in spans:
                yield now
                now += span
                yield now

    moments = readings()
    return lambda: next(moments)
