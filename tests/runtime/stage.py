"""A splitter with stand-in revisions behind it, all on loopback ports and in one event loop."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any

import aiohttp
import uvloop
from aiohttp import web

from tests.runtime.stand_in import StandIn
from vigil.runtime.splitter.buckets import move
from vigil.runtime.splitter.counts import Row, exposition
from vigil.runtime.splitter.front import Timing
from vigil.runtime.splitter.payloads import PayloadLogger
from vigil.runtime.splitter.routes import Routes, Target
from vigil.runtime.splitter.splitter import Splitter
from vigil.runtime.splitter.upstream import Upstream


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test in the loop that the runtime uses."""

    @wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        uvloop.run(asyncio.wait_for(test(*arguments, **named), 60))

    return run


class Stage:
    """What a test sees: the revisions, and a client at the splitter's endpoint."""

    def __init__(self, routes: Routes, splitter: Splitter, client: aiohttp.ClientSession) -> None:
        self.routes, self.splitter, self.client = routes, splitter, client
        self.revisions: dict[str, StandIn] = {}
        self.port = 0
        self._runners: dict[str, web.AppRunner] = {}

    async def add(self, name: str, model: str = "m", **behaviour: Any) -> Target:
        """Start a revision, ready and without traffic."""
        stand_in = self.revisions[name] = StandIn(name, **behaviour)
        runner = self._runners[name] = web.AppRunner(stand_in.app(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        self.routes.targets[name] = Target(name, model, Upstream("127.0.0.1", port), 0, ready=True)
        return self.routes.targets[name]

    async def stop(self, name: str) -> None:
        """Stop a revision, as a crash would."""
        await self._runners.pop(name).cleanup()

    async def stop_all(self) -> None:
        for name in list(self._runners):
            await self.stop(name)

    def weigh(self, model: str = "m", **percents: float) -> None:
        """Put weights in force."""
        self.routes.set_table(model, move(self.routes.table(model), percents))

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def predict(self, customer: str | None = None, **headers: str) -> aiohttp.ClientResponse:
        """Send one prediction, of a customer or of nobody, and read the answer."""
        instance = {"amount": 1.0} | ({"customer_id": customer} if customer else {})
        path = self.url("/v1/models/m:predict")
        async with self.client.post(path, json={"instances": [instance]}, headers=headers) as response:
            await response.read()
            return response

    async def revision_of(self, customer: str | None = None, **headers: str) -> str:
        response = await self.predict(customer, **headers)
        assert response.status == 200, await response.text()
        assert (await response.json())["revision"] == response.headers["x-vigil-revision"]
        return response.headers["x-vigil-revision"]


@asynccontextmanager
async def stage(
    *names: str, timing: Timing | None = None, payloads: PayloadLogger | None = None
) -> AsyncIterator[Stage]:
    """A splitter with these revisions, the first at 100 %."""
    routes = Routes()

    def metrics(own: Any) -> bytes:
        rows = [Row(target.model, target.name, target.ready, 0, 0, target.counts) for target in routes.targets.values()]
        return exposition(rows, own, payloads.counts if payloads else None)

    splitter = Splitter(routes, metrics, timing=timing, payloads=payloads)
    async with aiohttp.ClientSession() as client:
        built = Stage(routes, splitter, client)
        built.port = await splitter.start("127.0.0.1", 0)
        for name in names:
            await built.add(name)
        if names:
            built.weigh(**{names[0]: 100})
        yield built
        await splitter.drain(0)
        await built.stop_all()


async def eventually(condition: Callable[[], bool], within: float = 10) -> None:
    """Wait until the condition holds; fail if it does not in time."""
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.01)


async def gather_all(jobs: list[Awaitable[Any]]) -> list[Any]:
    return list(await asyncio.gather(*jobs))
