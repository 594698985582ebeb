"""Versions of the first release's model: with a reference of what is usual, and with thresholds that may be wrong."""

import io
import json
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq

from tests.cluster.load import population
from tests.cluster.names import RELEASE
from tests.cluster.traffic import MODEL, decide_offline
from vigil.contracts.events import Transaction, to_table
from vigil.contracts.keys import ModelName, ModelVersion, canonical_json
from vigil.decisions.bundled import load_decider
from vigil.features.engine import compute_tables
from vigil.registry.bundle import BundleRef, load_bundle, write_bundle
from vigil.registry.registry import Registry
from vigil.registry.stages import Stage
from vigil.registry.store import Store

_ROWS = 2_000
_FLAGS_ALL = 0.001


def reference() -> bytes:
    """Return the vectors and scores of usual traffic, as a training run seals them."""
    events = list(islice(population(1, "reference"), _ROWS))
    schema = load_decider(load_bundle(RELEASE)).schema
    table = compute_tables(schema.compile(), {Transaction.kind: to_table(Transaction, events)})
    scores = decide_offline(events, RELEASE)
    columns = {
        "event_time": pa.array([event.event_time for event in events], pa.timestamp("us", "UTC")),
        "score": pa.array([scores[event.event_id].score for event in events]),
        **{name: table.values[:, at] for at, name in enumerate(table.names)},
    }
    content = io.BytesIO()
    pq.write_table(pa.table(columns), content)
    return content.getvalue()


def seal(store: Store, usual: bytes, auc: float, *, flags_all: bool = False) -> BundleRef:
    """Return a bundle that decides as the first release does, or flags everything; another `auc` makes another one."""
    release = load_bundle(RELEASE)
    parts = {name: release.read(name) for name in release.names} | {"reference/rows.parquet": usual}
    if flags_all:
        thresholds = json.loads(parts["thresholds.json"]) | {"overall": _FLAGS_ALL}
        parts["thresholds.json"] = canonical_json(thresholds)
    metadata = release.metadata.model_copy(update={"metrics": {**release.metadata.metrics, "auc": auc}})
    return write_bundle(parts, metadata, store)


def register(registry: Registry, bundle: BundleRef) -> ModelVersion:
    """Return the version that a bundle is registered under."""
    return registry.register(bundle, actor="policy:gates", reason="all gates passed").version


def enthrone(registry: Registry, version: ModelVersion) -> None:
    """Make a version the first one in production."""
    for stage in (Stage.STAGING, Stage.PRODUCTION):
        registry.promote(
            ModelName(MODEL), version, stage, expected_production=None, actor="person:ada", reason="the first"
        )
