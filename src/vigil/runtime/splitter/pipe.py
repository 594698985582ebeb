"""One connection on which many requests are sent ahead of their answers; only the status of each answer is kept."""

import asyncio
from typing import cast

import httptools

from vigil.runtime.splitter.upstream import CONNECT_SECONDS, Broken, NotSent


class Pipe(asyncio.Protocol):
    """A connection to a server whose answers come in the order of the requests."""

    def __init__(self) -> None:
        self.usable = True
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._statuses: list[int] = []
        self._wanted = 0
        self._done: asyncio.Future[list[int]] | None = None

    @classmethod
    async def open(cls, host: str, port: int) -> "Pipe":
        """Return a connection, or raise NotSent."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, made = await asyncio.get_running_loop().create_connection(cls, host, port)
        except (OSError, TimeoutError) as error:
            raise NotSent(f"cannot reach {host}:{port}: {error}") from error
        return made

    async def send(self, requests: bytes, count: int) -> list[int]:
        """Send whole requests and return the statuses of their answers; Broken if the connection ends before."""
        if not self.usable or self._transport is None:
            raise Broken("the connection is closed")
        self._statuses, self._wanted = [], count
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(requests)
        return await self._done

    def close(self) -> None:
        """Drop the connection."""
        self.usable = False
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the socket."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def connection_lost(self, exc: Exception | None) -> None:
        """End what is on the way."""
        self.usable = False
        if self._done is not None and not self._done.done():
            self._done.set_exception(Broken("the connection was closed before all answers came"))

    def data_received(self, data: bytes) -> None:
        """Parse what came; what is no HTTP ends the connection."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.close()

    def on_message_complete(self) -> None:
        """Keep the status of an answer (called by the parser)."""
        self._statuses.append(self._parser.get_status_code())
        if len(self._statuses) == self._wanted and self._done is not None and not self._done.done():
            self._done.set_result(self._statuses)
