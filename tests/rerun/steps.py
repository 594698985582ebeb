"""What the steps of the sample that judges and registers do: the real folders that training makes, without training."""

from pathlib import Path

from tests.registry.samples import metadata, parts
from vigil.contracts.artifacts import seal
from vigil.contracts.keys import canonical_json, hash_bytes
from vigil.evaluation.gates.evaluate import GateReport
from vigil.registry.bundle import write_bundle
from vigil.registry.registry import Registry
from vigil.registry.stages import VersionState
from vigil.registry.store import FolderStore
from vigil.settings import load_settings
from vigil.training.gates import KIND as VERDICTS_KIND
from vigil.training.gates import VERDICTS
from vigil.training.register import KIND, REGISTRATION, Registered


def judge(folder: Path, decision: str) -> None:
    report = GateReport(
        decision=decision,  # type: ignore[arg-type]
        ship=None if decision == "reject" else "ensemble",
        summary="precision fell by 0.1",
        candidate="ensemble",
        config="sample",
        config_hash=hash_bytes(b"config"),
        evidence_hash=hash_bytes(b"evidence"),
        verdicts=(),
        not_asked=(),
    )
    folder.mkdir(parents=True)
    (folder / VERDICTS).write_text(report.model_dump_json())
    seal(folder, VERDICTS_KIND)


def register(store: FolderStore, registry: Registry) -> VersionState:
    bundle = write_bundle(parts(), metadata(), store)
    return registry.register(bundle, actor="policy:gates", reason="all gates passed")


def write_registration(folder: Path) -> None:
    store = FolderStore(load_settings().home / "models")
    version = register(store, Registry(store))
    found = Registered(
        model=version.model,
        version=version.version,
        stage=version.stage,
        shipped="ensemble",
        bundle=version.registration.bundle,
        bundle_uri=f"{store.uri}/bundle",
        feature_state_uri=f"{store.uri}/states",
        feature_state_hash=hash_bytes(b"states"),
        feature_schema=hash_bytes(b"schema"),
        run=None,
    )
    folder.mkdir(parents=True)
    (folder / REGISTRATION).write_bytes(canonical_json(found.model_dump(mode="json")))
    seal(folder, KIND)
