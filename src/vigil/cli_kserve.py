"""`vigil kserve`: a registered version as an InferenceService, without a pipeline."""

from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer
import yaml

from vigil.registry.registry import IN_PRODUCTION
from vigil.settings import Settings, load_settings

if TYPE_CHECKING:
    from vigil.deployment import DeployRequest

app = typer.Typer(
    help="Serve registered versions on KServe by hand; pipelines do so at their end, and rollouts move the traffic.",
    no_args_is_help=True,
)


@dataclass(frozen=True)
class _Place:
    image: str | None
    namespace: str
    profile: str


_PLACE: ContextVar[_Place] = ContextVar("place")
_Model = Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model, such as card_fraud.")]
_Version = Annotated[str, typer.Argument(metavar="[VERSION]", help="Its number, or production.")]
_Grpc = Annotated[bool, typer.Option("--grpc", help="An endpoint for V2 over gRPC, MODEL-grpc, beside the other.")]


@app.callback()
def _root(
    image: Annotated[str | None, typer.Option(help="Image of the servers; in production by its digest.")] = None,
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Where models are served.")] = "default",
    profile: Annotated[str, typer.Option(help="Sizes and rules, from kserve/templates.")] = "production",
) -> None:
    _PLACE.set(_Place(image, namespace, profile))


@app.command()
def deploy(
    model: _Model,
    version: _Version = IN_PRODUCTION,
    traffic: Annotated[
        int, typer.Option(help="Percent of the traffic; the first version of a model gets all.", min=0, max=100)
    ] = 100,
    grpc: _Grpc = False,
) -> None:
    """Serve a version, and come back once it is ready.

    Knative routes one port of a pod, and one protocol: a model that is asked over gRPC as well has a second
    InferenceService. It shares states and bundles with the first; rollouts leave it alone, and nobody watches it for
    drift.

    For example: `vigil kserve -n vigil --image dev.local/vigil-python:1 --profile local deploy card_fraud 7 --grpc`.
    """
    from vigil.deployment import deploy as deploy_request

    settings = load_settings()
    request = _request(settings, model, version, {"traffic_percent": traffic, **_protocol(grpc)})
    found = deploy_request(request, settings)
    typer.echo(f"Version {found.version} of {found.model} is ready as {found.revision}, at {found.url}:")
    for revision, percent in found.traffic.items():
        typer.echo(f"  {percent:3} %  {revision}")


@app.command()
def show(model: _Model, version: _Version = IN_PRODUCTION, grpc: _Grpc = False) -> None:
    """Print the InferenceService of a version as YAML, and deploy nothing.

    For example: `vigil kserve -n vigil --image dev.local/vigil-python:1 --profile local show card_fraud`.
    """
    from vigil.deployment.template import render

    request = _request(load_settings(), model, version, _protocol(grpc))
    typer.echo(yaml.safe_dump(render(request), sort_keys=False), nl=False)


def _protocol(grpc: bool) -> dict[str, object]:
    return {"protocol": "grpc" if grpc else "http"}


def _request(settings: Settings, model: str, version: str, wanted: dict[str, object]) -> "DeployRequest":
    from vigil.contracts.keys import ModelName, ModelVersion
    from vigil.deployment import DeployRequest, Target
    from vigil.registry.registry import Registry
    from vigil.registry.store import open_store

    registry = Registry(open_store(settings.store_uri), public_key=settings.public_key)
    found = registry.state(ModelName(model)).version(ModelVersion(version))
    bundle = registry.bundle_of(found)
    facts = {"model": model, "version": found.version, "bundle_uri": bundle.uri, "bundle_hash": bundle.hash}
    return DeployRequest.model_validate({**facts, **asdict(_PLACE.get()), **wanted, "target": Target.KSERVE})
