"""Deploys to KServe: one request changes template and traffic together, and the result is read back, never assumed."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from vigil.clock import Clock, system_clock
from vigil.contracts.keys import ContentHash
from vigil.deployment.cluster import Cluster, Conflict, Document
from vigil.deployment.request import Deployment, DeployRequest, Target
from vigil.deployment.standing import Standing, check_mode, complaint_of, is_made_from, read_standing
from vigil.deployment.template import render, template_hash
from vigil.errors import Bug, ContractError, Unavailable

_ATTEMPTS = 10
_MANAGER = "app.kubernetes.io/managed-by"


@dataclass(frozen=True)
class Pace:
    """How often the cluster is asked, and how long a failed candidate may take to recover."""

    poll: timedelta = timedelta(seconds=1)
    patience: timedelta = timedelta(seconds=60)
    """Knative calls a revision failed at the first exit of a container, which may be a short outage of a store."""
    clock: Clock = system_clock
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Change:
    """What has to be sent, if anything, and the split of the traffic that it leads to."""

    patch: Document | None
    percent: int
    stable: str | None = None
    """The revision that gets the rest."""

    def traffic(self, candidate: str) -> dict[str, int]:
        """Return the wanted percent by revision."""
        rest = {self.stable: 100 - self.percent} if self.stable and self.percent < 100 else {}
        return {**rest, candidate: self.percent}


def deploy_to_kserve(request: DeployRequest, cluster: Cluster, pace: Pace | None = None) -> Deployment:
    """Return the deployment once the candidate is ready and has its share of the traffic.

    A candidate that does not get ready raises Unavailable with the reason; the versions that serve are not touched.
    """
    wanted = render(request)
    change = _apply(wanted, request.traffic_percent, cluster)
    standing = _await(wanted, change, cluster, timedelta(seconds=request.timeout_seconds), pace or Pace())
    if standing.created is None or standing.url is None:
        raise Bug(f"{wanted['metadata']['name']} is ready without a revision or an address")
    return Deployment(
        model=request.model,
        version=request.version,
        bundle_hash=request.bundle_hash,
        target=Target.KSERVE,
        revision=standing.created,
        url=standing.url,
        traffic=standing.traffic,
        changed=change.patch is not None,
    )


def _apply(wanted: Document, percent: int, cluster: Cluster) -> Change:
    """Create or patch the InferenceService, and return what was sent."""
    name = wanted["metadata"]["name"]
    for _ in range(_ATTEMPTS):
        live = cluster.service(name)
        try:
            if live is None:
                cluster.create(wanted)
                return Change(wanted, 100)
            change = next_change(live, wanted, percent)
            if change.patch is not None:
                cluster.patch(name, change.patch)
            return change
        except Conflict:
            continue
    raise Unavailable(f"InferenceService {name} is changed by others all the time: try again")


def next_change(live: Document, wanted: Document, percent: int) -> Change:
    """Return the one patch that leads from the live InferenceService to the wanted template and share.

    - A share below 100 needs a version that was rolled out before: KServe gives the first one everything.
    - A share is never lowered for a version that has everything: KServe would send the rest to the version before.
    """
    check_mode(live)
    name = live["metadata"]["name"]
    if (live["metadata"].get("labels") or {}).get(_MANAGER) != wanted["metadata"]["labels"][_MANAGER]:
        raise ContractError(f"InferenceService {name} was not made by vigil: delete it, or use another namespace")
    standing = read_standing(live)
    share = percent if standing.rolled_out else 100
    predictor: Document = {"canaryTrafficPercent": None if share == 100 else share}
    if template_hash(live) == template_hash(wanted):
        present = live["spec"]["predictor"].get("canaryTrafficPercent")
        if present is None:
            return Change(None, 100)
        if present == share:
            return Change(None, share, standing.rolled_out)
    else:
        predictor = {**wanted["spec"]["predictor"], **predictor}
    # With the version that was read, the patch meets what it was made for, or nothing.
    guard = {"resourceVersion": live["metadata"]["resourceVersion"]}
    return Change({"metadata": guard, "spec": {"predictor": predictor}}, share, standing.rolled_out)


def _await(wanted: Document, change: Change, cluster: Cluster, timeout: timedelta, pace: Pace) -> Standing:
    """Return the standing when the candidate serves as wanted."""
    name, template = wanted["metadata"]["name"], template_hash(wanted)
    if template is None:
        raise Bug("the template has lost its hash")
    deadline, failed_since = pace.clock() + timeout, None
    while True:
        standing, reason = _look(name, template, change, cluster)
        if standing is not None:
            return standing
        now = pace.clock()
        failed_since = None if reason is None else failed_since or now
        if failed_since is not None and now - failed_since >= pace.patience:
            raise Unavailable(f"the candidate of {name} does not get ready: {reason}")
        if now >= deadline:
            last = reason or "the cluster names no reason; see kubectl describe inferenceservice " + name
            raise Unavailable(
                f"the candidate of {name} is not ready after {timeout.total_seconds():.0f} seconds: {last}"
            )
        pace.sleep(pace.poll.total_seconds())


def _look(name: str, template: ContentHash, change: Change, cluster: Cluster) -> tuple[Standing | None, str | None]:
    """Return the standing if all is as wanted; otherwise None, and what is wrong, if anything is."""
    live = cluster.service(name)
    if live is None:
        raise Unavailable(f"InferenceService {name} was deleted while it was deployed")
    if template_hash(live) != template:
        raise Unavailable(f"another version of {name} was deployed meanwhile: look at what serves, and deploy again")
    standing = read_standing(live)
    if standing.created is None:
        return None, standing.complaint
    revision = cluster.revision(standing.created)
    if not is_made_from(revision, template):
        return None, standing.complaint  # the status still speaks of the version before
    if not standing.is_ready or standing.created != standing.ready:
        return None, _why(standing, revision or {}, cluster)
    split = change.traffic(standing.created)
    if _served(standing.traffic) != _served(split):
        return None, f"it is ready, but the traffic goes to {standing.traffic} instead of {split}"
    return standing, None


def _served(traffic: dict[str, int]) -> dict[str, int]:
    return {name: percent for name, percent in traffic.items() if percent}


def _why(standing: Standing, revision: dict[str, Any], cluster: Cluster) -> str | None:
    """Return why the candidate is not ready, where the cluster says that something failed.

    Knative looks at the container with the port alone: of a predictor that crashes only the kubelet knows.
    """
    conditions = {item["type"]: item for item in (revision.get("status") or {}).get("conditions") or ()}
    told = complaint_of({"Ready": conditions.get("Ready", {})})
    complaints = cluster.complaints(standing.created) if standing.created else []
    return "; ".join(filter(None, (told or standing.complaint, *complaints))) or None
