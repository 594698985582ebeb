"""The registered version gets its share of the traffic."""

from kfp import dsl

from components.base import component


@component
def deploy_candidate(
    target: str,
    traffic_percent: int,
    namespace: str,
    image: str,
    profile: str,
    registered: dsl.Input[dsl.Model],
    deployed: dsl.Output[dsl.Artifact],
) -> str:
    """Return the address of the model once the candidate serves."""
    from pathlib import Path

    from vigil.deployment import DeployRequest, Target, deploy
    from vigil.training.register import deployable
    from vigil.training.steps import begin

    settings = begin()
    place = {"target": Target(target), "namespace": namespace, "image": image or None, "profile": profile}
    request = DeployRequest(**deployable(Path(registered.path)), **place, traffic_percent=int(traffic_percent))
    found = deploy(request, settings)
    Path(deployed.path).write_text(found.model_dump_json(indent=1))
    deployed.metadata.update({"url": found.url, "revision": found.revision, "version": found.version})
    return found.url
