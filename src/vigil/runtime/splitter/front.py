"""The endpoint that clients see: HTTP/1.1 with kept connections, pipelining, limits and orderly draining."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

import httptools

from vigil.runtime.splitter.http import (
    LAST_CHUNK,
    MAX_HEAD,
    WHOLE,
    Answer,
    Channel,
    Failure,
    Flow,
    Headers,
    Request,
    answer_head,
    chunk,
)

_log = logging.getLogger(__name__)

_PIPELINE = 8
"""Requests that a client may send ahead of its answers before it has to wait."""

_HEAD_TOO_LARGE = Failure(431, "headers_too_large", f"the headers exceed {MAX_HEAD} bytes")

_JSON: Headers = [(b"content-type", b"application/json")]


@dataclass(frozen=True)
class Timing:
    """How long a client may take."""

    idle_seconds: float = 75.0
    stall_seconds: float = 30.0
    """Without a byte, in the middle of a request."""
    discard_seconds: float = 5.0
    """For the rest of a body that nobody wants any more, so that the client can read why."""
    sweep_seconds: float = 1.0


Serve = Callable[[Request, "Client"], Awaitable[None]]


class Client(asyncio.Protocol):
    """One connection of a client."""

    def __init__(self, front: "Front") -> None:
        self.flow = Flow()
        self._front = front
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Request] = deque()
        self._incoming: Request | None = None
        self._task: asyncio.Task[None] | None = None
        self._current: Request | None = None
        self._head_bytes = 0
        self._headers_done = False
        self._answered = False
        self._deaf = False
        self._began = self._last = 0.0

    @property
    def transport(self) -> asyncio.Transport:
        """The socket."""
        assert self._transport is not None  # noqa: S101 - for the type checker: set before any use
        return self._transport

    @property
    def busy(self) -> bool:
        """Whether a request is being served."""
        return self._task is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the socket, or refuse it where there are too many."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._last = self._front.loop.time()
        self._front.clients.add(self)
        if len(self._front.clients) > self._front.max_clients:
            self._refuse(Failure(503, "too_many_connections", "too many connections are open: close some, try again"))
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop serving: nobody reads any more."""
        self._front.clients.discard(self)
        self.flow.resume()
        if self._incoming is not None:
            self._incoming.channel.end(ConnectionResetError("the client has gone"))
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()

    def eof_received(self) -> None:
        """Let the socket close: whoever says no more is taken to be gone."""

    def pause_writing(self) -> None:
        """Stop the sender."""
        self.flow.pause()

    def resume_writing(self) -> None:
        """Let the sender go on."""
        self.flow.resume()

    def data_received(self, data: bytes) -> None:
        """Parse what came; what is no HTTP is answered with 400 and the end of the connection."""
        if self._deaf:
            return
        self._last = self._front.loop.time()
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(Failure(400, "upgrade", "this endpoint speaks HTTP/1.1 only: send no Upgrade header"))
        except httptools.HttpParserError:
            self._refuse(Failure(400, "malformed_http", "the bytes are no HTTP/1.1 request"))
        else:
            if self._incoming is not None and not self._headers_done and self._head_bytes > MAX_HEAD:
                self._refuse(_HEAD_TOO_LARGE)

    def on_message_begin(self) -> None:
        """Start a request (called by the parser, as are all that follow)."""
        self._incoming = Request(Channel(self.transport))
        self._began = self._last
        self._head_bytes = 0
        self._headers_done = False

    def on_url(self, url: bytes) -> None:
        """Collect the target."""
        self._arriving.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header."""
        self._arriving.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Complete the head, and ask for the body where the client waits for that."""
        request = self._arriving
        self._headers_done = True
        request.method = self._parser.get_method()
        request.http_1_1 = self._parser.get_http_version() == "1.1"
        request.keep_alive = request.http_1_1 and self._parser.should_keep_alive()
        if sum(len(name) + len(value) for name, value in request.headers) > MAX_HEAD:
            self._refuse(_HEAD_TOO_LARGE)
        length = request.header(b"content-length")
        request.length = int(length) if length is not None else None
        if (request.header(b"expect") or b"").lower() == b"100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Collect the body, and begin to serve where it is too long to be taken whole."""
        request = self._arriving
        request.channel.feed(body)
        if request.channel.size > WHOLE and not self._begun(request):
            self._enqueue(request)

    def on_message_complete(self) -> None:
        """Complete the request."""
        request, self._incoming = self._arriving, None
        request.channel.end()
        if self._begun(request):
            return
        request.body = request.channel.take()
        self._enqueue(request)
        if len(self._waiting) >= _PIPELINE:
            self.transport.pause_reading()

    def sweep(self, now: float) -> None:
        """Close the connection if the client has been silent for too long."""
        timing = self._front.timing
        if self._deaf:
            return
        if self._incoming is not None:
            silent_since = self._last if self._headers_done else self._began
            if now - silent_since > timing.stall_seconds and not self._incoming.channel.paused:
                self._refuse(Failure(408, "stalled", "the request did not arrive in time"))
        elif self._task is None and now - self._last > timing.idle_seconds:
            self.transport.close()

    async def reply(self, status: int, headers: Headers, body: bytes, request: Request) -> None:
        """Send a whole answer."""
        keep = self._keeps(request)
        head = answer_head(status, headers, length=len(body), keep_alive=keep)
        self._answered = True
        self.transport.write(head if request.method == b"HEAD" else head + body)

    async def relay(self, answer: Answer, extra: Headers, request: Request) -> None:
        """Send the answer of a revision on."""
        keep = self._keeps(request)
        ours = {name for name, _ in extra}
        headers = [pair for pair in answer.headers if pair[0] not in ours] + extra
        self._answered = True
        if answer.body is not None:
            head = answer_head(answer.status, headers, length=answer.length, keep_alive=keep)
            self.transport.write(head + answer.body)
            return
        chunked = answer.length is None and request.http_1_1
        if answer.length is None and not chunked:
            request.keep_alive = keep = False
        head = answer_head(answer.status, headers, length=answer.length, keep_alive=keep)
        self.transport.write(head if chunked or answer.length is not None else _without_chunks(head))
        while content := await answer.channel.read():
            if answer.copy is not None:
                answer.copy.add(content)
            self.transport.write(chunk(content) if chunked else content)
            await self.flow.ready()
        if chunked:
            self.transport.write(LAST_CHUNK)

    def _keeps(self, request: Request) -> bool:
        """Return whether the connection lives on after this answer."""
        unread = request.body is None and not request.channel.ended
        ending = unread or self._deaf or self._front.draining
        request.keep_alive = request.keep_alive and not ending
        return request.keep_alive

    @property
    def _arriving(self) -> Request:
        assert self._incoming is not None  # noqa: S101 - for the type checker: the parser has begun a message
        return self._incoming

    def _begun(self, request: Request) -> bool:
        return self._current is request or request in self._waiting

    def _enqueue(self, request: Request) -> None:
        if self._deaf:
            return
        self._waiting.append(request)
        if self._task is None:
            self._task = self._front.loop.create_task(self._work())
            self._task.add_done_callback(self._note_bug)

    async def _work(self) -> None:
        """Serve what has arrived, one after the other."""
        try:
            while self._waiting and not self.transport.is_closing():
                self._current = self._waiting.popleft()
                await self._serve_one(self._current)
                if not self._current.keep_alive:
                    await self._finish(self._current)
                    return
                self._last = self._front.loop.time()
        finally:
            self._task = self._current = None
        if not self.transport.is_closing():
            self.transport.resume_reading()

    async def _serve_one(self, request: Request) -> None:
        self._answered = False
        try:
            await self._front.serve(request, self)
        except Failure as failure:
            await self._fail(failure, request)
        except ConnectionError:
            self.transport.abort()

    def _note_bug(self, task: asyncio.Task[None]) -> None:
        """Log a failure of our own and end the connection: the other clients go on."""
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("the splitter failed on a request", exc_info=error)
            self.transport.abort()

    async def _fail(self, failure: Failure, request: Request) -> None:
        if self._answered:
            self.transport.abort()
            return
        headers = _JSON + ([(b"retry-after", b"1")] if failure.status in (429, 503) else [])
        await self.reply(failure.status, headers, failure.body, request)

    async def _finish(self, request: Request) -> None:
        """Close once the client has read the answer: closing on unread bytes would throw it away."""
        try:
            async with asyncio.timeout(self._front.timing.discard_seconds):
                while await request.channel.read():
                    pass
        except (TimeoutError, ConnectionError, Failure):
            pass
        self.transport.close()

    def _refuse(self, failure: Failure) -> None:
        """Answer what cannot be read on, after the answers that are due before it, and end the connection."""
        self._deaf = True
        due = self._waiting[-1] if self._waiting else self._current
        if due is None:
            head = answer_head(failure.status, _JSON, length=len(failure.body), keep_alive=False)
            self.transport.write(head + failure.body)
            self.transport.write_eof()
            self._front.loop.call_later(self._front.timing.discard_seconds, self.transport.close)
            return
        due.keep_alive = False
        if due is self._incoming:
            due.channel.end(failure)


