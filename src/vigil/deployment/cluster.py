"""The Kubernetes API, as far as deployments need it; its refusals become errors that say what to do."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from kubernetes.client import ApiClient, CoreV1Api, CustomObjectsApi
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException, load_incluster_config, load_kube_config
from urllib3.exceptions import HTTPError

from vigil.errors import ContractError, Unavailable

Document = dict[str, Any]

_SERVICES = ("serving.kserve.io", "v1beta1")
_REVISIONS = ("serving.knative.dev", "v1")


class Conflict(Unavailable):
    """Someone else changed the object first."""


@dataclass(frozen=True)
class Pod:
    """A pod, and where its servers listen."""

    name: str
    uid: str
    address: str


class Cluster:
    """The InferenceServices of one namespace, with their revisions and pods."""

    def __init__(self, namespace: str, client: ApiClient | None = None) -> None:
        self.namespace = namespace
        self.client = client or _connect()
        self._objects = CustomObjectsApi(self.client)

    def service(self, name: str) -> Document | None:
        """Return an InferenceService, or None if there is none."""
        return self._get(*_SERVICES, "inferenceservices", name)

    def create(self, service: Document, *, dry_run: bool = False) -> Document:
        """Create an InferenceService and return it; a dry run only lets the cluster judge it."""
        with translated(f"create the InferenceService {service['metadata']['name']} in {self.namespace}"):
            created: Document = self._objects.create_namespaced_custom_object(
                *_SERVICES, self.namespace, "inferenceservices", service, **({"dry_run": "All"} if dry_run else {})
            )
            return created

    def patch(self, name: str, patch: Document) -> Document:
        """Merge `patch` into an InferenceService in one request, and return it; a null removes a field."""
        with translated(f"patch the InferenceService {name} in {self.namespace}"):
            patched: Document = self._objects.patch_namespaced_custom_object(
                *_SERVICES, self.namespace, "inferenceservices", name, patch
            )
            return patched

    def delete(self, name: str) -> None:
        """Delete an InferenceService, if there is one."""
        with translated(f"delete the InferenceService {name} in {self.namespace}"):
            try:
                self._objects.delete_namespaced_custom_object(*_SERVICES, self.namespace, "inferenceservices", name)
            except ApiException as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise

    def revision(self, name: str) -> Document | None:
        """Return a revision of Knative, or None if there is none."""
        return self._get(*_REVISIONS, "revisions", name)

    def complaints(self, revision: str) -> list[str]:
        """Return what keeps the pods of a revision from running, as the kubelet tells it."""
        with translated(f"list the pods of {revision} in {self.namespace}"):
            answer = CoreV1Api(self.client).list_namespaced_pod(
                self.namespace, label_selector=f"serving.knative.dev/revision={revision}"
            )
        return sorted({complaint for pod in answer.items for complaint in _complaints(pod.status)})

    def ready_pods(self, revision: str) -> list[Pod]:
        """Return the pods of a revision that take requests."""
        with translated(f"list the pods of {revision} in {self.namespace}"):
            answer = CoreV1Api(self.client).list_namespaced_pod(
                self.namespace, label_selector=f"serving.knative.dev/revision={revision}"
            )
        return [_pod(item) for item in answer.items if _is_ready(item)]

    def _get(self, group: str, version: str, plural: str, name: str) -> Document | None:
        with translated(f"read {plural} {name} in {self.namespace}"):
            try:
                found: Document = self._objects.get_namespaced_custom_object(
                    group, version, self.namespace, plural, name
                )
            except ApiException as error:
                if error.status == HTTPStatus.NOT_FOUND:
                    return None
                raise
            return found


def _connect() -> ApiClient:
    """Return a client by the service account inside a pod, by the kubeconfig elsewhere."""
    try:
        load_incluster_config()
    except ConfigException:
        try:
            load_kube_config()
        except ConfigException as error:
            raise ContractError(f"no cluster is configured: set KUBECONFIG, or run inside a pod ({error})") from error
    return ApiClient()


def _is_ready(pod: Any) -> bool:  # noqa: ANN401
    conditions = {one.type: one.status for one in pod.status.conditions or ()}
    leaves = pod.metadata.deletion_timestamp is not None
    return conditions.get("Ready") == "True" and not leaves and bool(pod.status.pod_ip)


def _pod(pod: Any) -> Pod:  # noqa: ANN401
    """Return a pod with the port of its servers: the first of the container that has the model's requests."""
    named = {container.name: container for container in pod.spec.containers}
    ports = named["transformer-container"].ports if "transformer-container" in named else None
    port = ports[0].container_port if ports else 8080
    host = f"[{pod.status.pod_ip}]" if ":" in pod.status.pod_ip else pod.status.pod_ip
    return Pod(pod.metadata.name, pod.metadata.uid, f"{host}:{port}")


def _complaints(status: Any) -> Iterator[str]:  # noqa: ANN401 - the client has no types
    """Yield why a pod is not placed, or why its containers are not ready."""
    for condition in status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False":
            yield f"no node takes the pod: {condition.message}"
    for container in (*(status.init_container_statuses or ()), *(status.container_statuses or ())):
        if not container.ready and (complaint := _complaint(container)):
            yield complaint


def _complaint(container: Any) -> str | None:  # noqa: ANN401
    state, last = container.state, container.last_state
    ended = (state and state.terminated) or (last and last.terminated)
    waiting = state and state.waiting
    if ended and ended.exit_code:
        text = f": {ended.message.strip()[-500:]}" if ended.message else ""
        return f"{container.name} ended with {ended.exit_code} ({ended.reason}){text}"
    if waiting and waiting.reason not in (None, "ContainerCreating", "PodInitializing"):
        return f"{container.name} waits: {waiting.reason}" + (f" ({waiting.message})" if waiting.message else "")
    return None


@contextmanager
def translated(intent: str) -> Iterator[None]:
    """Turn what the API server says into an error that says what could not be done, and whose turn it is."""
    try:
        yield
    except ApiException as error:
        text = f"cannot {intent}: {_message(error)}"
        if error.status == HTTPStatus.CONFLICT:
            raise Conflict(text) from error
        if error.status in (HTTPStatus.TOO_MANY_REQUESTS, None, 0) or error.status >= 500:
            raise Unavailable(text) from error
        raise ContractError(text) from error
    except (HTTPError, OSError) as error:
        raise Unavailable(f"cannot {intent}: {error}") from error


def _message(error: ApiException) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (ValueError, TypeError, KeyError):
        return str(error.reason)
