"""A namespace with all that a rollout needs: services, a registry at gs://, version 1 deployed and in production."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from kubernetes.client import ApiClient, CoreV1Api

from tests.cluster import versions
from tests.cluster.installed import Document, apply, fresh_namespace, install, until
from tests.cluster.names import SERVING_IMAGE
from tests.cluster.traffic import MODEL
from tests.orchestration.kubeflow_server import KubeflowServer
from tests.rerun.processes import Receiver
from vigil.contracts.keys import ModelName, ModelVersion
from vigil.deployment import Deployment, DeployRequest, Target
from vigil.deployment.cluster import Cluster
from vigil.deployment.inference import deploy_to_kserve
from vigil.deployment.request import ClientProtocol
from vigil.registry.registry import Registry
from vigil.registry.store import open_store
from vigil.rollout.kserve.keeping import ClusterRecords
from vigil.rollout.kserve.lease import Lease
from vigil.rollout.status import Record

STORE = "gs://vigil/models"
DECISIONS = "gs://vigil/decisions"
NAMESPACE = "vigil-place"
SERVICES = ("redis", "detector", "controller", "rerun")
FILES = {
    "detector.yaml": """
        slot_seconds: 5
        watch: {learning_rows: 200, warm_rows: 100, recovery_rows: 100}
    """,
    "rerun.yaml": """
        version: 1
        launcher: kubeflow
        poll_seconds: 2
        models:
          card_fraud: {data: gs://vigil/models/raw, source: canonical-transaction, cool_down_hours: 0, then: nothing}
    """,
}


@dataclass
class Place:
    """A namespace, and those who work there."""

    client: ApiClient
    home: Path
    receiver: Receiver
    kubeflow: KubeflowServer
    usual: bytes
    states: Path
    deployed: Deployment = field(init=False)

    def __post_init__(self) -> None:
        self.namespace = NAMESPACE
        self.cluster = Cluster(self.namespace, self.client)
        self.registry = Registry(open_store(STORE))
        self._records = ClusterRecords(self.cluster, Lease(self.cluster))

    def version(self, auc: float, *, flags_all: bool = False) -> ModelVersion:
        """Register a version: one like the first, or one that flags everything."""
        return versions.register(
            self.registry, versions.seal(self.registry.store, self.usual, auc, flags_all=flags_all)
        )

    def deploy(self, version: ModelVersion) -> Deployment:
        """Let a version serve everything."""
        self.deployed = deploy_to_kserve(self.request(version), self.cluster)
        return self.deployed

    def request(self, version: str, protocol: ClientProtocol = ClientProtocol.HTTP) -> DeployRequest:
        """Return the request that lets a version serve everything."""
        bundle = self.registry.resolve(ModelName(MODEL), ModelVersion(version))
        return DeployRequest(
            model=MODEL,
            version=version,
            bundle_uri=bundle.uri,
            bundle_hash=bundle.hash,
            target=Target.KSERVE,
            namespace=self.namespace,
            image=SERVING_IMAGE,
            profile="local",
            protocol=protocol,
        )

    def vigil(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `vigil rollout` against this namespace, with the rights of an engineer."""
        command = [sys.executable, "-m", "vigil", "rollout", "--target", "kserve", "-n", self.namespace, *arguments]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("VIGIL_")}
        own = {"VIGIL_HOME": str(self.home), "KUBECONFIG": str(self.home / "kubeconfig"), "VIGIL_STORE": STORE}
        environment = {**kept, **own, "VIGIL_TRACKING_URI": "none"}
        done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=300)
        assert not check or done.returncode == 0, done.stderr + done.stdout
        return done

    def start(self, version: ModelVersion, plan: dict[str, Any], reason: str) -> None:
        """Start a rollout by command line."""
        path = self.home / "plan.yaml"
        path.write_text(yaml.safe_dump({"image": SERVING_IMAGE, "profile": "local", **plan}))
        self.vigil("start", MODEL, version, "--plan", str(path), "--reason", reason)

    def record(self) -> Record:
        """Return the record of the rollout."""
        kept = self._records.load(MODEL)
        assert kept is not None
        return kept.record

    def pods(self, part: str) -> list[str]:
        """Return the pods of a service that are not on their way out."""
        found = CoreV1Api(self.client).list_namespaced_pod(
            self.namespace, label_selector=f"app.kubernetes.io/name={part}"
        )
        return [one.metadata.name for one in found.items if one.metadata.deletion_timestamp is None]

    def delete_pod(self, part: str) -> float:
        """Delete the pod of a service as a lost node would, and return how long it takes until another is ready."""
        before = set(self.pods(part))
        for name in before:
            CoreV1Api(self.client).delete_namespaced_pod(name, self.namespace, grace_period_seconds=0)
        began = time.monotonic()
        until(lambda: set(self.pods(part)) - before, f"another pod of {part}")
        until(lambda: self._is_ready(part, before), f"a ready pod of {part}", 600, 0.5)
        return time.monotonic() - began

    def _is_ready(self, part: str, before: set[str]) -> bool:
        found = CoreV1Api(self.client).list_namespaced_pod(
            self.namespace, label_selector=f"app.kubernetes.io/name={part}"
        )
        fresh = [one for one in found.items if one.metadata.name not in before]
        return any(c.type == "Ready" and c.status == "True" for one in fresh for c in one.status.conditions or ())

    def get(self, part: str, port: int, path: str) -> Any:
        """Return what a service answers, through the API server."""
        text = CoreV1Api(self.client).connect_get_namespaced_service_proxy_with_path(
            f"{part}:{port}", self.namespace, path, _preload_content=False
        )
        return json.loads(text.data)


