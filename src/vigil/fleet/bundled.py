"""A shard of a fleet as a bundle: its models, and of each site which version is live, why, and what was before."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from vigil.contracts.keys import ContentHash, ModelName, ModelVersion
from vigil.errors import ContractError
from vigil.fleet.model import ARRAYS, HEADER, THRESHOLDS, Fleet, restore_fleet
from vigil.fleet.panel import Series
from vigil.members.files import Files, write_json
from vigil.registry.bundle import Bundle, load_bundle
from vigil.registry.registry import Registry

SITES = "sites.json"
SHARDS = "shards"
"""Parameter of the bundle's metadata: into how many shards the fleet is divided."""
MOST_EARLIER = 10
UNREGISTERED = ModelVersion("")


class Earlier(BaseModel):
    """A version that a site had, and the last bundle that holds it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    bundle: str


class SiteRecord(BaseModel):
    """How the live version of a site came to be live."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    verdict: Literal["promoted", "kept", "rolled_back"]
    reasons: tuple[str, ...] = ()
    earlier: tuple[Earlier, ...] = ()
    """The last first; a rollback takes it."""

    def after(self, version: str, bundle: ContentHash, reasons: Iterable[str]) -> "SiteRecord":
        """Return the record of the version that takes the place of this one, which `bundle` holds."""
        earlier = (Earlier(version=self.version, bundle=bundle), *self.earlier)[:MOST_EARLIER]
        return SiteRecord(version=version, verdict="promoted", reasons=tuple(reasons), earlier=earlier)


Records = dict[str, SiteRecord]
_RECORDS = TypeAdapter(Records)


@dataclass(frozen=True, eq=False)
class Shard:
    """The sites of a shard as a bundle has them."""

    fleet: Fleet
    records: Records
    bundle: ContentHash
    model: ModelName
    shards: int
    version: ModelVersion = UNREGISTERED
    """Number of the bundle in the registry, where that is known."""


def shard_of(site: str, shards: int) -> int:
    """Return the number of the shard of a site: it depends on nothing but its name."""
    return int.from_bytes(hashlib.sha256(site.encode()).digest()[:8]) % shards


def shard_name(number: int) -> str:
    """Return the name of a shard."""
    return f"shard-{number:02d}"


def shard_model(fleet: str, shard: str) -> ModelName:
    """Return the name in the registry of a shard of a fleet."""
    return ModelName(f"{fleet}-{shard}")


def shard_parts(fleet: Fleet, records: Mapping[str, SiteRecord]) -> Files:
    """Return the parts of the bundle of a shard."""
    told = {site: record.model_dump(mode="json") for site, record in records.items()}
    return {**fleet.to_files(), SITES: write_json(told)}


def read_shard(bundle: Bundle, version: ModelVersion = UNREGISTERED) -> Shard:
    """Return the shard in a verified bundle, or raise ContractError if it holds another kind of model."""
    if missing := {HEADER, ARRAYS, THRESHOLDS, SITES} - set(bundle.names):
        raise ContractError(f"bundle {bundle.hash} is no shard of site models: it has no {min(missing)}")
    fleet = restore_fleet({name: bundle.read(name) for name in (HEADER, ARRAYS, THRESHOLDS)})
    try:
        records = _RECORDS.validate_json(bundle.read(SITES))
    except ValidationError as error:
        raise ContractError(f"{SITES} of bundle {bundle.hash}: {error.errors()[0]['msg']}") from error
    model, shards = ModelName(bundle.metadata.model), bundle.metadata.parameters.get(SHARDS)
    return Shard(fleet, records, bundle.hash, model, int(shards or 1), version)


def live_shard(registry: Registry, model: ModelName) -> Shard | None:
    """Return the shard that is in production, verified; None if the model has none."""
    state = registry.state(model)
    if state.production is None:
        return None
    ref = registry.resolve(model)
    return read_shard(load_bundle(ref.uri, expected_hash=ref.hash), state.production)


def live_models(registry: Registry, fleet: str) -> list[ModelName]:
    """Return the models of those shards of a fleet that have a version in production."""
    named = [model for model in registry.models() if model.startswith(f"{fleet}-shard-")]
    return [model for model in named if registry.state(model).production is not None]


def series_of(fleet: Fleet, sites: Iterable[str]) -> list[Series]:
    """Return the series of some sites, in the order of the fleet."""
    wanted = set(sites)
    return [series for series in fleet.series if series.site in wanted]
