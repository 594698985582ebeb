"""One site goes back to the version before; nothing else of its shard changes."""

from vigil.contracts.keys import ContentHash, ModelName
from vigil.errors import ContractError
from vigil.fleet.bundled import (
    SHARDS,
    Earlier,
    Shard,
    live_models,
    live_shard,
    read_shard,
    series_of,
    shard_model,
    shard_name,
    shard_of,
)
from vigil.registry.bundle import bundle_uri, load_bundle
from vigil.registry.registry import Registry
from vigil.settings import Settings
from vigil.training.sites.publish import Change, Published, publish


def find_site(registry: Registry, fleet: str, site: str) -> Shard:
    """Return the live shard that has the site, or raise ContractError."""
    models = live_models(registry, fleet)
    if not models:
        raise ContractError(f"no shard of {fleet} is live: run `vigil pipeline run site_models`")
    shards = _shards(registry, models[0])
    model = shard_model(fleet, shard_name(shard_of(site, shards)))
    shard = live_shard(registry, model) if model in models else None
    if shard is None or site not in shard.records:
        raise ContractError(f"{fleet} has no site {site}: the model of all sites is used for it")
    return shard


def roll_back_site(
    registry: Registry, settings: Settings, fleet: str, site: str, by: tuple[str, str]
) -> tuple[Published, Earlier]:
    """Put a site's previous version back into production, by an actor and for a reason; return shard and version."""
    live = find_site(registry, fleet, site)
    record = live.records[site]
    if not record.earlier:
        raise ContractError(f"site {site} has had no version but {record.version}: there is nothing to roll back to")
    earlier = record.earlier[0]
    digest = ContentHash(earlier.bundle)
    before = read_shard(load_bundle(bundle_uri(registry.store, digest), expected_hash=digest))
    content = live.fleet.with_series(before.fleet, series_of(before.fleet, [site]))
    actor, reason = by
    update = {"version": earlier.version, "verdict": "rolled_back", "reasons": (reason,), "earlier": record.earlier[1:]}
    records = {**live.records, site: record.model_copy(update=update)}
    metadata = registry.state(live.model).version(live.version).registration.metadata
    change = Change(
        live.model,
        metadata.training_window,
        {"earlier": digest},
        live.shards,
        {"rolled_back": site, "from_version": record.version, "to_version": earlier.version},
    )
    told = f"site {site} back to version {earlier.version} from {record.version}: {reason}"
    return publish(registry, settings, change, (content, records), live, (actor, told)), earlier


def _shards(registry: Registry, model: ModelName) -> int:
    """Return into how many shards the fleet of a model is divided."""
    return int(registry.state(model).version("production").registration.metadata.parameters.get(SHARDS) or 1)  # type: ignore[arg-type]
