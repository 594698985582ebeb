"""The way from transformer to predictor: HTTP/1.1 on connections that stay open, with one deadline end to end."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httptools
import orjson

from vigil.errors import ContractError
from vigil.serving.refusals import INTERNAL, NOT_READY, OVERLOADED, TIMEOUT, UNAVAILABLE, Refusal

_CONNECT_SECONDS = 2.0


@dataclass(frozen=True)
class Reply:
    """What the predictor answered."""

    status: int
    body: bytes

    def json(self) -> Any:  # noqa: ANN401 - any JSON value
        """Return the body as JSON."""
        return orjson.loads(self.body)


class _Connection(asyncio.Protocol):
    """One connection; it carries one request at a time."""

    def __init__(self) -> None:
        self._transport: Any = None  # uvloop's transports are none of asyncio's
        self._answer: asyncio.Future[Reply] | None = None
        self._parser: Any = None
        self._parts: list[bytes] = []
        self.open = False
        self.used = False

    def send(self, request: bytes) -> "asyncio.Future[Reply]":
        self._answer = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._parts = []
        self._transport.write(request)
        return self._answer

    def close(self) -> None:
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self.open = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("the predictor closed the connection"))

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, AttributeError):
            self.close()

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        self.used = True
        if not self._parser.should_keep_alive():
            self.open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Reply(self._parser.get_status_code(), b"".join(self._parts)))


class Hop:
    """Asks one predictor."""

    def __init__(self, address: str) -> None:
        host, _, port = address.removeprefix("http://").rpartition(":")
        if not host or not port.isdigit():
            raise ContractError(f"--predictor_host is {address!r}: give host:port, such as localhost:8085")
        self._host, self._port = host, int(port)
        self._idle: list[_Connection] = []

    async def ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None, seconds: float = 10.0
    ) -> Reply:
        """Return the answer, or raise Refusal: 503 if nobody answers, 504 if it takes longer than `seconds`."""
        lines = [f"{method} {path} HTTP/1.1", f"host: {self._host}", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        request = "\r\n".join([*lines, "", ""]).encode("latin-1") + body
        try:
            async with asyncio.timeout(seconds):
                return await self._exchange(request)
        except TimeoutError as error:
            raise Refusal(TIMEOUT, "the predictor did not answer in time") from error
        except OSError as error:
            raise Refusal(UNAVAILABLE, "the predictor does not answer: try again") from error

    async def _exchange(self, request: bytes) -> Reply:
        """Send the request; once more if a connection that was left open has been closed in the meantime."""
        while True:
            connection = await self._connection()
            again = connection.used
            try:
                reply = await connection.send(request)
            except ConnectionResetError:
                if again:
                    continue
                raise
            except asyncio.CancelledError:
                connection.close()
                raise
            if connection.open:
                self._idle.append(connection)
            else:
                connection.close()
            return reply

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                return (await loop.create_connection(_Connection, self._host, self._port))[1]
        except TimeoutError as error:
            raise ConnectionRefusedError("no connection in time") from error

    def close(self) -> None:
        """Close the connections that are idle."""
        while self._idle:
            self._idle.pop().close()


def check_reply(reply: Reply) -> bytes:
    """Return the body of a good answer, or raise what the predictor's refusal means to the caller."""
    if reply.status == 200:
        return reply.body
    if reply.status == 429:
        raise Refusal(OVERLOADED, "the predictor has as much work as it can do: try again after a pause")
    if reply.status in (502, 503):
        raise Refusal(NOT_READY, "the predictor is not ready: try again")
    if reply.status == 504:
        raise Refusal(TIMEOUT, "the predictor did not answer in time")
    if reply.status == 422:
        raise Refusal(NOT_READY, "transformer and predictor do not belong together: deploy them as one revision")
    raise Refusal(INTERNAL, "the predictor failed: its log has the cause under the request id of this answer")
