"""Versions that somebody wants in production: thresholds set anew on live scores, and thresholds typed in wrongly."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from vigil.contracts.keys import ModelName, ModelVersion, canonical_json
from vigil.decisions.bundled import THRESHOLDS, load_decider
from vigil.demo.traffic import Decision
from vigil.evaluation.rows import ScoredRows
from vigil.evaluation.splits import Window
from vigil.evaluation.thresholds import Thresholds, recalculate
from vigil.registry.bundle import Bundle, load_bundle, write_bundle
from vigil.registry.registry import Registry

ACTOR = "person:demo"
_FLAGGED = 0.2


def scored(transactions: pa.Table, decisions: Sequence[Decision]) -> ScoredRows:
    """Return the scores of live decisions with the times of their transactions."""
    times = transactions["event_time"].cast(pa.int64()).to_pylist()
    by_id = dict(zip(transactions["event_id"].to_pylist(), times, strict=True))
    at = np.array([by_id[one["event_id"]] for one in decisions], np.int64)
    return ScoredRows(np.array([one["score"] for one in decisions]), at)


def with_new_thresholds(registry: Registry, model: str, live: ScoredRows) -> ModelVersion:
    """Register the version in production with the thresholds that its policy sets on live scores."""
    bundle = _production(registry, model)
    window = Window(start=int(live.event_time.min()), end=int(live.event_time.max()) + 1)
    after = recalculate(load_decider(bundle).thresholds, live, window).after
    return _registered(registry, bundle, after, f"thresholds set anew on {len(live):,} live scores, {window}")


def with_wrong_threshold(registry: Registry, model: str, live: ScoredRows) -> ModelVersion:
    """Register the version in production with a threshold so low that a fifth of the transactions are flagged."""
    bundle = _production(registry, model)
    wrong = float(np.quantile(live.scores, 1 - _FLAGGED))
    before = load_decider(bundle).thresholds
    after = before.model_copy(update={"overall": wrong, "by_key": {}, "notes": ("typed in by hand",)})
    return _registered(registry, bundle, after, f"threshold {wrong:.4f} typed in by hand, was {before.overall:.4f}")


def _production(registry: Registry, model: str) -> Bundle:
    found = registry.resolve(ModelName(model))
    return load_bundle(found.uri, expected_hash=found.hash)


def _registered(registry: Registry, before: Bundle, thresholds: Thresholds, reason: str) -> ModelVersion:
    parts = {name: before.read(name) for name in before.names}
    parts[THRESHOLDS] = canonical_json(thresholds.model_dump(mode="json"))
    parents = {**before.metadata.parents, "bundle": before.hash}
    metadata = before.metadata.model_copy(update={"parents": parents})
    made = write_bundle(parts, metadata, registry.store)
    return registry.register(made, actor=ACTOR, reason=reason).version
