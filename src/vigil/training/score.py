"""A raw file is decided by a registered model, as if its events had come to the server one after the other."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vigil.contracts.artifacts import Manifest, seal
from vigil.contracts.events import EVENTS, Event, Transaction
from vigil.contracts.keys import ContentHash, ModelName, ModelVersion, canonical_json
from vigil.decisions.bundled import load_decider
from vigil.decisions.columns import DecidedRows, decide_columns
from vigil.decisions.decider import Decider
from vigil.evaluation.thresholds import SEPARATOR
from vigil.features.fields import KINDS
from vigil.features.online import OnlineFeatures
from vigil.features.states import hydrate
from vigil.features.store.base import StateStore
from vigil.features.store.memory import MemoryStore
from vigil.members.base import FeatureMatrix
from vigil.registry.bundle import load_bundle
from vigil.registry.registry import Registry
from vigil.registry.store import open_store
from vigil.settings import Settings
from vigil.training.folders import EVENTS_KIND, events_hash, fresh, read_events, states_path, verified
from vigil.training.raw import local

KIND = "decisions"
DECISIONS = "decisions.parquet"
_CHUNK = 4096


@dataclass(frozen=True)
class _Served:
    """The model, and the features that it is asked with."""

    decider: Decider
    features: OnlineFeatures


def score_batch(model: str, version: str, events: Path, output: Path, settings: Settings) -> Manifest:
    """Write one decision for each transaction into a sealed folder, with reasons for those that alert or hold.

    The past of the entities is that of the end of the model's training. `version` is a number or `production`.
    """
    verified(events, EVENTS_KIND)
    store = open_store(settings.store_uri)
    reference = Registry(store).resolve(ModelName(model), ModelVersion(version))
    bundle = load_bundle(reference.uri, public_key=settings.public_key, expected_hash=reference.hash)
    decider = load_decider(bundle)
    states = bundle.metadata.parents.get("feature_state")
    with MemoryStore() as memory, _states(store.uri, states) as folder:
        if folder is not None:
            hydrate(memory, folder, decider.schema.content_hash)
        table = _decided(_served(decider, memory), events)
    fresh(output)
    pq.write_table(table, output / DECISIONS, compression="zstd")
    counts = {"decisions": table.num_rows, **_by_action(table)}
    parents = {"bundle": reference.hash, "events": events_hash(events)}
    return seal(output, KIND, rows=counts, parents=parents, facts={"model": model, "version": version})


def _served(decider: Decider, store: StateStore) -> _Served:
    return _Served(decider, OnlineFeatures(decider.schema.compile(), store))


@contextmanager
def _states(store: str, digest: ContentHash | None) -> Iterator[Path | None]:
    """Return the folder of states that the training run has left in the store; None for a bundle without any."""
    if digest is None:
        yield None
        return
    with local(f"{store}/{states_path(digest)}") as folder:
        yield folder


def _decided(served: _Served, events: Path) -> pa.Table:
    tables = []
    for chunk in _in_order(events):
        values = served.features.process_many(chunk).values
        asks = np.flatnonzero([isinstance(event, Transaction) for event in chunk])
        if not len(asks):
            continue
        asked = [event for event in chunk if isinstance(event, Transaction)]
        matrix = FeatureMatrix(np.ascontiguousarray(values[asks]), served.decider.schema.names)
        by = served.decider.thresholds.policy.by
        segments = [_segment(event, by) for event in asked] if by else None
        rows = decide_columns(served.decider, matrix, [event.event_id for event in asked], segments)
        tables.append(_table(rows, asked))
    return pa.concat_tables(tables)


def _in_order(events: Path) -> Iterator[list[Event]]:
    """Yield the events that features use in log order, some thousands at a time."""
    tables = {kind: table for kind, table in read_events(events).items() if kind in KINDS and table.num_rows}
    kinds = [kind for kind in KINDS if kind in tables]
    times = np.concatenate([tables[kind]["event_time"].cast(pa.int64()).to_numpy() for kind in kinds])
    number = np.repeat(np.arange(len(kinds)), [tables[kind].num_rows for kind in kinds])
    place = np.concatenate([np.arange(tables[kind].num_rows) for kind in kinds])
    order = np.lexsort((number, times))
    for first in range(0, len(order), _CHUNK):
        chosen = order[first : first + _CHUNK]
        found: list[Event] = []
        for k, kind in enumerate(kinds):
            rows = tables[kind].take(pa.array(place[chosen[number[chosen] == k]]))
            found += [EVENTS[kind].model_validate(row) for row in rows.to_pylist()]
        yield found


def _segment(event: Transaction, by: tuple[str, ...]) -> str:
    names = [name if name in Transaction.model_fields else f"{name}_id" for name in by]
    return SEPARATOR.join(str(getattr(event, name)) for name in names)


def _table(rows: DecidedRows, asked: list[Transaction]) -> pa.Table:
    reasons = [canonical_json([vars(reason) for reason in found]).decode() if found else None for found in rows.reasons]
    return pa.table(
        {
            "event_id": pa.array(rows.event_id, pa.string()),
            "event_time": pa.array([event.event_time for event in asked], pa.timestamp("us", tz="UTC")),
            "action": pa.array(rows.action, pa.string()),
            "severity": pa.array(rows.severity, pa.string()),
            "score": pa.array(rows.score, pa.float64()),
            "threshold": pa.array(rows.threshold, pa.float64()),
            **{f"level_{name}": pa.array(levels, pa.float64()) for name, levels in rows.levels.items()},
            "business": pa.array(rows.business, pa.float64()),
            "segment": pa.array(rows.segment, pa.string()),
            "reasons": pa.array(reasons, pa.string()),
        }
    )


def _by_action(table: pa.Table) -> dict[str, int]:
    counted = table["action"].value_counts().to_pylist()
    return {item["values"]: item["counts"] for item in counted}
