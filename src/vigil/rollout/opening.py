"""A rollout from what a person gives: checked against registry, bundle and what serves before it begins."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vigil.clock import Clock, system_clock
from vigil.contracts.keys import ContentHash, ModelName, ModelVersion
from vigil.deployment.request import DeployRequest, Target
from vigil.deployment.states import check_bundle
from vigil.errors import ContractError
from vigil.registry.registry import Registry
from vigil.registry.stages import Stage
from vigil.registry.store import open_store
from vigil.rollout.beginning import begin
from vigil.rollout.evidence import EvidenceSettings
from vigil.rollout.ports import Log, Records, Serving
from vigil.rollout.spec import DAY, HOUR, MINUTE, Arm, Patience, Place, Spec, Step
from vigil.rollout.status import Record
from vigil.settings import Settings


class Plan(BaseModel):
    """How to roll out: what `vigil rollout start --plan` reads from YAML."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: tuple[int, ...] = Field(
        default=(0, 5, 25, 50, 100), description="percent of the candidate, rising to 100; 0 mirrors the requests to it"
    )
    bake_seconds: float = Field(default=10 * MINUTE, ge=0, description="of each step, halts not counted")
    minimum_samples: int = Field(
        default=500, ge=0, description="of each version, in each step; goes before evidence.minimum"
    )
    watch_seconds: float = Field(default=7 * DAY, ge=0, description="after the bake")
    cool_down_seconds: float = Field(default=6 * HOUR, ge=0, description="after a rollback")
    patience: Patience = Patience()
    evidence: EvidenceSettings = EvidenceSettings()
    detector: bool = Field(default=True, description="whether the detector service is asked too")
    feature_state: str | None = Field(default=None, description="sealed states for a new online store")
    image: str | None = Field(default=None, description="of both servers; KServe needs it")
    profile: str = Field(default="production", description="sizes and rules of the place, from kserve/templates")


@dataclass(frozen=True)
class Order:
    """Who wants which version rolled out, where and why."""

    model: str
    version: str
    actor: str
    reason: str
    target: Target = Target.LOCAL
    namespace: str = "default"


@dataclass(frozen=True)
class Desk:
    """Where rollouts are started."""

    settings: Settings
    records: Records
    log: Log
    serving: Serving


def read_plan(path: Path | None, steps: str | None = None) -> Plan:
    """Return the plan in a YAML file, the default without one; `steps` such as `0,5,50,100` go first."""
    content: Any = {}
    if path is not None:
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, yaml.YAMLError) as error:
            raise ContractError(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(content, dict):
        raise ContractError(f"{path}: a plan has keys such as steps and bake_seconds")
    if steps is not None:
        content["steps"] = [part.strip() for part in steps.split(",")]
    try:
        return Plan.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ContractError(f"{path or 'steps'}: {where}: {first['msg']}") from error


def plan_as_yaml() -> str:
    """Return the default plan as YAML, with a comment beside each of its own keys."""
    content = yaml.safe_dump(Plan().model_dump(mode="json"), sort_keys=False, default_flow_style=None, width=120)
    notes = {name: found.description for name, found in Plan.model_fields.items() if found.description}
    lines = []
    for line in content.splitlines():
        note = notes.get(line.partition(":")[0])
        lines.append(f"{line}  # {note}" if note else line)
    return "\n".join(lines) + "\n"


def start(order: Order, plan: Plan, desk: Desk, *, clock: Clock = system_clock) -> Record:
    """Keep the record of a new rollout and return it; from then on a controller carries it on."""
    spec = make_spec(order, plan, desk.settings, clock)
    _check_bundles(spec, desk.settings)
    _check_served(spec, desk.serving)
    before = desk.records.load(spec.model)
    record = begin(spec, before.record if before else None, logged=desk.log.see(spec.model).length)
    desk.records.save(record, before)
    return record


def make_spec(order: Order, plan: Plan, settings: Settings, clock: Clock = system_clock) -> Spec:
    """Return the rollout of a registered version over the one in production."""
    registry = Registry(open_store(settings.store_uri))
    state = registry.state(ModelName(order.model))
    if state.production is None:
        raise ContractError(
            f"{order.model} has no version in production to compare with: promote the first one by `vigil models "
            "promote`, and deploy it by `vigil deploy`"
        )
    candidate = state.version(ModelVersion(order.version))
    if candidate.stage not in (Stage.CANDIDATE, Stage.STAGING):
        raise ContractError(f"{order.model} version {candidate.version} is in stage {candidate.stage}: nothing to do")
    now = clock()
    name = f"{order.model}-v{candidate.version}-{now:%Y%m%d-%H%M%S}".replace("_", "-")
    try:
        return Spec(
            id=name[-63:].lstrip("-"),
            model=order.model,
            candidate=_arm(registry, order.model, candidate.version, plan.feature_state),
            production=_arm(registry, order.model, state.production, None),
            place=Place(target=order.target, namespace=order.namespace, image=plan.image, profile=plan.profile),
            steps=_steps(plan),
            created=now,
            actor=order.actor,
            reason=order.reason,
            **plan.model_dump(include={"watch_seconds", "cool_down_seconds", "patience", "evidence", "detector"}),
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise ContractError(f"{'.'.join(map(str, first['loc'])) or 'rollout'}: {first['msg']}") from error


def _steps(plan: Plan) -> Sequence[Step]:
    return tuple(
        Step(percent=percent, bake_seconds=plan.bake_seconds, minimum_samples=plan.minimum_samples)
        for percent in plan.steps
    )


def _arm(registry: Registry, model: str, version: ModelVersion, feature_state: str | None) -> Arm:
    bundle = registry.resolve(ModelName(model), version)
    return Arm(version=version, bundle=ContentHash(bundle.hash), uri=bundle.uri, feature_state=feature_state)


def _check_bundles(spec: Spec, settings: Settings) -> None:
    """Raise ContractError where one of the two cannot be deployed: a rollback needs the old one as well."""
    for arm in (spec.candidate, spec.production):
        check_bundle(deploy_request(spec, arm), settings)


def _check_served(spec: Spec, serving: Serving) -> None:
    seen = serving.see(spec)
    share = seen.production.percent if seen.production else 0
    if share < 100 or seen.strangers:
        others = ", ".join(f"{name} {percent:g} %" for name, percent in seen.strangers.items())
        raise ContractError(
            f"version {spec.production.version} of {spec.model} is in production, but serves {share:g} % of the "
            f"traffic{f' beside {others}' if others else ''}: deploy it first, by `vigil deploy {spec.model}`"
        )
    first = spec.steps[1] if spec.steps[0].percent == 0 and not seen.can_shadow else spec.steps[0]
    if first.percent == 100:
        raise ContractError("requests cannot be mirrored there: take a step between 0 and 100")


def deploy_request(spec: Spec, arm: Arm) -> DeployRequest:
    """Return the request that deploys a version where the rollout takes place, without traffic."""
    place = spec.place
    return DeployRequest(
        model=spec.model,
        version=arm.version,
        bundle_uri=arm.uri,
        bundle_hash=arm.bundle,
        feature_state_uri=arm.feature_state,
        traffic_percent=0,
        target=place.target,
        namespace=place.namespace,
        image=place.image,
        profile=place.profile,
    )
