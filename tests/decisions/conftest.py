import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from tests.ensemble.samples import NAMES, fitted, make_rows
from vigil.clock import to_micros
from vigil.contracts.keys import hash_bytes
from vigil.decisions.decider import Decider
from vigil.decisions.log import DecisionLog
from vigil.decisions.policy import DecisionPolicy
from vigil.ensemble.fitting import EnsembleSettings, fit_ensemble
from vigil.evaluation.splits import Window
from vigil.evaluation.thresholds import ThresholdPolicy, Thresholds
from vigil.features.definitions import FeatureConfig
from vigil.features.schema import FeatureInfo, FeatureSchema

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def sample_schema() -> FeatureSchema:
    features = tuple(
        FeatureInfo(name=name, group="x", unit="currency", windows=(), default=0, reason=f"why {name}")
        for name in NAMES
    )
    return FeatureSchema(content_hash=hash_bytes(b"schema"), config=FeatureConfig(), features=features)


def write(log: DecisionLog, *lines: bytes) -> None:
    log.reserve(len(lines))
    log.append(lines)


def until(holds: Callable[[], bool]) -> None:
    limit = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < limit
        time.sleep(0.01)


@pytest.fixture(scope="session")
def decider() -> Decider:
    rows = make_rows(3_000, 1)
    members = [fitted("isolation_forest", rows, trees=30), fitted("boosted", rows, rounds=30, max_depth=3)]
    ensemble = fit_ensemble(members, make_rows(3_000, 2), EnsembleSettings())
    start = to_micros(NOON)
    thresholds = Thresholds(
        policy=ThresholdPolicy(),
        overall=0.3,
        by_key={"strict": 0.01},
        window=Window(start=start, end=start + 1),
        rows=3_000,
        rows_hash=hash_bytes(b"rows"),
    )
    return Decider(hash_bytes(b"bundle"), sample_schema(), ensemble, thresholds, DecisionPolicy())
