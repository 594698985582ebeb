"""What both sides of the splitter share: HTTP heads as bytes, and bodies on their way between two sockets."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from http import HTTPStatus

import orjson

Headers = list[tuple[bytes, bytes]]
"""Names in lower case."""

HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authorization te trailer transfer-encoding"
    b" upgrade expect".split()
)
"""Headers that are about one connection and not about the message."""

SHADOW_HEADER = b"x-vigil-shadow"
"""Marks a mirrored request. Ours to say: a client's is dropped."""

WHOLE = 256 << 10
"""Bytes up to which a body is taken whole before anything is sent on; a longer one is streamed."""

MAX_HEAD = 64 << 10
_HIGH_WATER = 256 << 10

_NOT_FORWARDED = HOP_BY_HOP | {b"content-length", SHADOW_HEADER}

_REASONS = {status.value: f"{status.value} {status.phrase}".encode() for status in HTTPStatus}


class Failure(Exception):
    """An answer of the splitter itself: status, machine-readable code, and a sentence with the cure."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message

    @property
    def body(self) -> bytes:
        """The error body that the servers use as well."""
        return orjson.dumps({"error": {"code": self.code, "field": None, "message": self.message}})


class Channel:
    """The bytes of one body, bounded by pausing the socket that they come from."""

    def __init__(self, source: asyncio.Transport) -> None:
        self._source = source
        self._chunks: deque[bytes] = deque()
        self.paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self.ended = False
        self.size = 0

    def feed(self, content: bytes) -> None:
        """Add what has arrived."""
        self._chunks.append(content)
        self.size += len(content)
        if self.size > _HIGH_WATER and not self.paused:
            self.paused = True
            self._source.pause_reading()
        self._wake()

    def end(self, error: Exception | None = None) -> None:
        """Say that nothing more comes, and why if it should have."""
        self.ended = True
        self._error = self._error or error
        self._wake()

    def take(self) -> bytes:
        """Return all that is there."""
        content = b"".join(self._chunks)
        self._chunks.clear()
        self.size = 0
        if self.paused:
            self.paused = False
            if not self._source.is_closing():
                self._source.resume_reading()
        return content

    async def read(self) -> bytes:
        """Return the next bytes, empty at the end; raise what the other side ended with."""
        while not self._chunks and not self.ended:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if not self._chunks and self._error is not None:
            raise self._error
        return self.take()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Flow:
    """Whether a socket takes more bytes at the moment."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()

    def pause(self) -> None:
        """Note that the socket's buffer is full."""
        self._open.clear()

    def resume(self) -> None:
        """Note that the socket's buffer has emptied, or that the socket is gone."""
        self._open.set()

    async def ready(self) -> None:
        """Wait until the socket takes more."""
        if not self._open.is_set():
            await self._open.wait()


class Copy:
    """Keeps the parts of a streamed body that is copied, up to a limit."""

    def __init__(self, limit: int) -> None:
        self._room = limit
        self._parts: list[bytes] = []

    def add(self, content: bytes) -> None:
        """Keep what passes, or forget all once it is too much."""
        self._room -= len(content)
        if self._room >= 0:
            self._parts.append(content)
        else:
            self._parts.clear()

    def whole(self) -> bytes | None:
        """Return the body, None if it was too long."""
        return b"".join(self._parts) if self._room >= 0 else None


@dataclass(slots=True, eq=False)
class Request:
    """A request of a client. `body` is None while it is streamed through `channel`."""

    channel: Channel
    method: bytes = b""
    target: bytes = b""
    headers: Headers = field(default_factory=list)
    body: bytes | None = None
    length: int | None = None
    keep_alive: bool = True
    http_1_1: bool = True
    copy: Copy | None = None
    """Where a streamed body is to be copied to."""

    def header(self, name: bytes) -> bytes | None:
        """Return the first value of a header, given in lower case."""
        return next((value for key, value in self.headers if key == name), None)

    def forwarded(self) -> Headers:
        """Return the headers that go on to a revision."""
        listed = self.header(b"connection")
        dropped = _NOT_FORWARDED
        if listed:
            dropped |= {name.strip().lower() for name in listed.split(b",")}
        return [pair for pair in self.headers if pair[0] not in dropped]


@dataclass(slots=True, eq=False)
class Answer:
    """A response of a revision. `body` is None while it is streamed through `channel`."""

    status: int
    headers: Headers
    channel: Channel
    body: bytes | None = None
    length: int | None = None
    copy: Copy | None = None
    """Where a streamed body is to be copied to."""


def request_head(request: Request, extra: Headers) -> bytes:
    """Return the head that a revision is sent: the client's, without what was only meant for us."""
    lines = [request.method, b" ", request.target, b" HTTP/1.1\r\n"]
    for name, value in request.forwarded() + extra:
        lines += (name, b": ", value, b"\r\n")
    if request.body is not None:
        if request.body or request.method not in (b"GET", b"HEAD"):
            lines += (b"content-length: ", str(len(request.body)).encode(), b"\r\n")
    elif request.length is not None:
        lines += (b"content-length: ", str(request.length).encode(), b"\r\n")
    else:
        lines.append(b"transfer-encoding: chunked\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)


def answer_head(status: int, headers: Headers, *, length: int | None, keep_alive: bool) -> bytes:
    """Return the head that a client is sent; without `length` the body is chunked."""
    lines = [b"HTTP/1.1 ", _REASONS.get(status) or str(status).encode() + b" Unknown", b"\r\n"]
    for name, value in headers:
        lines += (name, b": ", value, b"\r\n")
    if length is not None:
        lines += (b"content-length: ", str(length).encode(), b"\r\n")
    elif status >= 200 and status not in (204, 304):
        lines.append(b"transfer-encoding: chunked\r\n")
    lines.append(b"\r\n" if keep_alive else b"connection: close\r\n\r\n")
    return b"".join(lines)


def chunk(content: bytes) -> bytes:
    """Return one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(content), content)


LAST_CHUNK = b"0\r\n\r\n"
