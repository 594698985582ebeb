"""The sink: takes CloudEvents, answers once the decision is on disk, and works in the background."""

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

import aiohttp
from aiohttp import web
from prometheus_client import CollectorRegistry
from pydantic import ValidationError

from vigil.contracts.cloud_events import CloudEvent, read_event
from vigil.errors import VigilError
from vigil.monitoring.verdicts import DRIFT_EVENT, DriftVerdict
from vigil.rerun.metrics import RerunMetrics
from vigil.rerun.records import COME_AGAIN, Asked, Decision, Rerun, asked_by
from vigil.rerun.sending import send_due
from vigil.rerun.worker import Desk, Taken, Worker
from vigil.web import answers_errors, exposition, listed_limit, liveness, refusal, to_its_end, told_of_its_end

_MOST_BYTES = 1 << 20

_log = logging.getLogger(__name__)


@dataclass
class Service:
    """The sink over a desk and a worker that share a journal."""

    desk: Desk
    worker: Worker
    pause: float = 1.0
    """Seconds between two steps of the worker; an event wakes it at once."""

    def __post_init__(self) -> None:
        self._wake = asyncio.Event()
        self._steps = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._registry = CollectorRegistry()
        self._registry.register(RerunMetrics(self.desk.journal, self.worker))

    def app(self) -> web.Application:
        """Return the application; its background work begins and ends with it."""
        app = web.Application(middlewares=[answers_errors(_describe)], client_max_size=_MOST_BYTES)
        app.router.add_post("/", self._take)
        app.router.add_get("/v1/reruns", self._list)
        app.router.add_get("/v1/reruns/{event}", self._show)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        app.cleanup_ctx.append(self._background)
        return app

    async def _take(self, request: web.Request) -> web.Response:
        asked = wish(read_event(request.headers, await request.read()))
        if asked is None:
            return web.json_response({"decision": Decision.NOTHING_TO_DO, "why": f"only {DRIFT_EVENT} starts a rerun"})
        taken = await asyncio.to_thread(self.desk.take, asked)
        self._wake.set()
        return _answer(taken)

    async def _list(self, request: web.Request) -> web.Response:
        found = await asyncio.to_thread(self.desk.journal.newest, listed_limit(request), request.query.get("model"))
        return web.json_response([one.model_dump(mode="json") for one in found])

    async def _show(self, request: web.Request) -> web.Response:
        found = await asyncio.to_thread(self.desk.journal.find, request.match_info["event"])
        if found is None:
            return refusal(404, "there is no such event")
        return _record(found)

    async def _healthz(self, _: web.Request) -> web.Response:
        return liveness(self._tasks)

    async def _readyz(self, _: web.Request) -> web.Response:
        open_ones = await asyncio.to_thread(self.desk.journal.open_ones)
        return web.json_response({"status": "ready", "open": len(open_ones), "steps": self._steps})

    async def _metrics(self, _: web.Request) -> web.Response:
        return await exposition(self._registry)

    async def _background(self, _: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession() as session:
            self._tasks = [
                told_of_its_end(asyncio.create_task(_forever(work)), "the rerun sink")
                for work in (self._work, self._send(session))
            ]
            yield
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _work(self) -> None:
        """Step as long as this process is the one that may work; otherwise look again later."""
        with self.desk.journal.alone() as mine:
            while mine:
                self._wake.clear()
                await to_its_end(asyncio.to_thread(self.worker.step))
                self._steps += 1
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), self.pause)
        await asyncio.sleep(self.pause)

    def _send(self, session: aiohttp.ClientSession) -> Callable[[], Awaitable[None]]:
        async def send() -> None:
            await send_due(self.desk.journal, session, self.desk.clock)
            await asyncio.sleep(self.pause)

        return send


def wish(event: CloudEvent) -> Asked | None:
    """Return what an event asks for; None for one of a type that never starts a run."""
    if event.type != DRIFT_EVENT:
        return None
    return asked_by(DriftVerdict.model_validate(event.json()))


async def _forever(work: Callable[[], Awaitable[None]]) -> None:
    """Go on after what may pass; a journal that cannot be used now can be used later."""
    while True:
        try:
            await work()
        except VigilError as error:
            _log.error("the rerun sink has to wait", extra={"cause": str(error)})
            await asyncio.sleep(1)


def _answer(taken: Taken) -> web.Response:
    """202 for a run that is to start, 429 for an event that may come again later, 200 for everything else."""
    if taken.rerun.decision in COME_AGAIN:
        wait = math.ceil((taken.retry_after or timedelta(seconds=1)).total_seconds())
        return _record(taken.rerun, 429, {"Retry-After": str(wait)})
    started = taken.is_new and taken.rerun.decision is Decision.START
    return _record(taken.rerun, 202 if started else 200)


def _record(rerun: Rerun, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=rerun.model_dump_json(), status=status, headers=headers, content_type="application/json")


def _describe(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"data.{'.'.join(map(str, first['loc']))}: {first['msg']}"
