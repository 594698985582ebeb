"""What passed the gates is sealed into a bundle, stored, registered as a candidate, and shown in MLflow."""

import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from vigil.clock import Clock, from_micros
from vigil.contracts.artifacts import MANIFEST, Manifest, read_manifest, seal
from vigil.contracts.keys import ContentHash, ModelName, canonical_json
from vigil.errors import Unavailable
from vigil.evaluation.gates.evaluate import GateReport
from vigil.evaluation.gates.evidence import Evidence, read_evidence
from vigil.features.states import KIND as STATES_KIND
from vigil.registry.bundle import BundleRef, write_bundle
from vigil.registry.cost import Cost
from vigil.registry.metadata import BundleMetadata, TrainingWindow, code_version, library_versions
from vigil.registry.registry import Registry, open_tracking
from vigil.registry.stages import VersionState, find_bundle
from vigil.registry.store import Store, open_store
from vigil.registry.tracking import RunRecord, Tracking
from vigil.settings import Settings
from vigil.training.folders import EVIDENCE, events_hash, fresh, states_path, verified
from vigil.training.gates import PAGE, REPORT, VERDICTS, read_verdicts, shipped_candidate
from vigil.training.model import read_model
from vigil.training.rows import FeatureRows, Parts, divide, read_rows
from vigil.usecase import UseCase

KIND = "registration"
REGISTRATION = "registration.json"
ACTOR = "policy:gates"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inputs:
    """The folders that a registration reads."""

    events: Path
    features: Path
    feature_state: Path
    screened: Path
    model: Path
    evaluation: Path
    verdicts: Path


