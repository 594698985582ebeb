"""A shard becomes the live version of its model: sealed, registered, promoted, all of it in the ledger."""

from dataclasses import dataclass, field

from vigil.contracts.keys import ContentHash, ModelName, hash_json
from vigil.fleet.bundled import SHARDS, Records, Shard, shard_parts
from vigil.fleet.model import Fleet
from vigil.registry.bundle import write_bundle
from vigil.registry.metadata import BundleMetadata, TrainingWindow, code_version, library_versions
from vigil.registry.registry import Registry
from vigil.registry.stages import Stage, VersionState
from vigil.settings import Settings

LIBRARIES = ("numba", "numpy", "pyarrow", "vigil")


@dataclass(frozen=True)
class Change:
    """What a new version of a shard is made from."""

    model: ModelName
    window: TrainingWindow
    parents: dict[str, ContentHash]
    shards: int
    parameters: dict[str, str | int | float | bool | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Published:
    """The version of the shard that is in production."""

    version: str
    bundle: ContentHash


def publish(
    registry: Registry,
    settings: Settings,
    change: Change,
    content: tuple[Fleet, Records],
    live: Shard | None,
    by: tuple[str, str],
) -> Published:
    """Put a shard into production in the place of `live`, by an actor and for a reason; Conflict if others were first.

    The same content is registered once: a retry after a crash goes on where that ended.
    """
    fleet, records = content
    actor, reason = by
    parents = change.parents | ({} if live is None else {"champion": live.bundle})
    counts = {
        verdict: float(sum(one.verdict == verdict for one in records.values())) for verdict in ("promoted", "kept")
    }
    metadata = BundleMetadata(
        model=change.model,
        feature_schema=hash_json({"settings": fleet.settings.model_dump(mode="json"), "metrics": list(fleet.metrics)}),
        training_window=change.window,
        parents=parents,
        code=code_version(),
        libraries=library_versions(LIBRARIES),
        parameters={SHARDS: change.shards, **change.parameters},
        metrics={"sites": float(len(records)), "series": float(len(fleet.series)), **counts},
    )
    bundle = write_bundle(shard_parts(fleet, records), metadata, registry.store, signing_key=settings.signing_key)
    if live is not None and live.bundle == bundle.hash:
        return Published(live.version, bundle.hash)
    version = registry.register(bundle, actor=actor, reason=reason)
    version = _into_production(registry, version, live, by)
    return Published(version.version, bundle.hash)


def _into_production(
    registry: Registry, version: VersionState, live: Shard | None, by: tuple[str, str]
) -> VersionState:
    actor, reason = by
    expected = None if live is None else live.version
    for stage, to in ((Stage.CANDIDATE, Stage.STAGING), (Stage.STAGING, Stage.PRODUCTION)):
        if version.stage == stage:
            version = registry.promote(
                version.model, version.version, to, expected_production=expected, actor=actor, reason=reason
            )
    return version
