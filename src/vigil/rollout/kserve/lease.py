"""One controller for a namespace: a Lease that its holder renews, and that another may take once it stands still."""

import socket
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from http import HTTPStatus
from typing import Any

from kubernetes.client import CoordinationV1Api
from kubernetes.client.exceptions import ApiException

from vigil.clock import Clock, system_clock
from vigil.deployment.cluster import Cluster, Conflict, translated
from vigil.rollout.stores import Busy

NAME = "vigil-rollout-controller"
_SECONDS = 30


class Lease:
    """The Lease of this process. How long another's has stood still is measured here: no clocks are compared."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        seconds: float = _SECONDS,
        clock: Clock = system_clock,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._cluster, self._seconds, self._clock, self._sleep = cluster, seconds, clock, sleep
        self._leases = CoordinationV1Api(cluster.client)
        self.identity = f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"

    def acquire(self) -> None:
        """Take the lease, as soon as its holder gives it up or stands still; Busy is raised if it is alive."""
        limit = time.monotonic() + 2 * self._seconds
        seen, since = None, time.monotonic()
        while True:
            lease = self._read()
            if lease is not None and lease.metadata.resource_version != seen:
                seen, since = lease.metadata.resource_version, time.monotonic()
            free = lease is None or not lease.spec.holder_identity
            if (free or time.monotonic() - since >= self._seconds) and self._write(lease, self.identity):
                return
            if time.monotonic() > limit:
                raise Busy(f"{lease.spec.holder_identity} runs the rollouts of {self._cluster.namespace}: use that one")
            self._sleep(min(2.0, self._seconds / 4))

    def renew(self) -> None:
        """Keep the lease; Busy is raised where another has taken it."""
        lease = self._read()
        if lease is None or lease.spec.holder_identity != self.identity or not self._write(lease, self.identity):
            raise Busy(f"another controller has taken over the rollouts of {self._cluster.namespace}")

    def release(self) -> None:
        """Give the lease up, if it is ours still."""
        lease = self._read()
        if lease is not None and lease.spec.holder_identity == self.identity:
            self._write(lease, "")

    def is_held(self) -> bool:
        """Return whether someone has renewed it lately."""
        lease = self._read()
        if lease is None or not lease.spec.holder_identity or lease.spec.renew_time is None:
            return False
        return bool(self._clock() - lease.spec.renew_time < timedelta(seconds=2 * self._seconds))

    def _read(self) -> Any:  # noqa: ANN401 - the client has no types
        with translated(f"read Lease {NAME} in {self._cluster.namespace}"):
            try:
                return self._leases.read_namespaced_lease(NAME, self._cluster.namespace)
            except ApiException as error:
                if error.status == HTTPStatus.NOT_FOUND:
                    return None
                raise

    def _write(self, before: Any, holder: str) -> bool:  # noqa: ANN401
        """Return whether the lease could be changed: of two that try, one is told False."""
        now = self._clock().isoformat(timespec="microseconds").replace("+00:00", "Z")
        body: dict[str, Any] = {
            "metadata": {"name": NAME, "labels": {"app.kubernetes.io/managed-by": "vigil"}},
            "spec": {
                "holderIdentity": holder,
                "leaseDurationSeconds": max(round(self._seconds), 1),
                "renewTime": now,
            },
        }
        try:
            with translated(f"write Lease {NAME} in {self._cluster.namespace}"):
                if before is None:
                    self._leases.create_namespaced_lease(self._cluster.namespace, body)
                else:
                    body["metadata"]["resourceVersion"] = before.metadata.resource_version
                    self._leases.replace_namespaced_lease(NAME, self._cluster.namespace, body)
        except Conflict:
            return False
        return True
