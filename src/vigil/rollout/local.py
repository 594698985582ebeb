"""Rollouts in the local runtime: its splitter divides, mirrors and counts."""

from collections.abc import Sequence

from vigil.clock import Clock, system_clock
from vigil.errors import Unavailable
from vigil.monitoring.samples import ArmCounts, Slot
from vigil.rollout.counting import Counted, Counter
from vigil.rollout.observation import RevisionSeen, ServingSeen
from vigil.rollout.spec import Arm, Spec
from vigil.rollout.status import Status, Wish
from vigil.runtime.client import RuntimeClient
from vigil.runtime.status import DeployRequest, RevisionStatus, RuntimeStatus, State

_RUNS_NOT = (State.STOPPED, State.DRAINING, State.FAILED)


class LocalServing:
    """Both versions behind the splitter of the local runtime."""

    def __init__(self, client: RuntimeClient) -> None:
        self._client = client

    def see(self, spec: Spec) -> ServingSeen:
        """Return both revisions, and whoever else has traffic of this model."""
        status = self._client.status()
        if status.draining:
            raise Unavailable("the runtime is going down")
        candidate, production = _find(status, spec, spec.candidate), _find(status, spec, spec.production)
        ours = {found.name for found in (candidate, production) if found}
        strangers = {
            found.name: found.traffic
            for found in status.revisions
            if found.model == spec.model and found.traffic > 0 and found.name not in ours
        }
        return ServingSeen(
            candidate=_seen(candidate) if candidate and candidate.state is not State.STOPPED else None,
            production=_seen(production) if production else None,
            strangers=strangers,
        )

    def serve(self, spec: Spec, wish: Wish) -> None:
        """Start what has to run; once it is ready, move the traffic and then the copies."""
        status = self._client.status()
        candidate, production = _find(status, spec, spec.candidate), _find(status, spec, spec.production)
        needs_production = wish.percent < 100 or wish.shadow == "production"
        starting = False
        if wish.candidate and _has_to_start(candidate):
            self._deploy(spec, spec.candidate, wish.shadow == "candidate")
            starting = True
        if needs_production and _has_to_start(production):
            # Where it is to have everything it takes that as soon as it is ready, whoever lives then.
            self._deploy(spec, spec.production, False, 100.0 if wish.percent == 0 else None)
            starting = True
        if starting:
            return
        self._move(candidate, production, wish)
        self._mirror(candidate, production, wish)
        self._end_other_copies(status, spec, {found.name for found in (candidate, production) if found})

    def _deploy(self, spec: Spec, arm: Arm, shadow: bool, traffic: float | None = None) -> None:
        request = DeployRequest(
            model=spec.model,
            version=arm.version,
            bundle=arm.bundle,
            uri=arm.uri,
            traffic=traffic,
            shadow=shadow,
            feature_state=arm.feature_state,
        )
        self._client.deploy(request, wait=False)

    def _move(self, candidate: RevisionStatus | None, production: RevisionStatus | None, wish: Wish) -> None:
        wanted: dict[str, float] = {}
        for found, percent in ((candidate, wish.percent), (production, 100 - wish.percent)):
            if found is not None and percent:
                wanted[found.name] = float(percent)
        present = {found.name: found.traffic for found in (candidate, production) if found and found.traffic}
        if sum(wanted.values()) == 100 and wanted != present:
            self._client.set_traffic(wanted)

    def _mirror(self, candidate: RevisionStatus | None, production: RevisionStatus | None, wish: Wish) -> None:
        for found, name in ((candidate, "candidate"), (production, "production")):
            wanted = wish.shadow == name
            if found is not None and found.shadow != wanted and not (wanted and found.state is State.STOPPED):
                self._client.set_shadow(found.name, wanted)

    def _end_other_copies(self, status: RuntimeStatus, spec: Spec, ours: set[str]) -> None:
        """End the copies to a third revision, such as the one that an earlier rollout kept warm: nobody reads them."""
        for found in status.revisions:
            if found.model == spec.model and found.shadow and found.name not in ours:
                self._client.set_shadow(found.name, False)


class LocalTraffic:
    """The counts of the splitter, interval by interval."""

    def __init__(self, client: RuntimeClient, *, seconds: float = 10.0, clock: Clock = system_clock) -> None:
        self._client = client
        self._counter = Counter(seconds, clock)

    def slots(self, spec: Spec, status: Status) -> Sequence[Slot]:
        """Return the slot that has been closed since the last call, if one has."""
        runtime = self._client.status()
        counts = {(found.name, ""): _counts(found) for found in runtime.revisions if found.model == spec.model}
        return self._counter.close(spec.model, str(runtime.since), counts, status.cursors.get("traffic", -1))


def _find(status: RuntimeStatus, spec: Spec, arm: Arm) -> RevisionStatus | None:
    """Return the revision of a bundle, whatever its name: the one with most traffic, then the newest."""
    found = [one for one in status.revisions if one.model == spec.model and one.bundle == arm.bundle]
    return max(found, key=lambda one: (one.traffic, one.state is State.READY, one.created), default=None)


def _has_to_start(found: RevisionStatus | None) -> bool:
    return found is None or found.state in _RUNS_NOT


def _seen(found: RevisionStatus) -> RevisionSeen:
    failed = found.why or "it was given up" if found.state is State.FAILED else None
    return RevisionSeen(found.name, found.traffic, found.state is State.READY, found.shadow, failed)


def _counts(found: RevisionStatus) -> Counted:
    """Return what a revision has answered since the runtime started, or to copies while it is a shadow."""
    served = found.served
    mirrored = {name: count for name, count in served.mirrored.items() if not name.startswith("dropped")}
    failed = sum(count for name, count in mirrored.items() if not name.isdigit() or name >= "500")
    live = ArmCounts(
        requests=max(served.requests - _left(served.by_code), 0), errors=served.errors, latency=tuple(served.latency)
    )
    return Counted(live=live, mirrored=ArmCounts(requests=sum(mirrored.values()), errors=failed))


def _left(by_code: dict[str, int]) -> int:
    """Return how many clients went away before their answer."""
    return by_code.get("http 499", 0) + by_code.get("grpc CANCELLED", 0)
