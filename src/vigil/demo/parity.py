"""Whether what was served is what the offline path decides on the same events, row by row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from vigil.clock import system_clock
from vigil.decisions.decider import Asked, Decider
from vigil.decisions.record import DecisionRecord
from vigil.demo.traffic import Decision
from vigil.features.engine import compute_tables
from vigil.features.fields import KINDS
from vigil.members.base import FeatureMatrix

_COMPARED = ("score", "threshold", "levels", "business", "mode", "action", "severity", "bundle", "feature_schema")


@dataclass(frozen=True)
class Parity:
    """How many served decisions were compared, and where the first of those that differ does so."""

    rows: int
    differing: int
    first: str = ""


def compare(decider: Decider, tables: Mapping[str, pa.Table], served: Sequence[Decision]) -> Parity:
    """Return how the served decisions differ from those on features of the whole log, `tables` by kind of event.

    Scores, levels, actions and reasons have to be the same to the last bit.
    """
    computed = compute_tables(decider.schema.compile(), {k: t for k, t in tables.items() if k in KINDS})
    place = {event_id: row for row, event_id in enumerate(computed.event_ids.to_pylist())}
    rows = np.array([place[one["event_id"]] for one in served], dtype=np.int64)
    matrix = FeatureMatrix(np.ascontiguousarray(computed.values[rows]), computed.names)
    asked = [Asked(one["event_id"], one["segment"]) for one in served]
    wanted = decider.decide(matrix, asked, system_clock())
    different = [found for one, record in zip(served, wanted, strict=True) if (found := _difference(one, record))]
    return Parity(len(served), len(different), different[0] if different else "")


def _difference(served: Decision, wanted: DecisionRecord) -> str:
    """Return what the served decision says otherwise, or nothing."""
    expected: dict[str, Any] = wanted.model_dump(mode="json")
    for name in (*_COMPARED, "reasons"):
        if served[name] != expected[name]:
            return f"{wanted.event_id}: {name} was served as {served[name]}, offline it is {expected[name]}"
    if served["decision_id"] != wanted.decision_id:
        return f"{wanted.event_id}: its vector differs, but no score does"
    return ""
