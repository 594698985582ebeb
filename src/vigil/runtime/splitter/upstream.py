"""The way to one revision: a pool of kept connections, and one exchange after the other on each."""

import asyncio
from collections import deque
from typing import cast

import httptools

from vigil.runtime.splitter.http import (
    HOP_BY_HOP,
    LAST_CHUNK,
    WHOLE,
    Answer,
    Channel,
    Flow,
    Headers,
    Request,
    chunk,
    request_head,
)

CONNECT_SECONDS = 2.0
IDLE_SECONDS = 2.5
"""Well before the five seconds after which a stock server closes: a request that crosses that close is lost."""


class NotSent(ConnectionError):
    """The revision took nothing of the request: it may be sent elsewhere."""


class Broken(ConnectionError):
    """The revision went away before its answer began; it may or may not have acted on the request."""


class Connection(asyncio.Protocol):
    """One connection to a revision."""

    def __init__(self) -> None:
        self.flow = Flow()
        self.idle_since = 0.0
        self.usable = True
        self.sender: asyncio.Task[None] | None = None
        """Sends a streamed body."""
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._now: Answer | None = None
        self._headers: Headers = []
        self._no_body = False

    @property
    def transport(self) -> asyncio.Transport:
        """The socket."""
        assert self._transport is not None  # noqa: S101 - for the type checker: set before any use
        return self._transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the socket."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def connection_lost(self, exc: Exception | None) -> None:
        """End whatever was on the way."""
        self.usable = False
        self.flow.resume()
        error = Broken("the revision closed the connection")
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        if self._now is not None and not self._now.channel.ended:
            self._now.channel.end(None if self._ends_with_the_connection() else error)

    def eof_received(self) -> None:
        """Let the socket close."""
        self.usable = False

    def pause_writing(self) -> None:
        """Stop the sender."""
        self.flow.pause()

    def resume_writing(self) -> None:
        """Let the sender go on."""
        self.flow.resume()

    def data_received(self, data: bytes) -> None:
        """Parse what came; anything that was not asked for, or is no HTTP, ends the connection."""
        if self._parser is None:
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.close()

    def send(self, content: bytes, *, no_body: bool = False) -> asyncio.Future[Answer]:
        """Write a request, or its head, and return the answer to come; `no_body` says it has none whatever it says."""
        self._answer = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._now, self._headers, self._no_body = None, [], no_body
        self.transport.write(content)
        return self._answer

    def close(self) -> None:
        """Drop the connection."""
        self.usable = False
        if self.sender is not None:
            self.sender.cancel()
        self.transport.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect (called by the parser)."""
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Begin the answer (called by the parser)."""
        status = self._parser.get_status_code() if self._parser else 0
        if status < 200:
            self._headers = []
            return
        length = next((int(value) for name, value in self._headers if name == b"content-length"), None)
        headers = [pair for pair in self._headers if pair[0] not in HOP_BY_HOP and pair[0] != b"content-length"]
        if self._no_body or status in (204, 304):
            self._now = Answer(status, headers, Channel(self.transport), b"", length)
            self._complete(self._now)
            return
        self._now = Answer(status, headers, Channel(self.transport), None, length)
        if length is None or length > WHOLE:
            self._deliver(self._now)

    def on_body(self, body: bytes) -> None:
        """Hand on (called by the parser)."""
        if self._now is not None and self._now.body is None:
            self._now.channel.feed(body)

    def on_message_complete(self) -> None:
        """End the answer (called by the parser)."""
        if self._now is not None and not self._now.channel.ended:
            self._complete(self._now)

    def _complete(self, now: Answer) -> None:
        keep = self._parser is not None and self._parser.should_keep_alive()
        self.usable = self.usable and keep and not self._no_body
        self._parser = None
        now.channel.end()
        if now.body is None and self._answer is not None and not self._answer.done():
            now.body = now.channel.take()
            now.length = len(now.body)
        self._deliver(now)

    def _deliver(self, now: Answer) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(now)

    def _ends_with_the_connection(self) -> bool:
        """Return whether the answer had neither length nor chunks, so that the close is its end."""
        chunked = any(name == b"transfer-encoding" for name, _ in self._headers)
        return self._now is not None and self._now.length is None and not chunked


class Upstream:
    """The kept connections to one address."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self._idle: deque[Connection] = deque()
        self.in_flight = 0

    async def exchange(self, request: Request, extra: Headers) -> tuple[Connection, Answer]:
        """Send a request and return the answer with the connection that it came on; give that back by `release`.

        A whole body is sent again on a fresh connection where a kept one turns out to be closed.
        """
        while True:
            connection, fresh = await self._connection()
            try:
                return connection, await self._send(connection, request, extra)
            except Broken:
                connection.close()
                if fresh or request.body is None:
                    raise
            except BaseException:
                connection.close()
                raise

    def release(self, connection: Connection) -> None:
        """Keep a connection whose answer has been read to its end; close any other."""
        unsent = connection.sender is not None and not connection.sender.done()
        if unsent or not connection.usable or connection.transport.is_closing():
            connection.close()
            return
        connection.sender = None
        now = asyncio.get_running_loop().time()
        connection.idle_since = now
        self._idle.append(connection)
        while now - self._idle[0].idle_since > IDLE_SECONDS:
            self._idle.popleft().close()

    def close(self) -> None:
        """Close the kept connections."""
        while self._idle:
            self._idle.pop().close()

    async def _connection(self) -> tuple[Connection, bool]:
        """Return a connection and whether it is fresh; the one used last first, so that the rest can age."""
        loop = asyncio.get_running_loop()
        while self._idle:
            kept = self._idle.pop()
            if kept.usable and not kept.transport.is_closing() and loop.time() - kept.idle_since < IDLE_SECONDS:
                return kept, False
            kept.close()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await loop.create_connection(Connection, self.host, self.port)
        except (OSError, TimeoutError) as error:
            raise NotSent(f"cannot reach the revision: {error}") from error
        return connection, True

    @staticmethod
    async def _send(connection: Connection, request: Request, extra: Headers) -> Answer:
        head = request_head(request, extra)
        no_body = request.method == b"HEAD"
        if request.body is not None:
            return await connection.send(head + request.body, no_body=no_body)
        answer = connection.send(head, no_body=no_body)
        connection.sender = sender = asyncio.ensure_future(_stream(connection, request))
        try:
            await asyncio.wait((sender, answer), return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                sender.result()
            return await answer
        finally:
            answer.cancel()


async def _stream(connection: Connection, request: Request) -> None:
    """Send a body as it arrives. The answer may begin, or even end, before the body does."""
    chunked = request.length is None
    while content := await request.channel.read():
        if request.copy is not None:
            request.copy.add(content)
        connection.transport.write(chunk(content) if chunked else content)
        await connection.flow.ready()
    if chunked:
        connection.transport.write(LAST_CHUNK)
