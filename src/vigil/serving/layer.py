"""Our layer in front of kserve's app: the routes that carry the load, limits, and none of the stock app's open doors.

The routes call the same kserve.Model object as the stock app does. What is left to the stock app are the routes that
describe the server; its errors are put into our shape.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import orjson
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from vigil.serving.cloud_events import STRUCTURED, is_cloud_event, read_cloud_event
from vigil.serving.http import (
    REQUEST_ID,
    Answer,
    App,
    ClientGone,
    Message,
    Receive,
    Request,
    Scope,
    Send,
    open_request,
    refuse,
    respond,
)
from vigil.serving.metrics import Metrics
from vigil.serving.options import ServerOptions
from vigil.serving.refusals import (
    INTERNAL,
    INVALID,
    MALFORMED,
    NOT_FOUND,
    NOT_READY,
    OVERLOADED,
    TOO_SLOW_BODY,
    WRONG_METHOD,
    WRONG_TYPE,
    Kind,
    Refusal,
    internal,
    refusal_of,
)
from vigil.serving.state import ServerState

_logger = logging.getLogger(__name__)
_BY_STATUS = {kind.http: kind for kind in (MALFORMED, NOT_FOUND, WRONG_METHOD, INVALID, NOT_READY)}


@dataclass(frozen=True)
class Route:
    """One path that carries load."""

    protocol: str
    name: str
    handle: Callable[[Request], Awaitable[Answer]]
    content_types: tuple[str, ...] = ("application/json",)
    """Accepted besides none at all; empty: the route takes no body."""
    method: str = "POST"
    is_batch: bool = False
    """Whether it has the time of a batch."""


class Layer:
    """The ASGI application of a server."""

    def __init__(
        self, stock: App, routes: dict[str, Route], state: ServerState, options: ServerOptions, metrics: Metrics
    ) -> None:
        self._stock = stock
        self._routes = routes
        self._state = state
        self._options = options
        self._metrics = metrics
        name = options.model_name
        self._stock_gets = {"/", "/v2", "/v1/models", "/v2/models", f"/v2/models/{name}"}
        self._probes = {
            "/v2/health/live": self._live,
            "/v2/health/ready": self._ready,
            f"/v2/models/{name}/ready": self._ready,
            f"/v1/models/{name}": self._ready,
            "/metrics": self._show_metrics,
        }
        self._own_headers = {"x-vigil-revision": options.revision}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._stock(scope, receive, send)
            return
        request = open_request(scope, receive, self._options.max_body_bytes)
        route = self._routes.get(scope["path"])
        if route is not None and scope["method"] == route.method:
            await self._carry(route, request, send)
        else:
            await self._side(request, send)

    async def _carry(self, route: Route, request: Request, send: Send) -> None:
        started = time.perf_counter()
        self._metrics.enter()
        try:
            answer, reason = await self._answer(route, request)
        except ClientGone:
            answer, reason = None, "client_gone"
        finally:
            self._metrics.leave()
        status = "499" if answer is None else str(answer.status)
        self._metrics.answered(route.protocol, route.name, status, reason, time.perf_counter() - started)
        if answer is not None and answer.status:
            await self._send(request, answer, send)

    async def _answer(self, route: Route, request: Request) -> tuple[Answer, str]:
        try:
            self._admit(route, request)
            async with asyncio.timeout(self._seconds(route)):
                answer = await self._run(route, request)
                return answer, "ok" if answer.status < 400 else "refused"
        except ClientGone:
            raise
        except Exception as error:  # noqa: BLE001 - the last line: whatever it is, the client gets an answer
            refusal = self._refusal(error, request)
            return refuse(refusal), refusal.kind.code

    def _seconds(self, route: Route) -> float:
        return self._options.batch_timeout_seconds if route.is_batch else self._options.request_timeout_seconds

    def _refusal(self, error: Exception, request: Request) -> Refusal:
        if isinstance(error, TimeoutError) and not request.complete:
            return Refusal(TOO_SLOW_BODY, "the body did not arrive in time")
        refusal = refusal_of(error)
        if refusal is None or refusal.kind is INTERNAL:
            _logger.error("request failed", exc_info=error, extra={**request.trace, "path": request.scope["path"]})
        return refusal or internal()

    def _admit(self, route: Route, request: Request) -> None:
        """Raise Refusal unless the request may be worked on."""
        if not self._state.serving:
            raise Refusal(NOT_READY, self._state.reason)
        if self._metrics.in_flight > self._options.max_concurrency:
            raise Refusal(OVERLOADED, "the server has as much work as it can do: try again after a pause")
        given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if route.content_types and given and given not in _content_types(route):
            raise Refusal(WRONG_TYPE, f"send {' or '.join(route.content_types)}", "content-type")
        if request.headers.get("content-encoding", "identity") != "identity":
            raise Refusal(WRONG_TYPE, "send the body as it is, not compressed", "content-encoding")

    async def _run(self, route: Route, request: Request) -> Answer:
        if not (_takes_events(route) and is_cloud_event(request.headers)):
            return await route.handle(request)
        event = read_cloud_event(request.headers, await request.body())
        answer = await route.handle(event.request(request))
        return event.answer(answer, self._options.model_name, request.trace[REQUEST_ID])

    async def _side(self, request: Request, send: Send) -> None:
        """Answer what carries no load: probes, metrics, descriptions, and whatever does not exist."""
        path, method = request.scope["path"], request.scope["method"]
        try:
            if method == "GET" and path in self._probes:
                answer = await self._probes[path](request)
            elif method == "GET" and path in self._stock_gets:
                answer = await self._through_stock(request)
            else:
                raise self._nowhere(path)
        except Exception as error:  # noqa: BLE001 - as above
            answer = refuse(self._refusal(error, request))
        self._metrics.answered("other", "other", str(answer.status), "ok" if answer.status < 400 else "refused", 0.0)
        await self._send(request, answer, send)

    def _nowhere(self, path: str) -> Refusal:
        if path in self._probes or path in self._stock_gets:
            return Refusal(WRONG_METHOD, "use GET")
        if path in self._routes:
            return Refusal(WRONG_METHOD, f"use {self._routes[path].method}")
        return Refusal(NOT_FOUND, f"there is nothing here; this server has the model {self._options.model_name}")

    async def _send(self, request: Request, answer: Answer, send: Send) -> None:
        headers = {**request.trace, **self._own_headers}
        if self._state.draining or request.leaves_much_unread:
            headers["connection"] = "close"
        await respond(send, answer, headers)

    async def _live(self, _: Request) -> Answer:
        return Answer(b'{"live":true}')

    async def _ready(self, _: Request) -> Answer:
        reason = await self._state.not_ready()
        if reason is not None:
            return refuse(Refusal(NOT_READY, reason))
        return Answer(orjson.dumps({"name": self._options.model_name, "ready": True}))

    async def _show_metrics(self, request: Request) -> Answer:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Answer(encode(REGISTRY), content_type=content_type)

    async def _through_stock(self, request: Request) -> Answer:
        """Return what kserve's app answers; its errors in our shape."""
        sent: dict[str, Any] = {"status": 500, "headers": [], "body": b""}

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent.update(status=message["status"], headers=message["headers"])
            elif message["type"] == "http.response.body":
                sent["body"] += message.get("body", b"")

        await self._stock({**request.scope, "headers": _kept(request)}, receive, send)
        request.complete = True
        if sent["status"] >= 400:
            return _in_our_shape(sent["status"], sent["body"])
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in sent["headers"]}
        return Answer(sent["body"], sent["status"], headers.get("content-type", "application/json"))


def _in_our_shape(status: int, body: bytes) -> Answer:
    """Return an error of the stock app as ours; that of our model comes in our shape already."""
    try:
        error = orjson.loads(body)["error"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        error = None
    if isinstance(error, dict):
        return Answer(body, status)
    kind: Kind = _BY_STATUS.get(status, INTERNAL)
    if kind is INTERNAL:
        return refuse(internal())
    return refuse(Refusal(kind, error if isinstance(error, str) else "the request cannot be understood"))


def _kept(request: Request) -> list[tuple[bytes, bytes]]:
    """Return the headers that the stock app gets to see: none that could be a secret."""
    names = ("content-type", "accept", "x-request-id", "traceparent")
    return [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in {**request.headers, **request.trace}.items()
        if name in names
    ]


def _content_types(route: Route) -> tuple[str, ...]:
    return (*route.content_types, STRUCTURED) if _takes_events(route) else route.content_types


def _takes_events(route: Route) -> bool:
    return route.protocol == "v1" and route.name in ("predict", "explain")
