"""Mirrored traffic: copies of answered requests, sent behind the client's back and dropped rather than queued long."""

import asyncio

from vigil.runtime.splitter.http import SHADOW_HEADER, Answer, Request
from vigil.runtime.splitter.payloads import Exchange, PayloadLogger, copy_streams
from vigil.runtime.splitter.routes import Target
from vigil.runtime.splitter.upstream import Broken, NotSent

QUEUE = 256
WORKERS = 4
SECONDS = 30.0

_MIRRORED = (b":predict", b":batch", b"/infer")
_EXTRA = [(SHADOW_HEADER, b"true")]


def is_mirrored(request: Request) -> bool:
    """Return whether a request asks for decisions; nothing else is worth a copy."""
    return request.method == b"POST" and request.target.partition(b"?")[0].endswith(_MIRRORED)


class Mirror:
    """Sends copies to one shadow revision. What does not fit in the queue is counted and forgotten."""

    def __init__(self, target: Target, payloads: PayloadLogger | None = None) -> None:
        self._target = target
        self._payloads = payloads
        self._queue: asyncio.Queue[Request] = asyncio.Queue(QUEUE)
        loop = asyncio.get_running_loop()
        self._workers = [loop.create_task(self._work()) for _ in range(WORKERS)]

    def offer(self, request: Request) -> None:
        """Take a copy of an answered request, if it can be sent soon."""
        mirrored = self._target.counts.mirrored
        if request.body is None:
            mirrored["dropped_large"] += 1
        elif not self._target.ready:
            mirrored["dropped_not_ready"] += 1
        elif self._queue.full():
            mirrored["dropped_queue_full"] += 1
        else:
            self._queue.put_nowait(request)

    def close(self) -> None:
        """Stop sending."""
        for worker in self._workers:
            worker.cancel()

    async def _work(self) -> None:
        while True:
            request = await self._queue.get()
            self._target.counts.mirrored[await self._send(request)] += 1

    async def _send(self, request: Request) -> str:
        """Return how it went."""
        self._target.in_flight += 1
        try:
            async with asyncio.timeout(SECONDS):
                connection, answer = await self._target.upstream.exchange(request, _EXTRA)
                if self._payloads is not None:
                    copy_streams(request, answer)
                await _read_to_end(answer)
        except TimeoutError:
            return "timeout"
        except (NotSent, Broken, ConnectionError):
            return "unreachable"
        finally:
            self._target.in_flight -= 1
        self._target.upstream.release(connection)
        if self._payloads is not None:
            self._payloads.offer(Exchange(self._target.model, self._target.name, request, answer, shadow=True))
        return str(answer.status)


async def _read_to_end(answer: Answer) -> None:
    while answer.body is None and (content := await answer.channel.read()):
        if answer.copy is not None:
            answer.copy.add(content)
