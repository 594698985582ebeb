"""The service on a loopback port: in the loop of a test, or as a process of its own."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Any

import aiohttp
import httpx
from aiohttp import web
from click.testing import Result
from typer.testing import CliRunner

from vigil.cli_monitor import app
from vigil.clock import ManualClock
from vigil.contracts.cloud_events import CloudEvent, to_binary
from vigil.monitoring.samples import Slot
from vigil.monitoring.service.app import CLOSED_HEADER
from vigil.monitoring.service.making import make_watch
from vigil.monitoring.service.port import MakeWatch
from vigil.monitoring.service.run import build
from vigil.monitoring.service.settings import ServiceSettings
from vigil.settings import Settings

BEGIN = datetime(2026, 6, 8, 12, tzinfo=UTC)


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*arguments, **named), 60))

    return run


@dataclass
class Running:
    """A service, and a client to it. Its clock stands until it is moved."""

    url: str
    http: aiohttp.ClientSession
    clock: ManualClock
    seconds: float

    async def send(self, events: Iterable[CloudEvent]) -> list[int]:
        found = []
        for event in events:
            headers, body = to_binary(event)
            async with self.http.post(self.url, data=body, headers=headers) as response:
                found.append(response.status)
        return found

    async def get(self, path: str) -> Any:
        async with self.http.get(self.url + path) as response:
            return await response.json()

    async def metrics(self) -> dict[str, float]:
        async with self.http.get(f"{self.url}/metrics") as response:
            lines = (await response.text()).splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}

    async def outcome(self, name: str) -> float:
        return (await self.metrics()).get(f'vigil_monitor_outcomes_total{{outcome="{name}"}}', 0.0)

    async def passes(self, condition: Callable[[], bool]) -> None:
        """Let time pass until the condition holds."""

        async def holds() -> bool:
            self.clock.advance(timedelta(seconds=0.1))
            return condition()

        await until(holds)

    async def slots(self, model: str = "card_fraud", after: int = -1) -> list[Slot]:
        """Close the open slot, and return those that are closed."""
        self.clock.advance(timedelta(seconds=self.seconds))
        now = int(self.clock().timestamp() // self.seconds) - 1
        path = f"{self.url}/v1/slots/{model}?after={after}"

        async def closed() -> bool:
            async with self.http.get(path) as response:
                return int(response.headers[CLOSED_HEADER]) >= now

        await until(closed)
        return [Slot.model_validate(slot) for slot in await self.get(f"/v1/slots/{model}?after={after}")]


@asynccontextmanager
async def running(
    home: Path, make: MakeWatch = make_watch, clock: ManualClock | None = None, sinks: str | None = None, **limits: Any
) -> AsyncIterator[Running]:
    """A service that has taken up its state."""
    settings = ServiceSettings.model_validate({"slot_seconds": 5.0, **limits})
    clock = clock or ManualClock(BEGIN)
    service = build(Settings(home=home, event_sinks=sinks), settings, make, clock)
    runner = web.AppRunner(service.app(), access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as http:
        made = Running(f"http://127.0.0.1:{runner.addresses[0][1]}", http, clock, settings.slot_seconds)
        try:
            await until(lambda: is_ready(made))
            yield made
        finally:
            await runner.cleanup()


async def is_ready(made: Running) -> bool:
    async with made.http.get(f"{made.url}/readyz") as response:
        return response.status == 200


async def until(condition: Callable[[], Coroutine[Any, Any, bool]], within: float = 20) -> None:
    async with asyncio.timeout(within):
        while not await condition():
            await asyncio.sleep(0.02)


def vigil(url: str, *arguments: str) -> Result:
    """Run `vigil monitor` with these arguments."""
    environment = {"VIGIL_MONITOR_URL": url, "COLUMNS": "300"}
    return CliRunner().invoke(app, arguments, env=environment, catch_exceptions=False)


@dataclass
class Process:
    """The service as a supervisor starts it."""

    home: Path
    flags: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=10, trust_env=False)

    def start(self) -> "Process":
        environment = {name: value for name, value in os.environ.items() if not name.startswith("VIGIL_")}
        command = [sys.executable, "-m", "vigil.monitoring.service", "--port", str(self.port), *self.flags]
        self.home.mkdir(exist_ok=True)
        with (self.home / "out").open("ab") as output:
            self.process = subprocess.Popen(
                command, env=environment | {"VIGIL_HOME": str(self.home)}, stdout=output, stderr=output
            )
        return self

    def wait_until_ready(self) -> "Process":
        def ready() -> bool:
            assert self.process.poll() is None, (self.home / "out").read_text()
            with suppress(httpx.TransportError):
                return self.http.get("/readyz").status_code == 200
            return False

        self.wait(ready, 60)
        return self

    @staticmethod
    def wait(condition: Callable[[], bool], within: float = 20) -> None:
        limit = time.monotonic() + within
        while not condition():
            assert time.monotonic() < limit, "it did not happen in time"
            time.sleep(0.05)

    def send(self, events: Iterable[CloudEvent]) -> None:
        for event in events:
            headers, body = to_binary(event)
            assert self.http.post("/", content=body, headers=headers).status_code == 202

    def metric(self, name: str) -> float:
        lines = self.http.get("/metrics").text.splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(name)), 0.0)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=20)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    def close(self) -> None:
        self.http.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
