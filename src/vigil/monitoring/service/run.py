"""The service as a process."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from vigil.clock import Clock, system_clock
from vigil.errors import ContractError
from vigil.monitoring.service.app import Service
from vigil.monitoring.service.bundles import Bundles
from vigil.monitoring.service.engine import Engine
from vigil.monitoring.service.making import check_watches, make_watch
from vigil.monitoring.service.outbox import Outbox
from vigil.monitoring.service.port import MakeWatch
from vigil.monitoring.service.settings import ServiceSettings
from vigil.monitoring.service.statefile import owned
from vigil.monitoring.service.watching import Watches
from vigil.settings import Settings

_log = logging.getLogger(__name__)
FOLDER = "monitor"


@dataclass(frozen=True)
class Endpoint:
    """Where the service listens."""

    host: str = "127.0.0.1"
    port: int = 8090
    nice: int = 0
    """By how much it yields to others on a busy processor."""


def serve(
    endpoint: Endpoint,
    settings: Settings,
    limits: ServiceSettings,
    *,
    make: MakeWatch = make_watch,
    clock: Clock = system_clock,
) -> None:
    """Serve until SIGTERM or SIGINT; then work off what waits, and write the state."""
    if endpoint.nice:
        os.nice(endpoint.nice)
    with owned(settings.home.absolute() / FOLDER):
        asyncio.run(_serve(endpoint, lambda: build(settings, limits, make, clock)))


def build(settings: Settings, limits: ServiceSettings, make: MakeWatch, clock: Clock) -> Service:
    """Return the service over the state in VIGIL_HOME/monitor."""
    check_watches(limits)
    folder: Path = settings.home.absolute() / FOLDER
    sinks = settings.checked_sinks()
    bundles = Bundles(settings, limits.bundle_retry_seconds)
    watches = Watches(limits, bundles, make, clock, folder / "plots")
    engine = Engine(folder, limits, watches, clock)
    return Service(engine, Outbox(folder / "outbox", sinks, limits.outbox_events), limits, folder, clock)


async def _serve(endpoint: Endpoint, make_service: Callable[[], Service]) -> None:
    service = make_service()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, service.ended.set)
    runner = web.AppRunner(service.app(), access_log=None, shutdown_timeout=5)
    await runner.setup()
    try:
        await web.TCPSite(runner, endpoint.host, endpoint.port).start()
    except OSError as error:
        await runner.cleanup()
        raise ContractError(f"cannot listen on {endpoint.host}:{endpoint.port}: {error.strerror}") from error
    _log.info("detector service listens", extra={"host": endpoint.host, "port": endpoint.port})
    await service.ended.wait()
    _log.info("draining")
    await runner.cleanup()
