"""The services of manifests/overlays/local in a namespace of the tests, which keeps its objects on this machine."""

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from kubernetes.client import ApiClient, AppsV1Api, CoreV1Api, CustomObjectsApi
from kubernetes.client.exceptions import ApiException

from tests.manifests.build import MANIFESTS, build

Document = dict[str, Any]


def documents(
    namespace: str, parts: Collection[str], settings: dict[str, str], files: dict[str, str]
) -> list[Document]:
    """Return the objects of the overlay that the services `parts` need, with settings and files of the test's own."""
    found = []
    for one in build(MANIFESTS / "overlays" / "local"):
        kind, name = one["kind"], one["metadata"]["name"]
        if kind in ("Namespace", "NetworkPolicy", "PodDisruptionBudget", "PersistentVolume", "ClusterStorageContainer"):
            continue
        if kind in ("Deployment", "Service") and name not in parts:
            continue
        if kind == "PersistentVolumeClaim" and name.removesuffix("-state") not in parts:
            continue
        if kind == "ConfigMap" and name in ("vigil-settings", "vigil-serving"):
            known = settings if name == "vigil-settings" else _of_servers(settings)
            one["data"] |= known
        if name == "vigil-operations":
            one["data"] |= files
        one["metadata"]["namespace"] = namespace
        for subject in one.get("subjects", ()):
            if subject["kind"] == "ServiceAccount":
                subject["namespace"] = namespace
        found.append(one)
    return found


def _of_servers(settings: dict[str, str]) -> dict[str, str]:
    """Return the settings that servers share with the services."""
    shared = ("VIGIL_REDIS_URL", "VIGIL_DECISIONS", "STORAGE_EMULATOR_HOST")
    return {name: settings[name] for name in shared if name in settings}


def volume(namespace: str, claim: str, folder: Path) -> Document:
    """Return a volume in a folder of the node for a claim, writable by the services' user."""
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{namespace}-{claim}", "labels": {"vigil-test": namespace}},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": namespace, "name": claim},
            "hostPath": {"path": str(folder)},
        },
    }


@contextmanager
def storage_from(client: ApiClient, address: str) -> Iterator[None]:
    """Let KServe's storage initializer take gs:// from the object store at an address.

    KServe takes any of the containers that say they know gs://, so that all of them have to be told.
    """
    plural = ("serving.kserve.io", "v1alpha1", "clusterstoragecontainers")
    api = CustomObjectsApi(client)
    found = [one for one in api.list_cluster_custom_object(*plural)["items"] if _takes_gs(one)]
    told = {"image": _initializer(client), "env": [{"name": "STORAGE_EMULATOR_HOST", "value": address}]}
    for one in found:
        patch = {"spec": {"container": {**one["spec"]["container"], **told}}}
        api.patch_cluster_custom_object(*plural, one["metadata"]["name"], patch)
    try:
        yield
    finally:
        for one in found:
            before = {"env": None, **one["spec"]["container"]}
            with suppress(ApiException):  # someone else's may be gone
                now = api.get_cluster_custom_object(*plural, one["metadata"]["name"])
                if now["spec"]["container"].get("env") == told["env"]:  # and may have been told otherwise since
                    api.patch_cluster_custom_object(*plural, one["metadata"]["name"], {"spec": {"container": before}})


def _initializer(client: ApiClient) -> str:
    """Return the image of the storage initializer that this cluster's KServe was installed with."""
    settings = CoreV1Api(client).read_namespaced_config_map("inferenceservice-config", "kserve").data
    return str(json.loads(settings["storageInitializer"])["image"])


def _takes_gs(container: Document) -> bool:
    return any(one.get("prefix") == "gs://" for one in container["spec"]["supportedUriFormats"])


def apply(found: Collection[Document]) -> None:
    """Let the API server take the objects, as `kubectl apply` sends them."""
    text = yaml.safe_dump_all(found)
    subprocess.run(["kubectl", "apply", "-f", "-"], input=text, text=True, check=True, capture_output=True)


@contextmanager
def fresh_namespace(client: ApiClient, name: str) -> Iterator[str]:
    """A fresh namespace, which is removed at the end with its volumes and their folders."""
    api = CoreV1Api(client)
    remove(api, name)
    api.create_namespace({"metadata": {"name": name}})
    try:
        yield name
    finally:
        remove(api, name)


def remove(api: CoreV1Api, name: str) -> None:
    """Delete a namespace and its volumes, and wait until it is gone."""
    api.delete_collection_persistent_volume(label_selector=f"vigil-test={name}")
    try:
        api.delete_namespace(name)
        api.delete_collection_namespaced_pod(name, grace_period_seconds=0)
    except ApiException as error:
        if error.status != 404:
            raise
    until(lambda: not _exists(api, name), f"the end of namespace {name}", 600)


def _exists(api: CoreV1Api, name: str) -> bool:
    try:
        api.read_namespace(name)
    except ApiException:
        return False
    return True


def install(
    client: ApiClient, name: str, parts: Collection[str], settings: dict[str, str], files: dict[str, str]
) -> Path:
    """Install services in a namespace, wait until they are ready, and return the folder of their states."""
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir="/var/tmp"))
    folder.chmod(0o755)
    found = documents(name, parts, settings, files)
    claims = [one["metadata"]["name"] for one in found if one["kind"] == "PersistentVolumeClaim"]
    apply([*(volume(name, claim, folder / claim) for claim in claims), *found])
    for part in parts:
        wait_ready(client, name, part)
    return folder


def wait_ready(client: ApiClient, name: str, part: str, seconds: float = 600) -> None:
    """Wait until the one pod of a service is ready."""

    def is_ready() -> bool:
        status = AppsV1Api(client).read_namespaced_deployment_status(part, name).status
        return bool(status.ready_replicas)

    until(is_ready, f"{part} in {name}", seconds)


def until(holds: Callable[[], object], what: str, seconds: float = 300, pause: float = 1.0) -> float:
    """Wait until something holds, and return how long it took."""
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"{what} has not come in {seconds:g} seconds")
        time.sleep(pause)
    return time.monotonic() - began
