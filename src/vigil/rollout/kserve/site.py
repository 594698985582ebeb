"""A namespace as the place where rollouts are kept and carried on."""

from vigil.clock import Clock, system_clock
from vigil.deployment.cluster import Cluster
from vigil.errors import ContractError
from vigil.rollout.audit import AuditLog
from vigil.rollout.connecting import Site, stages
from vigil.rollout.controller import Controller
from vigil.rollout.http import DetectorClient, sinks_of
from vigil.rollout.kserve.keeping import ClusterObjects, ClusterRecords
from vigil.rollout.kserve.lease import Lease
from vigil.rollout.kserve.serving import KServeServing
from vigil.rollout.kserve.traffic import PodTraffic
from vigil.rollout.ports import Surroundings
from vigil.rollout.spec import Spec
from vigil.settings import Settings

SLOT_SECONDS = 10.0


def cluster_site(settings: Settings, namespace: str, cluster: Cluster | None = None) -> Site:
    """Return a namespace of the cluster that is configured here, or of the one that this runs in."""
    cluster = cluster or Cluster(namespace)
    records = ClusterRecords(cluster, Lease(cluster))
    return Site(
        settings=settings,
        records=records,
        log=AuditLog(ClusterObjects(cluster)),
        serving=KServeServing(cluster),
        controller=lambda: cluster_controller(settings, cluster),
        is_controlled=records.is_locked,
    )


def cluster_controller(
    settings: Settings, cluster: Cluster, *, clock: Clock = system_clock, slot_seconds: float = SLOT_SECONDS
) -> Controller:
    """Return the controller of the rollouts of a namespace."""
    surroundings = Surroundings(
        serving=KServeServing(cluster, clock=clock),
        traffic=PodTraffic(cluster, seconds=slot_seconds, clock=clock),
        detector=DetectorClient(lambda: _monitor_url(settings)),
        stages=stages(settings),
    )

    def connect(_: Spec) -> Surroundings:
        return surroundings

    records = ClusterRecords(cluster, Lease(cluster))
    return Controller(records, AuditLog(ClusterObjects(cluster)), sinks_of(settings), connect, clock=clock)


def _monitor_url(settings: Settings) -> str:
    if settings.monitor_url is None:
        raise ContractError("VIGIL_MONITOR_URL is not set: it is the address of the detector service in the cluster")
    return settings.monitor_url
