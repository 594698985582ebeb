"""The service's endpoint: events in, status and slots out. It answers at once; one thread does the work."""

import asyncio
import logging
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
from aiohttp import web

from vigil.clock import Clock
from vigil.contracts.cloud_events import BadEvent, CloudEvent, read_event
from vigil.monitoring.service.engine import Engine
from vigil.monitoring.service.exposition import Measured, exposition
from vigil.monitoring.service.outbox import Outbox
from vigil.monitoring.service.pairing import REQUEST, RESPONSE, Received
from vigil.monitoring.service.settings import ServiceSettings
from vigil.monitoring.service.slots import slots_after
from vigil.monitoring.service.statefile import DurableCounter

_log = logging.getLogger(__name__)

CLOSED_HEADER = "vigil-closed-until"
"""Of the slots: all up to this number are closed, so one that is missing had no decision."""

BINARY_LENGTH = "inference-header-content-length"
_CHUNK, _CHUNK_BYTES = 256, 256 << 10
"""Worked on in one go; what is published is never older than that takes."""

_TICK_SECONDS = 0.25
_MOST_SLOTS = 2_000


class Service:
    """Runs an engine behind an HTTP endpoint."""

    def __init__(self, engine: Engine, outbox: Outbox, settings: ServiceSettings, folder: Path, clock: Clock) -> None:
        self._engine, self._outbox, self._settings, self._clock = engine, outbox, settings, clock
        self._received: Counter[tuple[str, str]] = Counter()
        self._waiting: deque[Received] = deque()
        self._bytes = 0
        self._accepted = DurableCounter(folder / "accepted")
        self._wake = asyncio.Event()
        self.ended = asyncio.Event()
        """Set when no event is worked on any more; before a stop was asked for, that is a failure."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._pump: asyncio.Task[None] | None = None
        self._ready = self._closing = False
        self._oldest = 0.0

    def app(self) -> web.Application:
        """Return the application; its start takes up the state, and its end writes it."""
        app = web.Application(client_max_size=self._settings.event_bytes)
        app.router.add_post("/", self._take)
        app.router.add_get("/v1/watch", self._watch)
        app.router.add_get("/v1/watch/{model}", self._watch)
        app.router.add_get("/v1/slots/{model}", self._slots)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        app.on_startup.append(self._start)
        app.on_shutdown.append(self._stop)
        return app

    async def _start(self, _: web.Application) -> None:
        self._outbox.start()
        self._pump = asyncio.get_running_loop().create_task(self._work())
        self._pump.add_done_callback(lambda _: self.ended.set())

    async def _stop(self, _: web.Application) -> None:
        """Work off what was accepted, and write the state."""
        self._closing = True
        self._wake.set()
        try:
            if self._pump is not None:
                await self._pump
        finally:
            await self._outbox.close()
            self._thread.shutdown()
        _log.info("stopped", extra={"accepted": self._accepted.value})

    async def _work(self) -> None:
        run = asyncio.get_running_loop().run_in_executor
        await run(self._thread, self._engine.restore, self._accepted.value)
        while True:
            chunk = self._chunk()
            complete = chunk[-1].at if self._waiting else self._clock().timestamp()
            if events := await run(self._thread, self._round, chunk, complete):
                self._outbox.wake()
                _log.info("told", extra={"events": [f"{event.type} {event.subject}" for event in events]})
            self._oldest = 0.0
            self._ready = True  # what was taken up is published with the first round
            if self._closing and not self._waiting:
                await run(self._thread, self._engine.save)
                return
            if not self._waiting:
                await self._pause()

    def _round(self, chunk: list[Received], complete: float) -> list[CloudEvent]:
        """Work on events, keep what is to be told, and only then the state in which it has been told."""
        events = self._engine.work(chunk, complete)
        for event in events:
            self._outbox.put(event)
        if self._engine.wants_saving:
            self._engine.save()
        return events

    def _chunk(self) -> list[Received]:
        chunk: list[Received] = []
        size = 0
        while self._waiting and len(chunk) < _CHUNK and size < _CHUNK_BYTES:
            chunk.append(self._waiting.popleft())
            size += len(chunk[-1].event.data)
        self._bytes -= size
        self._oldest = chunk[0].at if chunk else 0.0
        return chunk

    async def _pause(self) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(_TICK_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            return
        if not self._closing:
            await asyncio.sleep(0.01)  # a thread for every single event would cost more than the event

    async def _take(self, request: web.Request) -> web.Response:
        try:
            event = read_event(request.headers, await request.read())
            if event.type not in (REQUEST, RESPONSE):
                raise BadEvent("ce-type", f"one of {REQUEST}, {RESPONSE}")
        except BadEvent as error:
            self._received["", "bad"] += 1
            return _refuse(400, "bad_event", error.field, error.reason)
        if self._closing or self._is_full(len(event.data)):
            self._received[event.type, "dropped"] += 1
            return _refuse(503, "queue_full", None, "too many events wait: send fewer, or run it on a faster machine")
        self._accepted.add()
        self._received[event.type, "accepted"] += 1
        self._waiting.append(Received(event, self._clock().timestamp(), request.headers.get(BINARY_LENGTH)))
        self._bytes += len(event.data)
        self._wake.set()
        return web.Response(status=202)

    def _is_full(self, size: int) -> bool:
        limits = self._settings
        return len(self._waiting) >= limits.queue_events or self._bytes + size > limits.queue_bytes

    async def _watch(self, request: web.Request) -> web.Response:
        model = request.match_info.get("model")
        found = [one for one in self._engine.published.statuses if model in (None, one.model)]
        return _json(b"[" + b",".join(one.model_dump_json().encode() for one in found) + b"]")

    async def _slots(self, request: web.Request) -> web.Response:
        text = request.query.get("after", "-1")
        if not text.removeprefix("-").isdigit():
            return _refuse(400, "bad_query", "after", "the number of a slot, such as the last one that you know")
        published = self._engine.published
        body = slots_after(published.slots.get(request.match_info["model"], ()), int(text), _MOST_SLOTS)
        return _json(body, {CLOSED_HEADER: str(published.until)})

    async def _healthz(self, _: web.Request) -> web.Response:
        alive = self._pump is not None and not self._pump.done()
        return web.json_response({"alive": alive}, status=200 if alive else 500)

    async def _readyz(self, _: web.Request) -> web.Response:
        ready = self._ready and not self._closing
        return web.json_response({"ready": ready}, status=200 if ready else 503)

    async def _metrics(self, _: web.Request) -> web.Response:
        oldest = self._oldest or (self._waiting[0].at if self._waiting else 0.0)
        lag = max(self._clock().timestamp() - oldest, 0.0) if oldest else 0.0
        measured = Measured(self._received, len(self._waiting), lag, len(self._outbox), self._outbox.counts)
        body = exposition(measured, self._engine.published)
        return web.Response(body=body, headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"})


def _json(body: bytes, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=body, content_type="application/json", headers=headers)


def _refuse(status: int, code: str, field: str | None, message: str) -> web.Response:
    body = orjson.dumps({"error": {"code": code, "field": field, "message": message}})
    headers = {"retry-after": "1"} if status == 503 else None
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)
