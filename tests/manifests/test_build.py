"""The builder of these tests is no other kustomize, and the API's own models know every field."""

import shutil
import subprocess
from typing import Any

import kubernetes.client as models
import pytest
import yaml

from tests.manifests.build import MANIFESTS, OVERLAYS, Document, build, containers

MODELS = {
    ("v1", "Namespace"): "V1Namespace",
    ("v1", "ConfigMap"): "V1ConfigMap",
    ("v1", "Service"): "V1Service",
    ("v1", "ServiceAccount"): "V1ServiceAccount",
    ("v1", "PersistentVolumeClaim"): "V1PersistentVolumeClaim",
    ("apps/v1", "Deployment"): "V1Deployment",
    ("policy/v1", "PodDisruptionBudget"): "V1PodDisruptionBudget",
    ("networking.k8s.io/v1", "NetworkPolicy"): "V1NetworkPolicy",
    ("rbac.authorization.k8s.io/v1", "Role"): "V1Role",
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): "V1RoleBinding",
}
SCALARS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "datetime": (str,),
    "object": (str, int, float, dict),
}


def mistakes(value: Any, kind: str, path: str) -> list[str]:
    """Return what the API would not take: an unknown field, a wrong type, a required field that is missing."""
    if kind.startswith("list["):
        if not isinstance(value, list):
            return [f"{path}: no list"]
        return [one for place, item in enumerate(value) for one in mistakes(item, kind[5:-1], f"{path}[{place}]")]
    if kind.startswith("dict("):
        inner = kind[5:-1].partition(", ")[2]
        if not isinstance(value, dict):
            return [f"{path}: no mapping"]
        return [one for key, item in value.items() for one in mistakes(item, inner, f"{path}.{key}")]
    if kind in SCALARS:
        right = isinstance(value, SCALARS[kind]) and not (isinstance(value, bool) and kind != "bool")
        return [] if right else [f"{path}: {value!r} is no {kind}"]
    return _of_model(value, getattr(models, kind), path)


def _of_model(value: Any, model: Any, path: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path}: no mapping"]
    fields = {name: attribute for attribute, name in model.attribute_map.items()}
    found = [f"{path}.{name}: unknown field" for name in value if name not in fields]
    try:
        model(**{fields[name]: item for name, item in value.items() if name in fields})
    except ValueError as error:
        found.append(f"{path}: {error}")
    for name, item in value.items():
        if name in fields:
            found += mistakes(item, model.openapi_types[fields[name]], f"{path}.{name}")
    return found


def shape_mistakes(document: Document) -> list[str]:
    key = (document["apiVersion"], document["kind"])
    name = f"{document['kind']} {document['metadata']['name']}"
    return mistakes(document, MODELS[key], name)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_api_knows_every_field(overlay: str) -> None:
    assert [one for document in build(MANIFESTS / overlay) for one in shape_mistakes(document)] == []


def test_a_field_of_the_wrong_name_or_type_or_none_at_all_is_found() -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": "80"}]}}
    assert shape_mistakes(service) == ["Service s.spec.ports[0].port: '80' is no int"]
    service["spec"] = {"port": []}
    assert shape_mistakes(service) == ["Service s.spec.port: unknown field"]
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r"}, "rules": [{}]}
    assert "`verbs`, must not be `None`" in shape_mistakes(role)[0]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kustomize_builds_the_same(overlay: str) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed: kustomize itself is not asked")
    command = ["kubectl", "kustomize", str(MANIFESTS / overlay)]
    text = subprocess.run(command, check=True, capture_output=True, timeout=120).stdout
    theirs = {key(one): one for one in yaml.safe_load_all(text)}
    ours = {key(one): one for one in build(MANIFESTS / overlay)}
    assert ours == theirs


def key(document: Document) -> tuple[str, str]:
    return document["kind"], document["metadata"]["name"]


def test_no_object_is_there_twice() -> None:
    for overlay in OVERLAYS:
        found = [key(one) for one in build(MANIFESTS / overlay)]
        assert len(found) == len(set(found))


def test_production_names_every_image_by_its_digest() -> None:
    for container in containers(build(MANIFESTS / "overlays/production")):
        assert "@sha256:" in container["image"], container["name"]
