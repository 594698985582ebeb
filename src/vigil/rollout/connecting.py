"""Connects the parts of a rollout to where things really are: here, to this machine's runtime."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

from vigil.clock import Clock, system_clock
from vigil.errors import ContractError
from vigil.registry.registry import Registry, open_tracking
from vigil.registry.store import FolderStore, open_store
from vigil.rollout.audit import AuditLog
from vigil.rollout.controller import Controller
from vigil.rollout.http import DetectorClient, sinks_of
from vigil.rollout.local import LocalServing, LocalTraffic
from vigil.rollout.opening import Desk
from vigil.rollout.ports import Records, Serving, Surroundings
from vigil.rollout.process import TICK_SECONDS, ensure_controller
from vigil.rollout.spec import Spec
from vigil.rollout.stages import RegistryStages
from vigil.rollout.stores import FolderRecords
from vigil.runtime.client import RuntimeClient
from vigil.settings import Settings

NO_TRACKING = "none"


@dataclass(frozen=True)
class Site:
    """Where rollouts are kept and carried on: a machine or a namespace."""

    settings: Settings
    records: Records
    log: AuditLog
    serving: Serving
    controller: Callable[[], Controller]
    is_controlled: Callable[[], bool]
    ensure_controller: Callable[[], bool] | None = None
    """Starts a controller, where that is the site's own business."""

    def desk(self) -> Desk:
        """Return where rollouts are started."""
        return Desk(self.settings, self.records, self.log, self.serving)


def local_site(settings: Settings) -> Site:
    """Return this machine."""
    records = FolderRecords(settings.home)
    return Site(
        settings=settings,
        records=records,
        log=AuditLog(FolderStore(records.root)),
        serving=LocalServing(RuntimeClient(settings)),
        controller=lambda: local_controller(settings),
        is_controlled=records.is_locked,
        ensure_controller=lambda: ensure_controller(settings),
    )


def local_controller(
    settings: Settings, *, clock: Clock = system_clock, slot_seconds: float = TICK_SECONDS
) -> Controller:
    """Return the controller of the rollouts in the local runtime."""
    client, records = RuntimeClient(settings), FolderRecords(settings.home)
    surroundings = Surroundings(
        serving=LocalServing(client),
        traffic=LocalTraffic(client, seconds=slot_seconds, clock=clock),
        detector=DetectorClient(_monitor_url(settings, client)),
        stages=stages(settings),
    )

    def connect(_: Spec) -> Surroundings:
        return surroundings

    return Controller(records, AuditLog(FolderStore(records.root)), sinks_of(settings), connect, clock=clock)


def stages(settings: Settings) -> RegistryStages:
    """Return the registry; its changes are shown in MLflow where that is installed and wanted."""
    store = open_store(settings.store_uri)
    uri = settings.mlflow_uri
    wanted = uri != NO_TRACKING and find_spec("mlflow") is not None
    return RegistryStages(Registry(store), (lambda: Registry(store, open_tracking(uri))) if wanted else None)


def _monitor_url(settings: Settings, client: RuntimeClient) -> Callable[[], str]:
    def url() -> str:
        if settings.monitor_url is not None:
            return settings.monitor_url
        monitor = client.status().monitor
        if monitor is None:
            raise ContractError("the runtime has no detector service: start it without --no-monitor")
        return monitor.url

    return url
