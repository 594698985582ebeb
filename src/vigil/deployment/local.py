"""Deploys to the local runtime, with the rules that KServe has."""

from pathlib import Path

from vigil.contracts.keys import ContentHash, ModelVersion
from vigil.deployment.request import Deployment, DeployRequest, Target
from vigil.runtime.client import RuntimeClient
from vigil.runtime.status import DeployRequest as RuntimeRequest
from vigil.runtime.status import RevisionStatus, RuntimeStatus, State
from vigil.settings import Settings

_ALL = 100.0


def deploy_to_runtime(request: DeployRequest, settings: Settings) -> Deployment:
    """Return the deployment once the revision is ready and has its share of the traffic.

    The first version of a model gets everything, and one that has everything keeps it.
    """
    client = RuntimeClient(settings)
    wanted = _translated(request)
    before = client.status()
    present = before.revision(wanted.revision)
    share = _share(request, present, before)
    changed = present is None or present.state is not State.READY or present.traffic != share
    if changed:
        client.deploy(wanted.model_copy(update={"traffic": share}), timeout=request.timeout_seconds)
    after = client.status() if changed else before
    return Deployment(
        model=request.model,
        version=request.version,
        bundle_hash=request.bundle_hash,
        target=Target.LOCAL,
        revision=wanted.revision,
        url=after.endpoint,
        traffic={found.name: round(found.traffic) for found in _with_traffic(after, request.model)},
        changed=changed,
    )


def _translated(request: DeployRequest) -> RuntimeRequest:
    """Return the request in the runtime's words; its processes may run in another folder than this one."""
    state = request.feature_state_uri
    return RuntimeRequest(
        model=request.model,
        version=ModelVersion(request.version),
        bundle=ContentHash(request.bundle_hash),
        uri=_absolute(request.bundle_uri),
        feature_state=None if state is None else _absolute(state),
    )


def _absolute(uri: str) -> str:
    return uri if "://" in uri else str(Path(uri).absolute())


def _share(request: DeployRequest, present: RevisionStatus | None, status: RuntimeStatus) -> float:
    others = [found for found in _with_traffic(status, request.model) if found != present]
    has_everything = present is not None and present.traffic == _ALL
    return _ALL if has_everything or not others else float(request.traffic_percent)


def _with_traffic(status: RuntimeStatus, model: str) -> list[RevisionStatus]:
    return [found for found in status.revisions if found.model == model and found.traffic > 0]
