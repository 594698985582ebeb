"""Events and vectors for the tests, and what they must lead to offline."""

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np

from tests.serving.processes import PUBLIC_KEY, RELEASE
from vigil.contracts.events import Transaction
from vigil.decisions.bundled import load_decider
from vigil.decisions.decider import Decider
from vigil.features.online import OnlineFeatures
from vigil.features.store.memory import MemoryStore
from vigil.members.base import FeatureMatrix
from vigil.registry.bundle import load_bundle

START = datetime(2026, 6, 10, 12, tzinfo=UTC)


@cache
def decider() -> Decider:
    return load_decider(load_bundle(RELEASE, public_key=PUBLIC_KEY))


def transactions(name: str, count: int, seed: int = 1) -> list[Transaction]:
    """Return transactions of entities that no other name uses; some amounts are so high that they are held."""
    random = np.random.default_rng(seed)
    return [
        Transaction(
            event_id=f"{name}-{number}",
            event_time=START + timedelta(seconds=number * 97.25),
            amount=round(float(random.gamma(2.0, 15.0 if random.random() < 0.9 else 300.0)), 2),
            customer_id=f"{name}-customer-{random.integers(3)}",
            terminal_id=f"{name}-terminal-{random.integers(2)}",
        )
        for number in range(count)
    ]


def as_json(event: Transaction) -> dict[str, Any]:
    return event.model_dump(mode="json", exclude_none=True)


def features_offline(events: list[Transaction]) -> FeatureMatrix:
    """Return the vectors of the events, one after the other over an empty state."""
    schema = decider().schema
    with MemoryStore() as store:
        online = OnlineFeatures(schema.compile(), store)
        values = [online.process(event).values for event in events]
    return FeatureMatrix(np.stack([row for row in values if row is not None]), schema.names)


def vectors(count: int, seed: int = 3) -> FeatureMatrix:
    random = np.random.default_rng(seed)
    names = decider().schema.names
    values = random.gamma(2.0, 10.0, size=(count, len(names))).astype(np.float32)
    values[::4, :4] *= 3
    return FeatureMatrix(values, names)


def instances(matrix: FeatureMatrix, name: str = "v") -> list[dict[str, Any]]:
    return [
        {"event_id": f"{name}-{row}", "features": dict(zip(matrix.names, map(float, values), strict=True))}
        for row, values in enumerate(matrix.values)
    ]