class Registered(BaseModel):
    """What came into being: enough to deploy it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    version: str
    stage: str
    shipped: str
    bundle: ContentHash
    bundle_uri: str
    feature_state_uri: str
    feature_state_hash: ContentHash
    feature_schema: ContentHash
    run: str | None


@dataclass(frozen=True)
class Occasion:
    """Why the run took place, and when it began."""

    started: datetime
    cause: str = ""
    started_by: str = ""
    event_id: str = ""


def register_model(
    use_case: UseCase, inputs: Inputs, output: Path, settings: Settings, occasion: Occasion, clock: Clock
) -> Registered:
    """Register what the gates let pass, and return it; ContractError if they let nothing pass.

    The same model is registered once: a retry after a crash returns the version that there is.
    """
    verdicts = read_verdicts(inputs.verdicts)
    shipped = shipped_candidate(verdicts)
    rows = read_rows(use_case, inputs.features)
    evidence = _evidence_of(inputs.evaluation, shipped)
    store = open_store(settings.store_uri)
    metadata = _metadata(rows, divide(rows), inputs, verdicts, evidence)
    parts = read_model(inputs.model, rows.schema).parts(use_case, shipped)
    bundle = write_bundle(parts, metadata, store, signing_key=settings.signing_key)
    states = _store_states(inputs.feature_state, store)
    tracking = open_tracking(settings.mlflow_uri)
    registry = Registry(store, tracking, public_key=settings.public_key, clock=clock)
    run = _Run(tracking, inputs, occasion, clock)
    version = _registered(registry, bundle, metadata, (verdicts, evidence), run)
    found = Registered(
        model=version.model,
        version=version.version,
        stage=version.stage,
        shipped=shipped,
        bundle=bundle.hash,
        bundle_uri=bundle.uri,
        feature_state_uri=states,
        feature_state_hash=metadata.parents["feature_state"],
        feature_schema=metadata.feature_schema,
        run=version.registration.run,
    )
    _write(found, inputs, output)
    return found


def _write(found: Registered, inputs: Inputs, output: Path) -> Manifest:
    fresh(output)
    (output / REGISTRATION).write_bytes(canonical_json(found.model_dump(mode="json")) + b"\n")
    parents = {"bundle": found.bundle, "verdicts": read_manifest(inputs.verdicts).content_hash}
    return seal(output, KIND, parents=parents)


def read_registration(folder: Path) -> Registered:
    """Return what was registered."""
    verified(folder, KIND)
    return Registered.model_validate_json((folder / REGISTRATION).read_bytes())


def deployable(folder: Path) -> dict[str, str]:
    """Return what a deployment has to know of the version in the output of `register_model`."""
    found = read_registration(folder)
    names = ("model", "version", "bundle_uri", "feature_state_uri", "feature_state_hash")
    return {**{name: str(getattr(found, name)) for name in names}, "bundle_hash": found.bundle}


def _evidence_of(evaluation: Path, shipped: str) -> Evidence:
    evidence = read_evidence(evaluation / EVIDENCE)
    return evidence if evidence.candidate == shipped else evidence.alternatives[shipped]


def _metadata(
    rows: FeatureRows, parts: Parts, inputs: Inputs, verdicts: GateReport, evidence: Evidence
) -> BundleMetadata:
    """Return what the bundle says of itself; nothing in it is measured by a clock."""
    folders = {"features": inputs.features, "rows": inputs.screened, "model": inputs.model}
    parents = {role: read_manifest(folder).content_hash for role, folder in folders.items()}
    parents |= {
        "feature_state": read_manifest(inputs.feature_state).content_hash,
        "events": events_hash(inputs.events),
        "use_case": rows.use_case.content_hash,
        "gates": verdicts.config_hash,
    }
    if "source" in (given := read_manifest(inputs.events).parents):
        parents["source"] = given["source"]
    window = TrainingWindow(start=from_micros(parts.fold.train.start), end=from_micros(parts.fold.train.end))
    values = {name: found.value for name, found in evidence.metrics.items() if found.value is not None}
    return BundleMetadata(
        model=rows.use_case.name,
        feature_schema=rows.schema.content_hash,
        training_window=window,
        parents=parents,
        code=code_version(),
        libraries=library_versions(),
        parameters={**parts.facts(), "candidate": evidence.candidate, "decision": verdicts.decision},
        metrics=values,
    )


def _store_states(folder: Path, store: Store) -> str:
    """Put the states of all entities beside the bundles, under their hash, and return where they lie."""
    manifest = verified(folder, STATES_KIND)
    path = states_path(manifest.content_hash)
    for name in sorted(manifest.files):
        store.create(f"{path}/{name}", folder / name)
    store.create(f"{path}/{MANIFEST}", folder / MANIFEST)
    return f"{store.uri}/{path}"


@dataclass(frozen=True)
class _Run:
    """What MLflow is told besides the results."""

    tracking: Tracking
    inputs: Inputs
    occasion: Occasion
    clock: Clock


def _registered(
    registry: Registry, bundle: BundleRef, metadata: BundleMetadata, judged: tuple[GateReport, Evidence], run: _Run
) -> VersionState:
    """Return the version of the bundle; a run is shown in MLflow only where it brought a new one."""
    verdicts, evidence = judged
    known = find_bundle(registry.state(ModelName(metadata.model)), bundle.hash)
    if known is not None:
        _log.info("the same model is registered already", extra={"model": known.model, "version": known.version})
        return known
    cost = Cost(cpu_seconds=evidence.cost.usage.cpu_seconds) if evidence.cost is not None else None
    logged = _log_run(metadata, verdicts, run)
    return registry.register(bundle, actor=ACTOR, reason=verdicts.summary, run=logged, cost=cost)


def _log_run(metadata: BundleMetadata, verdicts: GateReport, run: _Run) -> str | None:
    """Return the id of the run in MLflow, which shows what was done; None while MLflow does not answer."""
    occasion, files = run.occasion, run.inputs.verdicts
    tags = {"cause": occasion.cause, "event_id": occasion.event_id, "started_by": occasion.started_by}
    record = RunRecord(
        model=ModelName(metadata.model),
        name=f"{metadata.model} {occasion.started:%Y-%m-%d %H:%M}",
        started=occasion.started,
        finished=run.clock(),
        parameters=metadata.parameters,
        metrics=metadata.metrics,
        files=tuple(files / name for name in (REPORT, PAGE, VERDICTS)),
        tags={"summary": verdicts.summary, **{name: value for name, value in tags.items() if value}},
    )
    try:
        return run.tracking.log_run(record)
    except Unavailable as error:
        _log.warning("MLflow does not answer: the run is registered without being shown", extra={"cause": str(error)})
        return None
