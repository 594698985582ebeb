"""One call for every target."""

import logging

from vigil.deployment.request import Deployment, DeployRequest, Target
from vigil.deployment.states import check_bundle, check_states, fill_store
from vigil.errors import ContractError, MissingExtra
from vigil.settings import Settings

_log = logging.getLogger(__name__)


def deploy(request: DeployRequest, settings: Settings) -> Deployment:
    """Return the deployment of a version once it serves with its share of the traffic.

    The same request twice changes nothing the second time. A candidate that does not get ready raises Unavailable with
    the reason, and the traffic stays where it was.
    """
    done = _to_kserve(request, settings) if request.target is Target.KSERVE else _to_runtime(request, settings)
    _log.info("deployed", extra=done.model_dump(mode="json", include={"model", "version", "revision", "traffic"}))
    return done


def _to_kserve(request: DeployRequest, settings: Settings) -> Deployment:
    try:
        from vigil.deployment.cluster import Cluster
    except ModuleNotFoundError as error:
        raise MissingExtra("kubernetes", "serve") from error
    from vigil.deployment.inference import deploy_to_kserve
    from vigil.deployment.template import render

    render(request)
    if request.feature_state_uri is not None and settings.redis_url is None:
        raise ContractError("the states of a training run reach a cluster through Redis only: set VIGIL_REDIS_URL")
    fill_store(request, settings, check_bundle(request, settings))
    return deploy_to_kserve(request, Cluster(request.namespace))


def _to_runtime(request: DeployRequest, settings: Settings) -> Deployment:
    from vigil.deployment.local import deploy_to_runtime

    check_bundle(request, settings)
    check_states(request)
    return deploy_to_runtime(request, settings)  # whose servers fill their store themselves
