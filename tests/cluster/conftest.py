"""A namespace on the cluster of shared/cluster with a bundle in a volume; `make cluster-test` brings the cluster up."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes import config
from kubernetes.client import ApiClient, CoreV1Api
from kubernetes.client.exceptions import ApiException

from tests.cluster.installed import storage_from
from tests.cluster.names import CLAIM, NAMESPACE, RELEASE
from tests.cluster.place import Place, installed_place
from tests.registry.emulator import Bucket, serve
from vigil.registry.bundle import load_bundle
from vigil.registry.metadata import Digest


@pytest.fixture(scope="session")
def client() -> Iterator[ApiClient]:
    """A client of the cluster that KUBECONFIG names, or that `make cluster-test` has brought up."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    path = Path(os.environ.get("KUBECONFIG", cache / "vigil-cluster" / "kubeconfig"))
    if not path.exists():
        pytest.skip(f"no cluster: {path} does not exist; `make cluster-test` brings one up")
    with config.new_client_from_config(str(path)) as client:
        client.configuration.retries = 1
        yield client


@pytest.fixture(scope="session")
def bundles() -> Iterator[Path]:
    """A folder on the node, readable by everyone, with the bundle of the first release."""
    folder = Path(tempfile.mkdtemp(prefix="vigil-bundles-", dir="/var/tmp"))
    shutil.copytree(RELEASE, folder / "release")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def bundle_hash() -> Digest:
    return load_bundle(RELEASE).hash


@pytest.fixture(scope="session")
def namespace(client: ApiClient, bundles: Path) -> Iterator[str]:
    """A fresh namespace with a volume claim for the bundles; both are removed at the end."""
    api = CoreV1Api(client)
    _remove(api)
    api.create_namespace({"metadata": {"name": NAMESPACE}})
    size, modes = {"storage": "1Gi"}, ["ReadOnlyMany"]
    claimed = {"namespace": NAMESPACE, "name": CLAIM}
    api.create_persistent_volume(
        {
            "metadata": {"name": NAMESPACE},
            "spec": {
                "capacity": size,
                "accessModes": modes,
                "storageClassName": "",
                "persistentVolumeReclaimPolicy": "Retain",
                "claimRef": claimed,
                "hostPath": {"path": str(bundles)},
            },
        }
    )
    api.create_namespaced_persistent_volume_claim(
        NAMESPACE,
        {
            "metadata": {"name": CLAIM},
            "spec": {
                "accessModes": modes,
                "storageClassName": "",
                "volumeName": NAMESPACE,
                "resources": {"requests": size},
            },
        },
    )
    yield NAMESPACE
    _remove(api)


@pytest.fixture(scope="session")
def node(client: ApiClient) -> str:
    """The address at which pods reach what the tests serve on this machine."""
    (first, *_) = CoreV1Api(client).list_node().items
    return next(one.address for one in first.status.addresses if one.type == "InternalIP")


@pytest.fixture(scope="session")
def emulator(client: ApiClient, node: str) -> Iterator[str]:
    """The address of an object store, which this process and KServe's storage initializer take gs:// from."""
    with serve(Bucket(), node) as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", address)
        with storage_from(client, address):
            yield address


@pytest.fixture(scope="session")
def ingress(client: ApiClient) -> str:
    """The address of Kourier, which routes by the Host header."""
    return str(CoreV1Api(client).read_namespaced_service("kourier", "kourier-system").spec.cluster_ip)


def _remove(api: CoreV1Api) -> None:
    """Delete what a session makes outside of its namespace, and the namespace, and wait until it is gone."""
    for delete in (api.delete_namespace, api.delete_persistent_volume):
        try:
            delete(NAMESPACE)
        except ApiException as error:
            if error.status != 404:
                raise
    for _ in range(300):
        try:
            api.read_namespace(NAMESPACE)
        except ApiException:
            return
        time.sleep(1)
    raise TimeoutError(f"namespace {NAMESPACE} is not gone after 300 seconds")


@pytest.fixture(scope="session")
def place(client: ApiClient, node: str, emulator: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The namespace in which versions are rolled out and watched; tests of it run in the order of their files."""
    with installed_place(client, node, emulator, tmp_path_factory.mktemp("engineer")) as place:
        yield place
