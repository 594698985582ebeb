"""The splitter's HTTP side: picks a revision, sends the request on, counts, mirrors."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable

import orjson

from vigil import __version__
from vigil.errors import ContractError
from vigil.runtime.ports import address
from vigil.runtime.splitter.entity import ENTITY_HEADER, entity_of
from vigil.runtime.splitter.front import Client, Front, Timing
from vigil.runtime.splitter.http import Answer, Failure, Headers, Request
from vigil.runtime.splitter.payloads import Exchange, PayloadLogger, copy_streams
from vigil.runtime.splitter.routes import Routes, Target
from vigil.runtime.splitter.shadow import Mirror, is_mirrored
from vigil.runtime.splitter.upstream import Broken, Connection, NotSent

REVISION_HEADER = "x-vigil-revision"
ANSWER_SECONDS = 60.0
STREAM_SECONDS = 600.0
_COUNTED_BY_REVISION = (502, 504)

_ENTITY = ENTITY_HEADER.encode()
_REVISION = REVISION_HEADER.encode()
_MODEL = re.compile(rb"/v[12]/models/([A-Za-z0-9][A-Za-z0-9_.-]*)(?=[:/?]|$)")
_JSON: Headers = [(b"content-type", b"application/json")]
_TEXT: Headers = [(b"content-type", b"text/plain; version=0.0.4; charset=utf-8")]


class Splitter:
    """One HTTP endpoint in front of all revisions."""

    def __init__(
        self,
        routes: Routes,
        metrics: Callable[[Counter[str]], bytes],
        *,
        timing: Timing | None = None,
        payloads: PayloadLogger | None = None,
    ) -> None:
        self._routes = routes
        self._metrics = metrics
        self._own: Counter[str] = Counter()
        self._mirrors: dict[str, Mirror] = {}
        self._payloads = payloads
        self.front = Front(self._serve, timing=timing)

    async def start(self, host: str, port: int) -> int:
        """Listen and return the port."""
        try:
            return await self.front.start(host, port)
        except OSError as error:
            raise ContractError(f"cannot listen on {address(host, port)}: {error.strerror}; choose another") from error

    async def drain(self, seconds: float) -> None:
        """Finish what is on the way and take nothing new."""
        await self.front.drain(seconds)
        for name in list(self._mirrors):
            self.stop_mirror(name)
        if self._payloads is not None:
            await self._payloads.close()

    def start_mirror(self, target: Target) -> None:
        """Send copies of the model's requests to a revision from now on."""
        target.shadow = True
        if target.name not in self._mirrors:
            self._mirrors[target.name] = Mirror(target, self._payloads)

    def stop_mirror(self, name: str) -> None:
        """Send no more copies to a revision."""
        if name in self._routes.targets:
            self._routes.targets[name].shadow = False
        if mirror := self._mirrors.pop(name, None):
            mirror.close()

    async def _serve(self, request: Request, client: Client) -> None:
        try:
            found = _MODEL.match(request.target)
            if found is None:
                await self._answer_itself(request, client)
                return
            model = found[1].decode()
            target = await self._forward(model, request, client)
            if self._mirrors and is_mirrored(request):
                self._mirror(model, target, request)
        except Failure as failure:
            if failure.status not in _COUNTED_BY_REVISION:
                self._own[str(failure.status)] += 1
            raise

    async def _forward(self, model: str, request: Request, client: Client) -> Target:
        entity = _entity(request)
        tried: tuple[str, ...] = ()
        while True:
            target = self._routes.pick(model, entity, tried)
            try:
                await self._pass(target, request, client)
                return target
            except NotSent:
                target.fail()
            except Broken as error:
                target.on_failure()
                if not _is_repeatable(request):
                    self._count(target, "502")
                    raise Failure(502, "revision_lost", "the revision went away before it answered") from error
            tried = (*tried, target.name)

    async def _pass(self, target: Target, request: Request, client: Client) -> None:
        """Send a request to a revision and its answer to the client."""
        started = time.perf_counter()
        target.in_flight += 1
        try:
            seconds = STREAM_SECONDS if request.body is None else ANSWER_SECONDS
            if self._payloads is not None:
                copy_streams(request)
            async with asyncio.timeout(seconds):
                connection, answer = await target.upstream.exchange(request, [])
            await self._relay(target, connection, answer, request, client)
            target.counts.latency.add(time.perf_counter() - started)
        except TimeoutError as error:
            self._count(target, "504")
            raise Failure(504, "timeout", f"the revision did not answer within {seconds:g} seconds") from error
        except (asyncio.CancelledError, ConnectionResetError):
            self._count(target, "499")
            raise
        finally:
            target.in_flight -= 1

    async def _relay(
        self, target: Target, connection: Connection, answer: Answer, request: Request, client: Client
    ) -> None:
        """Send an answer to the client; one that breaks off cannot be repeated, and ends the client's connection."""
        if self._payloads is not None:
            copy_streams(request, answer)
        try:
            await client.relay(answer, [(_REVISION, target.name.encode())], request)
        except Broken as error:
            self._count(target, "502")
            target.fail()
            raise ConnectionAbortedError("the answer broke off") from error
        except BaseException:
            connection.close()
            raise
        target.upstream.release(connection)
        self._count(target, str(answer.status))
        if self._payloads is not None:
            self._payloads.offer(Exchange(target.model, target.name, request, answer))

    @staticmethod
    def _count(target: Target, code: str) -> None:
        target.counts.answers["http", code] += 1

    def _mirror(self, model: str, served_by: Target, request: Request) -> None:
        for target in self._routes.shadows(model):
            if target is not served_by:
                self._mirrors[target.name].offer(request)

    async def _answer_itself(self, request: Request, client: Client) -> None:
        """Answer what is not about one model."""
        path = request.target.partition(b"?")[0]
        answers = {
            b"/": self._about,
            b"/v2": self._about,
            b"/v1/models": self._list,
            b"/v2/health/live": lambda: (200, {"live": True}),
            b"/v2/health/ready": self._health,
        }
        if path == b"/metrics":
            await client.reply(200, _TEXT, self._metrics(self._own), request)
            return
        if path not in answers:
            raise Failure(404, "unknown_path", "there are /v1/models/MODEL:predict, /v2/models/MODEL/infer, /metrics")
        if request.method not in (b"GET", b"HEAD"):
            raise Failure(405, "method_not_allowed", "this path takes GET only")
        status, document = answers[path]()
        await client.reply(status, _JSON, orjson.dumps(document), request)

    def _about(self) -> tuple[int, object]:
        return 200, {"name": "vigil", "version": __version__, "extensions": [], "models": self._routes.models()}

    def _list(self) -> tuple[int, object]:
        return 200, {"models": self._routes.models()}

    def _health(self) -> tuple[int, object]:
        ready = {model: self._routes.is_ready(model) for model in self._routes.models()}
        return (200 if ready and all(ready.values()) else 503), {"ready": bool(ready and all(ready.values()))}


def _entity(request: Request) -> str | None:
    header = request.header(_ENTITY)
    if header:
        return header.decode("utf-8", "replace")
    return entity_of(request.body) if request.body else None


def _is_repeatable(request: Request) -> bool:
    """Return whether a request may be sent twice: a decision may, since the states recall an event they have seen."""
    if request.body is None:
        return False
    return request.method in (b"GET", b"HEAD") or is_mirrored(request) or request.target.endswith(b":explain")