def _without_chunks(head: bytes) -> bytes:
    return head.replace(b"transfer-encoding: chunked\r\n", b"")


class Front:
    """The listening side: all clients, and one function that serves a request."""

    def __init__(self, serve: Serve, *, timing: Timing | None = None, max_clients: int = 4096) -> None:
        self.serve = serve
        self.timing = timing or Timing()
        self.max_clients = max_clients
        self.clients: set[Client] = set()
        self.draining = False
        self.loop = asyncio.get_running_loop()
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen and return the port."""
        self._server = await self.loop.create_server(lambda: Client(self), host, port, backlog=1024)
        self._sweeper = self.loop.create_task(self._sweep())
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def is_sweeping(self) -> bool:
        """Whether silent clients are still looked for."""
        return self._sweeper is not None and not self._sweeper.done()

    async def drain(self, seconds: float) -> None:
        """Take no new connection, let the requests on the way finish for at most `seconds`, close everything."""
        self.draining = True
        if self._server is not None:
            self._server.close()
        end = self.loop.time() + seconds
        while any(client.busy for client in self.clients) and self.loop.time() < end:
            await asyncio.sleep(0.02)
        for client in list(self.clients):
            client.transport.close()
        if self._sweeper is not None:
            self._sweeper.cancel()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self.timing.sweep_seconds)
            for client in list(self.clients):
                client.sweep(self.loop.time())
