"""A version in a registry, without training."""

from tests.registry.samples import metadata, parts
from vigil.registry.bundle import write_bundle
from vigil.registry.registry import Registry
from vigil.registry.stages import VersionState
from vigil.registry.store import FolderStore


def register(store: FolderStore, registry: Registry) -> VersionState:
    bundle = write_bundle(parts(), metadata(), store)
    return registry.register(bundle, actor="policy:gates", reason="all gates passed")
