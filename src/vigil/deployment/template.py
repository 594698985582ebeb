"""The InferenceService of a model: the template of kserve/templates with its holes filled."""

import re
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

import vigil
from vigil.contracts.keys import ContentHash, hash_json
from vigil.deployment.request import ClientProtocol, DeployRequest
from vigil.errors import Bug, ContractError

MODE = "serving.kserve.io/deploymentMode"
TEMPLATE = "vigil/template"
"""Annotation of a revision: hash of what it was made from."""

_GRPC_PORT = 8081
"""Of the transformer, as its flag in the template says."""
_HOLE = re.compile(r"\$\{(\w+)\}")
_PINNED = re.compile(r".+@sha256:[0-9a-f]{64}")
_FROM_CLUSTER = ("gs://", "pvc://", "s3://", "https://", "oci://")
_LONGEST_NAME = 63 - len("-predictor-00000-deployment-0123456789-01234")
_LONGEST_STANDARD_NAME = 63 - len("-predictor-0123456789-01234")
"""Of an InferenceService in Knative's mode, whose pods have the longer names, and of one in Standard mode."""


class Profile(BaseModel):
    """What differs from place to place."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digests_only: bool
    min_replicas: int
    max_replicas: int
    scale_target: int
    threads: str
    service_account: str
    resources: dict[str, dict[str, str]]


def service_name(model: str, longest: int = _LONGEST_NAME) -> str:
    """Return the name of a model's InferenceService, as Kubernetes allows it: card-fraud for card_fraud."""
    name = model.replace("_", "-").strip("-")
    if len(name) > longest or not name[0].isalpha():
        raise ContractError(
            f"{model} cannot name an InferenceService: begin with a letter and use at most {longest} characters"
        )
    return name


def render(request: DeployRequest) -> dict[str, Any]:
    """Return the InferenceService of a request, without traffic: the same request gives the same object."""
    template, model = _read("inferenceservice.yaml"), request.model
    if request.protocol is ClientProtocol.GRPC:
        template, model = _speaking_grpc(template), f"{model}-grpc"
    return fill(template, _holes(request) | {"name": service_name(model)})


def _speaking_grpc(template: dict[str, Any]) -> dict[str, Any]:
    """Return the template with the port of gRPC as the one that Knative routes, by HTTP/2 on all of the way.

    Knative asks for life at that port too, where nothing speaks HTTP: it is asked whether somebody listens. KServe's
    agent reads HTTP only: the detector service gets no copies.
    """
    predictor = template["spec"]["predictor"]
    del predictor["logger"]
    for container in predictor["containers"]:
        if container["name"] == "transformer-container":
            container["ports"] = [{"name": "h2c", "containerPort": _GRPC_PORT, "protocol": "TCP"}]
            del container["livenessProbe"]["httpGet"]
            container["livenessProbe"]["tcpSocket"] = {"port": _GRPC_PORT}
    return template


def render_sites(request: DeployRequest) -> list[dict[str, Any]]:
    """Return the claim and the InferenceService of one shard of site models, whose state stays in one place."""
    holes = _holes(request) | {"name": service_name(request.model, _LONGEST_STANDARD_NAME)}
    text = (_folder() / "sites.yaml").read_text(encoding="utf-8")
    found = []
    for template in yaml.safe_load_all(text):
        without_hash = _fill(template, {**holes, "template_hash": ""})
        found.append(_fill(template, {**holes, "template_hash": hash_json(without_hash)}))
    return found


def _holes(request: DeployRequest) -> dict[str, Any]:
    """Return what fills a template, or raise ContractError for what no cluster could serve."""
    if request.image is None:
        raise ContractError("KServe needs the image of the servers: name one, built from kserve/Dockerfile")
    if not request.bundle_uri.startswith(_FROM_CLUSTER):
        raise ContractError(
            f"{request.bundle_uri} is not reached from a cluster: keep bundles in gs:// (VIGIL_STORE) or on a pvc://"
        )
    profile = load_profile(request.profile)
    if profile.digests_only and not _PINNED.fullmatch(request.image):
        raise ContractError(f"{request.image} may change: name the image by its digest, as name@sha256:...")
    return profile.model_dump(exclude={"digests_only"}) | request.model_dump(
        include={"model", "version", "namespace", "image", "bundle_uri", "bundle_hash"}
    )


def load_profile(name: str) -> Profile:
    """Return the profile of this name, or raise ContractError listing the known ones."""
    profiles = _read("profiles.yaml")
    if name not in profiles:
        raise ContractError(f"there is no profile {name!r}: one of {', '.join(profiles)}")
    try:
        return Profile.model_validate(profiles[name])
    except ValidationError as error:
        first = error.errors()[0]
        raise ContractError(f"profiles.yaml, {name}.{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def fill(template: dict[str, Any], holes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the template with each ${hole} filled, and `template_hash` with the hash of everything else."""
    without_hash: dict[str, Any] = _fill(template, {**holes, "template_hash": ""})
    service: dict[str, Any] = _fill(template, {**holes, "template_hash": hash_json(without_hash)})
    mode = service["metadata"].get("annotations", {}).get(MODE)
    if mode != "Knative":
        raise ContractError(f"the template has {MODE}: {mode}, where a canary gets no traffic: only Knative will do")
    return service


def template_hash(service: Mapping[str, Any]) -> ContentHash | None:
    """Return the hash of the template that an InferenceService or a revision was made from, if it was ours."""
    annotations = service["metadata"].get("annotations") or {}
    if service["kind"] == "InferenceService":
        annotations = service["spec"].get("predictor", {}).get("annotations") or {}
    value = annotations.get(TEMPLATE)
    return None if value is None else ContentHash(value)


def _fill(node: object, holes: Mapping[str, Any]) -> Any:  # noqa: ANN401 - YAML has no narrower type
    """Return the node with its holes filled; a string that is one hole becomes the value itself."""
    if isinstance(node, dict):
        return {key: _fill(value, holes) for key, value in node.items()}
    if isinstance(node, list):
        return [_fill(value, holes) for value in node]
    if not isinstance(node, str):
        return node
    if missing := [name for name in _HOLE.findall(node) if name not in holes]:
        raise ContractError(f"the template asks for ${{{missing[0]}}}: known are {', '.join(sorted(holes))}")
    if whole := _HOLE.fullmatch(node):
        return holes[whole[1]]
    return _HOLE.sub(lambda hole: str(holes[hole[1]]), node)


def _read(name: str) -> dict[str, Any]:
    document = yaml.safe_load((_folder() / name).read_text(encoding="utf-8"))
    if not isinstance(document, dict):
        raise Bug(f"{name} is not a mapping")
    return document


def _folder() -> Traversable:
    """Return kserve/templates: inside an installed package, or in the checkout that the package lies in."""
    installed = resources.files("vigil.deployment") / "templates"
    return installed if installed.is_dir() else Path(vigil.__file__).parents[2] / "kserve" / "templates"
