"""Records and acts as ConfigMaps: the API server compares and swaps, and creates once.

They are no annotations of the InferenceService: KServe copies those into the pod template, so that every change would
make a new revision.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http import HTTPStatus
from typing import Any

from kubernetes.client import CoreV1Api
from kubernetes.client.exceptions import ApiException

from vigil.deployment.cluster import Cluster, Conflict, translated
from vigil.deployment.template import service_name
from vigil.errors import ContractError, Unavailable
from vigil.rollout.kserve.lease import Lease
from vigil.rollout.ports import Kept
from vigil.rollout.status import Record
from vigil.rollout.stores import Changed, parse

_PART = "vigil/part"
_LOG = "vigil/rollout-log"
_LABELS = {"app.kubernetes.io/managed-by": "vigil"}


class ClusterRecords:
    """The ConfigMaps `vigil-rollout-MODEL` of a namespace."""

    def __init__(self, cluster: Cluster, lease: Lease) -> None:
        self._cluster, self._lease = cluster, lease
        self._maps = CoreV1Api(cluster.client)

    def models(self) -> list[str]:
        """Return the models that have a record."""
        with translated(f"list the rollouts of {self._cluster.namespace}"):
            found = self._maps.list_namespaced_config_map(self._cluster.namespace, label_selector=f"{_PART}=rollout")
        return sorted(item.data["model"] for item in found.items)

    def load(self, model: str) -> Kept | None:
        """Return the record of a model, None without one."""
        found = _read(self._maps, self._cluster.namespace, _name(model))
        if found is None:
            return None
        kept = parse(found.data["record"].encode(), f"ConfigMap {_name(model)} in {self._cluster.namespace}")
        if kept.record.spec.model != model:
            raise ContractError(f"{_name(model)} is the record of {kept.record.spec.model}: rename one of the two")
        return Kept(kept.record, found.metadata.resource_version)

    def save(self, record: Record, before: Kept | None) -> Kept:
        """Replace `before`, or create the first one; Changed is raised where someone else was first."""
        name, namespace = _name(record.spec.model), self._cluster.namespace
        body: dict[str, Any] = {
            "metadata": {"name": name, "labels": {**_LABELS, _PART: "rollout"}},
            "data": {"model": record.spec.model, "record": record.model_dump_json()},
        }
        try:
            with translated(f"keep the rollout of {record.spec.model} in {namespace}"):
                if before is None:
                    saved = self._maps.create_namespaced_config_map(namespace, body)
                else:
                    body["metadata"]["resourceVersion"] = before.mark
                    saved = self._maps.replace_namespaced_config_map(name, namespace, body)
        except Conflict as error:
            raise Changed(str(error)) from error
        return Kept(record, saved.metadata.resource_version)

    def locked(self) -> AbstractContextManager[Callable[[], None]]:
        """Hold the lease of the one controller of this namespace."""
        return self._held()

    @contextmanager
    def _held(self) -> Iterator[Callable[[], None]]:
        self._lease.acquire()
        try:
            yield self._lease.renew
        finally:
            self._lease.release()

    def is_locked(self) -> bool:
        """Return whether a controller is at work."""
        return self._lease.is_held()


class ClusterObjects:
    """Create-only objects, each an immutable ConfigMap; the audit log of a namespace."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._maps = CoreV1Api(cluster.client)

    @property
    def uri(self) -> str:
        """The namespace."""
        return f"ConfigMaps of {self._cluster.namespace}"

    def create(self, path: str, content: bytes) -> bool:
        """Write a new object and return True; False if there is one already."""
        folder, _, last = path.rpartition("/")
        body = {
            "immutable": True,
            "metadata": {"name": _object_name(path), "labels": {**_LABELS, _LOG: _label(folder)}},
            "data": {"path": path, "content": content.decode()},
        }
        try:
            with translated(f"write {last} of {folder} in {self._cluster.namespace}"):
                self._maps.create_namespaced_config_map(self._cluster.namespace, body)
        except Conflict:
            return False
        return True

    def read(self, path: str) -> bytes:
        """Return the content of an object."""
        found = _read(self._maps, self._cluster.namespace, _object_name(path))
        if found is None:
            raise ContractError(f"there is no ConfigMap {_object_name(path)} in {self._cluster.namespace}")
        return str(found.data["content"]).encode()

    def paths(self, folder: str) -> list[str]:
        """Return the sorted paths of all objects of a folder."""
        with translated(f"list {folder} in {self._cluster.namespace}"):
            found = self._maps.list_namespaced_config_map(
                self._cluster.namespace, label_selector=f"{_LOG}={_label(folder)}"
            )
        return sorted(item.data["path"] for item in found.items)


def _read(maps: CoreV1Api, namespace: str, name: str) -> Any:  # noqa: ANN401 - the client has no types
    try:
        with translated(f"read ConfigMap {name} in {namespace}"):
            try:
                return maps.read_namespaced_config_map(name, namespace)
            except ApiException as error:
                if error.status == HTTPStatus.NOT_FOUND:
                    return None
                raise
    except Conflict as error:
        raise Unavailable(str(error)) from error


def _name(model: str) -> str:
    return f"vigil-rollout-{service_name(model)}"


def _label(folder: str) -> str:
    return folder.partition("/")[0]


def _object_name(path: str) -> str:
    """Return `vigil-rollout-MODEL-audit-00000001` for `MODEL/audit/00000001.json`."""
    model, _, rest = path.partition("/")
    return f"{_name(model)}-{rest.removesuffix('.json').replace('/', '-')}"