@contextmanager
def installed_place(client: ApiClient, node: str, emulator: str, home: Path) -> Iterator[Place]:
    """A namespace in which version 1 serves everything, and services watch, roll out and start reruns."""
    receiver, kubeflow = Receiver(host=node), KubeflowServer(host=node)
    told = {
        "VIGIL_STORE": STORE,
        "VIGIL_DECISIONS": DECISIONS,
        "STORAGE_EMULATOR_HOST": emulator,
        "VIGIL_TRACKING_URI": "none",
        "VIGIL_REDIS_URL": "redis://redis:6379/0",
        "VIGIL_MONITOR_URL": "http://detector:8090",
        "VIGIL_EVENT_SINKS": f"http://rerun:8090/,{receiver.url}",
        "VIGIL_KFP_HOST": kubeflow.url,
    }
    with fresh_namespace(client, NAMESPACE):
        states = install(client, NAMESPACE, SERVICES, told, FILES)
        place = Place(client, home, receiver, kubeflow, versions.reference(), states)
        give_kubeconfig(place)
        place.registry.store.create("raw/part-1.csv", b"the data of a rerun, which no test reads\n")
        first = place.version(0.875)
        versions.enthrone(place.registry, first)
        place.deploy(first)
        yield place
    receiver.close()
    kubeflow.close()
    shutil.rmtree(states)


def give_kubeconfig(place: Place) -> None:
    """Write the kubeconfig of an engineer who has the role vigil-operator and nothing else."""
    api, name = CoreV1Api(place.client), "ada"
    account: Document = {"apiVersion": "v1", "kind": "ServiceAccount"}
    binding: Document = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "vigil-operator"},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": place.namespace}],
    }
    metadata = {"metadata": {"name": name, "namespace": place.namespace}}
    apply([account | metadata, binding | metadata])
    token = api.create_namespaced_service_account_token(
        name, place.namespace, {"spec": {"expirationSeconds": 7200}}
    ).status.token
    configuration = place.client.configuration
    authority = {"certificate-authority": configuration.ssl_ca_cert} if configuration.ssl_ca_cert else {}
    path = place.home / "kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "it", "cluster": {"server": configuration.host, **authority}}],
                "users": [{"name": name, "user": {"token": token}}],
                "contexts": [{"name": "it", "context": {"cluster": "it", "user": name}}],
                "current-context": "it",
            }
        )
    )
