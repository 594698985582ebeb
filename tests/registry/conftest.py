"""A registry in a folder with three versions of one model."""

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.registry.samples import MONDAY, metadata, parts
from vigil.clock import ManualClock
from vigil.contracts.keys import ModelName, ModelVersion
from vigil.registry.bundle import BundleRef, write_bundle
from vigil.registry.registry import Registry
from vigil.registry.stages import Stage
from vigil.registry.store import FolderStore

MODEL = ModelName("card_fraud")


class Desk:
    """Someone at work on one model: each call is an hour after the one before."""

    def __init__(self, registry: Registry, clock: ManualClock) -> None:
        self.registry = registry
        self.clock = clock

    def register(self, bundle: BundleRef) -> ModelVersion:
        self.clock.advance(timedelta(hours=1))
        return self.registry.register(bundle, actor="policy:gates-v1", reason="all gates passed").version

    def promote(self, version: str, to: Stage = Stage.PRODUCTION, expected: str | None = None) -> None:
        self.clock.advance(timedelta(hours=1))
        self.registry.promote(
            MODEL,
            ModelVersion(version),
            to,
            expected_production=ModelVersion(expected) if expected else None,
            actor="person:ana",
            reason="looks good",
        )

    def enthrone(self, version: str, expected: str | None = None) -> None:
        """Take a candidate through staging to production."""
        self.promote(version, Stage.STAGING, expected)
        self.promote(version, Stage.PRODUCTION, expected)

    def rollback(self, expected: str | None) -> ModelVersion:
        self.clock.advance(timedelta(hours=1))
        wanted = ModelVersion(expected) if expected else None
        return self.registry.rollback(
            MODEL, expected_production=wanted, actor="policy:drift", reason="worse on the same traffic"
        ).version

    def retire(self, version: str) -> None:
        self.clock.advance(timedelta(hours=1))
        self.registry.retire(MODEL, ModelVersion(version), actor="person:ben", reason="trained on bad data")

    def stages(self) -> dict[str, str]:
        return {number: found.stage.value for number, found in self.registry.state(MODEL).versions.items()}


@pytest.fixture(scope="session")
def public_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "public.pem"
    key = Ed25519PrivateKey.generate().public_key()
    path.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def write_three(store: FolderStore) -> list[BundleRef]:
    return [write_bundle(parts(cut), metadata(auc=cut), store) for cut in (0.5, 0.625, 0.75)]


def open_desk(store: FolderStore, bundles: list[BundleRef]) -> Desk:
    clock = ManualClock(MONDAY)
    desk = Desk(Registry(store, clock=clock), clock)
    for bundle in bundles:
        desk.register(bundle)
    return desk


@pytest.fixture
def bundles(store: FolderStore) -> list[BundleRef]:
    return write_three(store)


@pytest.fixture
def desk(store: FolderStore, bundles: list[BundleRef]) -> Desk:
    return open_desk(store, bundles)
