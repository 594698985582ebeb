"""Both versions as revisions of one InferenceService in Knative mode."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from vigil.clock import Clock, system_clock
from vigil.deployment.cluster import Cluster, Document
from vigil.deployment.inference import next_change
from vigil.deployment.standing import Standing, read_standing
from vigil.deployment.template import render, service_name, template_hash
from vigil.errors import ContractError, Unavailable
from vigil.rollout.observation import RevisionSeen, ServingSeen
from vigil.rollout.opening import deploy_request
from vigil.rollout.spec import Arm, Spec
from vigil.rollout.status import Wish

BUNDLE = "vigil/bundle"
"""Annotation of a revision: hash of the bundle that it serves."""

BAKE_PERCENT = 99
"""At 100 KServe drops the revision before from the route, and Knative stops its pods: the bake leaves it 1 %."""

_FAILED_FOR_GOOD = timedelta(seconds=60)
"""Knative calls a revision failed at the first exit of a container, which may be a short outage of a store."""


class KServeServing:
    """The InferenceService of a model. Model and share change in one patch; what came of it is read from the status."""

    def __init__(self, cluster: Cluster, *, clock: Clock = system_clock) -> None:
        self._cluster, self._clock = cluster, clock
        self._failing: dict[str, datetime] = {}

    def see(self, spec: Spec) -> ServingSeen:
        """Return both revisions as the status shows them; they are known by their bundles."""
        standing, revisions = self._read(spec)[1:]
        candidate = _of(revisions, spec.candidate, standing)
        production = _of(revisions, spec.production, standing)
        strangers = {
            name: float(percent) for name, percent in standing.traffic.items() if name not in (candidate, production)
        }
        return ServingSeen(
            candidate=self._seen(candidate, revisions, standing),
            production=self._seen(production, revisions, standing),
            strangers={name: percent for name, percent in strangers.items() if percent},
            can_shadow=False,
            bake_percent=BAKE_PERCENT,
        )

    def serve(self, spec: Spec, wish: Wish) -> None:
        """Send the one patch that leads to the wish, if one is needed; the controllers of the cluster do the rest."""
        live, standing, revisions = self._read(spec)
        production = _of(revisions, spec.production, standing)
        if wish.percent == 0 and not wish.candidate and standing.rolled_out != production:
            self._give_back(spec, live, standing, production)
            return
        if not wish.candidate and not _is_made_for(live, spec.candidate):
            return  # the candidate's template never came, or the old one is back already
        wanted = render(deploy_request(spec, spec.candidate))
        if template_hash(live) != template_hash(wanted) and standing.rolled_out != production:
            raise ContractError(
                f"InferenceService {live['metadata']['name']} last served everything by {standing.rolled_out}, which "
                f"is not version {spec.production.version}: the rest of the traffic would go there"
            )
        self._patch(live, next_change(live, wanted, wish.percent).patch)

    def _give_back(self, spec: Spec, live: Document, standing: Standing, production: str | None) -> None:
        """Give everything back after the promotion: to the revision before if that is the old one, or to a new one."""
        if _is_made_for(live, spec.production):
            if standing.ready == standing.created:
                self._patch(live, next_change(live, live, 100).patch)
            return
        predictor: Document = {"canaryTrafficPercent": 0}
        if production is None or _component(live).get("previousRolledoutRevision") != production:
            # KServe goes one step back only. Beyond that the old version has to come up as a canary of its own.
            predictor = {**render(deploy_request(spec, spec.production))["spec"]["predictor"], **predictor}
        guard = {"resourceVersion": live["metadata"]["resourceVersion"]}
        self._patch(live, {"metadata": guard, "spec": {"predictor": predictor}})

    def _patch(self, live: Document, patch: Document | None) -> None:
        if patch is not None:
            self._cluster.patch(live["metadata"]["name"], patch)

    def _read(self, spec: Spec) -> tuple[Document, Standing, dict[str, Document]]:
        """Return the InferenceService, how it stands, and the revisions that its status names."""
        name = service_name(spec.model)
        live = self._cluster.service(name)
        if live is None:
            raise Unavailable(f"there is no InferenceService {name} in {self._cluster.namespace}: deploy it first")
        standing = read_standing(live)
        previous = _component(live).get("previousRolledoutRevision")
        named = dict.fromkeys((standing.created, standing.rolled_out, previous, *standing.traffic))
        found = {revision: self._cluster.revision(revision) for revision in named if revision}
        return live, standing, {revision: document for revision, document in found.items() if document is not None}

    def _seen(self, name: str | None, revisions: Mapping[str, Document], standing: Standing) -> RevisionSeen | None:
        if name is None:
            return None
        ready = _condition(revisions[name])
        is_ready = ready.get("status") == "True" and (standing.created != name or standing.ready == name)
        lacks = None if is_ready else "; ".join(self._cluster.complaints(name)) or None
        failed = self._failed(name, ready, lacks)
        return RevisionSeen(name, standing.traffic.get(name, 0), is_ready, failed=failed, lacks=lacks)

    def _failed(self, name: str, ready: Mapping[str, Any], lacks: str | None) -> str | None:
        """Return why a revision has failed, once it has stayed so."""
        if ready.get("status") != "False":
            self._failing.pop(name, None)
            return None
        since = self._failing.setdefault(name, self._clock())
        if self._clock() - since < _FAILED_FOR_GOOD:
            return None
        told = ": ".join(filter(None, (ready.get("reason"), ready.get("message"))))
        return "; ".join(filter(None, (told, lacks))) or "the cluster names no reason"


def _of(revisions: Mapping[str, Document], arm: Arm, standing: Standing) -> str | None:
    """Return the revision of a bundle: the one with most traffic, then the newest."""
    found = [name for name, revision in revisions.items() if _bundle(revision["metadata"]) == arm.bundle]
    return max(found, key=lambda name: (standing.traffic.get(name, 0), name), default=None)


def _is_made_for(live: Document, arm: Arm) -> bool:
    return _bundle(live["spec"]["predictor"]) == arm.bundle


def _bundle(holder: Mapping[str, Any]) -> str | None:
    value = (holder.get("annotations") or {}).get(BUNDLE)
    return None if value is None else str(value)


def _component(live: Document) -> dict[str, Any]:
    return ((live.get("status") or {}).get("components") or {}).get("predictor") or {}


def _condition(revision: Document) -> dict[str, Any]:
    conditions = (revision.get("status") or {}).get("conditions") or ()
    return next((one for one in conditions if one["type"] == "Ready"), {})
