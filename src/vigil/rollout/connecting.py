"""Connects a controller to where things really are: this machine's runtime, or a cluster."""

from collections.abc import Callable
from importlib.util import find_spec

from vigil.clock import Clock, system_clock
from vigil.errors import ContractError
from vigil.registry.registry import Registry, open_tracking
from vigil.registry.store import FolderStore, open_store
from vigil.rollout.audit import AuditLog
from vigil.rollout.controller import Controller
from vigil.rollout.http import DetectorClient, sinks_of
from vigil.rollout.local import LocalServing, LocalTraffic
from vigil.rollout.ports import Surroundings
from vigil.rollout.spec import Spec
from vigil.rollout.stages import RegistryStages
from vigil.rollout.stores import FolderRecords
from vigil.runtime.client import RuntimeClient
from vigil.settings import Settings


def local_log(settings: Settings) -> AuditLog:
    """Return the audit log of this machine."""
    return AuditLog(FolderStore(FolderRecords(settings.home).root))


def local_controller(settings: Settings, *, clock: Clock = system_clock, slot_seconds: float = 10.0) -> Controller:
    """Return the controller of the rollouts in the local runtime."""
    client = RuntimeClient(settings)
    surroundings = Surroundings(
        serving=LocalServing(client),
        traffic=LocalTraffic(client, seconds=slot_seconds, clock=clock),
        detector=DetectorClient(_monitor_url(settings, client)),
        stages=stages(settings),
    )

    def connect(_: Spec) -> Surroundings:
        return surroundings

    return Controller(FolderRecords(settings.home), local_log(settings), sinks_of(settings), connect, clock=clock)


def stages(settings: Settings) -> RegistryStages:
    """Return the registry; MLflow is opened for changes only, and only where it is installed."""
    store = open_store(settings.store or str(settings.home.absolute() / "models"))

    def change() -> Registry:
        uri = settings.tracking_uri or f"sqlite:///{settings.home.absolute() / 'mlflow.db'}"
        return Registry(store, open_tracking(uri) if find_spec("mlflow") else None)

    return RegistryStages(Registry(store), change)


def _monitor_url(settings: Settings, client: RuntimeClient) -> Callable[[], str]:
    def url() -> str:
        if settings.monitor_url is not None:
            return settings.monitor_url
        monitor = client.status().monitor
        if monitor is None:
            raise ContractError("the runtime has no detector service: start it without --no-monitor")
        return monitor.url

    return url
