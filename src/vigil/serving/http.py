"""Requests and answers on bare ASGI: bodies with a limit, ids that travel on, no header echoed but these."""

import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from vigil.serving.refusals import MALFORMED, TOO_LARGE, Refusal
from vigil.serving.wire import JSON

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

REQUEST_ID, TRACEPARENT = "x-request-id", "traceparent"
_SMALL_BODY = 65_536
_ID = re.compile(r"[\x21-\x7e]{1,128}")
_TRACE = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""


@dataclass(frozen=True)
class Answer:
    """What is sent back."""

    body: bytes
    status: int = 200
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(eq=False)
class Request:
    """One request, its body read when it is asked for."""

    scope: Scope
    receive: Receive
    max_body_bytes: int
    headers: dict[str, str]
    trace: dict[str, str]
    """The request id, and the caller's trace: what is handed on and sent back."""
    complete: bool = False

    @property
    def leaves_much_unread(self) -> bool:
        """Whether a client would go on sending a body that nobody reads."""
        if self.complete:
            return False
        declared = self.headers.get("content-length", "0")
        return "transfer-encoding" in self.headers or not declared.isdigit() or int(declared) > _SMALL_BODY

    async def body(self) -> bytes:
        """Return the body, or raise Refusal as soon as it is longer than allowed."""
        declared = self.headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > self.max_body_bytes:
            raise self._too_large()
        message = await self.receive()
        first: bytes = message.get("body", b"")
        if message["type"] == "http.request" and not message.get("more_body") and len(first) <= self.max_body_bytes:
            self.complete = True
            return first
        return await self._rest(message)

    async def _rest(self, message: Message) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            if message["type"] == "http.disconnect":
                raise ClientGone
            part = message.get("body", b"")
            size += len(part)
            if size > self.max_body_bytes:
                raise self._too_large()
            parts.append(part)
            if not message.get("more_body"):
                self.complete = True
                return b"".join(parts)
            message = await self.receive()

    async def json(self) -> Any:  # noqa: ANN401 - any JSON value
        """Return the body as JSON."""
        return parse_json(await self.body())

    def _too_large(self) -> Refusal:
        return Refusal(TOO_LARGE, f"the body is larger than {self.max_body_bytes} bytes: send fewer rows at a time")


def parse_json(body: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """Return the JSON value, or raise Refusal saying where it breaks; NaN and Infinity are not JSON."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refusal(MALFORMED, f"the body is not JSON: {error}") from error


def open_request(scope: Scope, receive: Receive, max_body_bytes: int) -> Request:
    """Return the request of an ASGI scope."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    return Request(scope, receive, max_body_bytes, headers, trace_of(headers))


def trace_of(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the ids that travel on: the caller's where they are well formed, a new request id otherwise."""
    given = headers.get(REQUEST_ID, "")
    trace = {REQUEST_ID: given if _ID.fullmatch(given) else secrets.token_hex(16)}
    parent = headers.get(TRACEPARENT, "")
    if _TRACE.fullmatch(parent):
        trace[TRACEPARENT] = parent
    return trace


async def respond(send: Send, answer: Answer, headers: Mapping[str, str]) -> None:
    """Send the answer."""
    sent = {
        "content-type": answer.content_type,
        "content-length": str(len(answer.body)),
        **headers,
        **answer.headers,
    }
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in sent.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    await send({"type": "http.response.body", "body": answer.body})


def refuse(refusal: Refusal) -> Answer:
    """Return the answer that a refusal is."""
    wait = refusal.kind.retry_after
    headers = {} if wait is None else {"retry-after": str(wait)}
    return Answer(orjson.dumps(refusal.body()), refusal.kind.http, JSON, headers)
