"""The desk on a port: takes CloudEvents, answers once they are on disk, and works outbox and timers meanwhile."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TypeVar

import aiohttp
from aiohttp import web
from prometheus_client import CollectorRegistry
from pydantic import AwareDatetime, BaseModel, Field

from vigil.alerts.acts import Acts, By, Noticed
from vigil.alerts.channels import Postman
from vigil.alerts.desk import Desk
from vigil.alerts.incidents import Incident, Judged, most_urgent_first
from vigil.alerts.measures import measure
from vigil.alerts.metrics import AlertMetrics
from vigil.alerts.records import Act, Actor, Reason
from vigil.alerts.rounds import Rounds
from vigil.alerts.sending import Sender
from vigil.alerts.settings import describe
from vigil.alerts.signals import Document, Text
from vigil.clock import Clock, system_clock
from vigil.contracts.cloud_events import read_event
from vigil.decisions.policy import Severity
from vigil.errors import ContractError, VigilError
from vigil.settings import Settings
from vigil.web import answers_errors, exposition, listed_limit, liveness, refusal, to_its_end, told_of_its_end

_MOST_BYTES = 16 << 20

_log = logging.getLogger(__name__)


class _Acknowledge(Document):
    actor: Actor
    reason: Reason
    ticket: Text = ""


class _Snooze(Document):
    actor: Actor
    reason: Reason
    minutes: float = Field(gt=0, le=60 * 24 * 365)


class _Close(Document):
    actor: Actor
    reason: Reason
    judged: Judged


class _Report(Document):
    actor: Actor
    reason: Reason
    site: Text = ""
    metric: Text = ""
    at: AwareDatetime | None = None
    severity: Severity = Severity.MEDIUM


_Body = TypeVar("_Body", bound=BaseModel)


@dataclass
class Service:
    """The desk's HTTP interface and its background work, over one journal."""

    desk: Desk
    settings: Settings
    clock: Clock = system_clock
    pause: float = 1.0
    """Seconds between two rounds; whatever comes in is looked at once at least so soon."""

    def __post_init__(self) -> None:
        self.acts = Acts(self.desk.journal, self.desk.settings, self.clock)
        self.rounds = Rounds(self.desk.journal, self.desk.settings, self.clock)
        self._registry = CollectorRegistry()
        self._registry.register(AlertMetrics(self.desk.journal, self.clock))
        self._works = False
        self._tasks: list[asyncio.Task[None]] = []

    def app(self) -> web.Application:
        """Return the application; its background work begins and ends with it."""
        app = web.Application(middlewares=[answers_errors(describe)], client_max_size=_MOST_BYTES)
        app.router.add_post("/", self._take)
        app.router.add_get("/v1/incidents", self._list)
        app.router.add_get("/v1/incidents/{id}", self._show)
        app.router.add_post("/v1/incidents/{id}/{act:ack|snooze|close}", self._act)
        app.router.add_post("/v1/reports", self._report)
        app.router.add_get("/v1/measures", self._measures)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        app.cleanup_ctx.append(self._background)
        return app

    async def _take(self, request: web.Request) -> web.Response:
        event = read_event(request.headers, await request.read())
        taken = await asyncio.to_thread(self.desk.take, event)
        return web.json_response(asdict(taken), status=202 if taken.is_new and taken.signals else 200)

    async def _list(self, request: web.Request) -> web.Response:
        query = request.query
        limit = listed_limit(request)
        if (state := query.get("state", "live")) not in ("live", "all"):
            raise ContractError("state: live or all")
        found = await asyncio.to_thread(self._incidents, state == "all")
        chosen = [
            one.public()
            for one in found
            if query.get("type") in (None, one.type) and ("site" not in query or query["site"] in one.sites)
        ]
        return web.json_response(chosen[:limit])

    def _incidents(self, also_over: bool) -> list[Incident]:
        with self.desk.journal.reading() as pages:
            return pages.incidents() if also_over else sorted(pages.live_ones().values(), key=most_urgent_first)

    def _look_up(self, reference: str) -> tuple[Incident | None, list[Act]]:
        with self.desk.journal.reading() as pages:
            found = pages.incident(reference)
            return found, pages.acts(found.id) if found else []

    async def _show(self, request: web.Request) -> web.Response:
        found, acts = await asyncio.to_thread(self._look_up, request.match_info["id"])
        if found is None:
            return refusal(404, "there is no such incident")
        members = [one.model_dump(mode="json") for one in found.members.values()]
        record = [one.model_dump(mode="json", exclude={"incident"}) for one in acts]
        return web.json_response(found.public() | {"members": members, "acts": record})

    async def _act(self, request: web.Request) -> web.Response:
        reference, act = request.match_info["id"], request.match_info["act"]
        if (await asyncio.to_thread(self._look_up, reference))[0] is None:
            return refusal(404, "there is no such incident")
        body = await request.read()
        done = await asyncio.to_thread(self._do, act, reference, body)
        return web.json_response(done.public())

    def _do(self, act: str, reference: str, body: bytes) -> Incident:
        if act == "ack":
            ack = _read(body, _Acknowledge)
            return self.acts.acknowledge(reference, By(ack.actor, ack.reason), ack.ticket)
        if act == "snooze":
            snooze = _read(body, _Snooze)
            until = self.clock() + timedelta(minutes=snooze.minutes)
            return self.acts.snooze(reference, By(snooze.actor, snooze.reason), until)
        close = _read(body, _Close)
        return self.acts.close(reference, By(close.actor, close.reason), close.judged)

    async def _report(self, request: web.Request) -> web.Response:
        told = _read(await request.read(), _Report)
        noticed = Noticed(told.site, told.metric, told.at, told.severity)
        report = await asyncio.to_thread(self.acts.report, noticed, By(told.actor, told.reason))
        return web.json_response(report.model_dump(mode="json"), status=201)

    async def _measures(self, request: web.Request) -> web.Response:
        since = _since(request.query.get("since"))
        found = await asyncio.to_thread(measure, self.desk.journal, self.desk.settings, self.clock(), since)
        return web.json_response(found.model_dump(mode="json"))

    async def _healthz(self, _: web.Request) -> web.Response:
        return liveness(self._tasks)

    async def _readyz(self, _: web.Request) -> web.Response:
        live = await asyncio.to_thread(self._incidents, False)
        return web.json_response({"status": "ready", "incidents": len(live), "works": self._works})

    async def _metrics(self, _: web.Request) -> web.Response:
        return await exposition(self._registry)

    async def _background(self, _: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession() as session:
            task = told_of_its_end(asyncio.create_task(self._forever(session)), "the alert desk")
            self._tasks = [task]
            yield
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _forever(self, session: aiohttp.ClientSession) -> None:
        """Go on after what may pass: a journal that cannot be used now can be used later."""
        told = self.desk.settings
        postman = Postman(told.channels, self.settings, session, told.sending.timeout_seconds)
        sender = Sender(self.rounds, postman, self.clock)
        while True:
            try:
                await self._work(sender)
            except VigilError as error:
                _log.error("the alert desk has to wait", extra={"cause": str(error)})
            await asyncio.sleep(self.pause)

    async def _work(self, sender: Sender) -> None:
        """Work as long as this process is the one that may; otherwise look again later."""
        with self.desk.journal.alone() as mine:
            self._works = mine
            rounds = asyncio.create_task(_repeat(self._round, self.pause)) if mine else None
            try:
                while rounds is not None:
                    if rounds.done():
                        rounds.result()
                    await to_its_end(sender.step())
                    await asyncio.sleep(min(self.pause, 0.5))
            finally:
                if rounds is not None:
                    rounds.cancel()
                    with contextlib.suppress(asyncio.CancelledError, VigilError):
                        await rounds

    async def _round(self) -> None:
        await to_its_end(asyncio.to_thread(self.rounds.step))


async def _repeat(work: Callable[[], Awaitable[None]], pause: float) -> None:
    while True:
        await work()
        await asyncio.sleep(pause)


def _read(body: bytes, kind: type[_Body]) -> _Body:
    return kind.model_validate_json(body or b"{}")


def _since(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ContractError("since: a time such as 2026-11-25T00:00:00Z") from error
    if moment.tzinfo is None:
        raise ContractError("since: the time zone is missing")
    return moment
