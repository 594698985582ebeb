"""The part of kustomize that manifests/ uses: resources, namespace, images, JSON patches, files as ConfigMaps.

`test_build.py` holds it against kustomize itself where kubectl is installed, so that all other tests need neither.
"""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Document = dict[str, Any]

MANIFESTS = Path(__file__).parents[2] / "manifests"
OVERLAYS = ("overlays/local", "overlays/production", "monitoring")
KNOWN = {
    *("apiVersion", "kind", "namespace", "resources", "images", "patches", "configMapGenerator", "generatorOptions"),
}
CLUSTER_SCOPED = {"Namespace"}


def build(folder: Path) -> list[Document]:
    """Return the objects of a kustomization."""
    told = yaml.safe_load((folder / "kustomization.yaml").read_text())
    if unknown := set(told) - KNOWN:
        raise NotImplementedError(f"{folder}: this builder does not know {unknown}")
    found = [one for name in told["resources"] for one in _resources(folder / name)]
    found += [_config_map(folder, one) for one in told.get("configMapGenerator", ())]
    for patch in told.get("patches", ()):
        for target in [one for one in found if _is_meant(one, patch["target"])]:
            for step in yaml.safe_load(patch["patch"]):
                _apply(target, step)
    for image in told.get("images", ()):
        _rename_images(found, image)
    if "namespace" in told:
        _settle(found, told["namespace"])
    return found


def _resources(path: Path) -> list[Document]:
    if path.is_dir():
        return build(path)
    return [one for one in yaml.safe_load_all(path.read_text()) if one]


def _config_map(folder: Path, told: Document) -> Document:
    pairs = [(name, file or name) for name, _, file in (one.partition("=") for one in told["files"])]
    data = {Path(name).name: (folder / file).read_text() for name, file in pairs}
    metadata: Document = {"name": told["name"]}
    if labels := told.get("options", {}).get("labels"):
        metadata["labels"] = labels
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def _is_meant(document: Document, target: Document) -> bool:
    named = {"kind": document["kind"], "name": document["metadata"]["name"]}
    return all(named[key] == value for key, value in target.items())


def _apply(document: Document, step: Document) -> None:
    *way, last = step["path"].lstrip("/").split("/")
    place: Any = document
    for part in way:
        place = place[int(part) if isinstance(place, list) else part]
    if isinstance(place, list):
        place.insert(len(place) if last == "-" else int(last), step["value"])
    elif step["op"] == "add" or last in place:
        place[last] = copy.deepcopy(step["value"])
    else:
        raise KeyError(step["path"])


def _rename_images(documents: list[Document], told: Document) -> None:
    suffix = f"@{told['digest']}" if "digest" in told else f":{told['newTag']}"
    for container in containers(documents):
        if container["image"] == told["name"]:
            container["image"] = told["newName"] + suffix


def _settle(documents: list[Document], namespace: str) -> None:
    accounts = {one["metadata"]["name"] for one in documents if one["kind"] == "ServiceAccount"}
    for one in documents:
        if one["kind"] not in CLUSTER_SCOPED:
            one["metadata"]["namespace"] = namespace
        for subject in one.get("subjects", ()):
            if subject["kind"] == "ServiceAccount" and subject["name"] in accounts:
                subject.setdefault("namespace", namespace)


def containers(documents: list[Document]) -> Iterator[Document]:
    """Yield the containers of all Deployments."""
    for one in documents:
        if one["kind"] == "Deployment":
            yield from one["spec"]["template"]["spec"]["containers"]


def named(documents: list[Document], kind: str) -> dict[str, Document]:
    """Return the objects of a kind by name."""
    return {one["metadata"]["name"]: one for one in documents if one["kind"] == kind}
