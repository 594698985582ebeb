"""Findings on their way to the alert desk and whoever else listens: tried again, never waited for by an answer."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any

import aiohttp

from vigil.clock import Clock
from vigil.contracts.cloud_events import CloudEvent, new_event
from vigil.serving.sites.answers import FINDING_EVENT, finding_id
from vigil.serving.sites.counts import Counts
from vigil.web import deliver

MOST_WAITING = 20_000
"""Findings that may wait for a sink; beyond them the oldest is given up, and counted."""
_FIRST_SECONDS, _LONGEST_SECONDS, _LAST_SECONDS = 0.5, 30.0, 5.0
_TIMEOUT = aiohttp.ClientTimeout(total=10)

_logger = logging.getLogger(__name__)


class Sender:
    """Sends each finding to every sink as a CloudEvent, always under the same id."""

    def __init__(self, sinks: Sequence[str], source: str, counts: Counts, clock: Clock) -> None:
        self._source, self._counts, self._clock = source, counts, clock
        self._waiting: dict[str, deque[CloudEvent]] = {sink: deque() for sink in sinks}
        self._wake = {sink: asyncio.Event() for sink in sinks}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to send."""
        self._tasks = [asyncio.get_running_loop().create_task(self._serve(sink)) for sink in self._waiting]

    def put(self, documents: Sequence[dict[str, Any]]) -> None:
        """Let findings be sent."""
        if not documents:
            return
        at = self._clock()
        for document in documents:
            subject = f"{document['site']}/{document['metric']}"
            event = new_event(FINDING_EVENT, self._source, document, at, finding_id(document), subject)
            for waiting in self._waiting.values():
                if len(waiting) >= MOST_WAITING:
                    waiting.popleft()
                    self._counts.sent("given_up")
                waiting.append(event)
        for wake in self._wake.values():
            wake.set()

    async def close(self) -> bool:
        """Send what waits for as long as a shutdown allows, and return whether nothing is left."""
        for wake in self._wake.values():
            wake.set()
        limit = asyncio.get_running_loop().time() + _LAST_SECONDS
        while any(self._waiting.values()) and asyncio.get_running_loop().time() < limit:
            await asyncio.sleep(0.05)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        left = sum(map(len, self._waiting.values()))
        if left:
            _logger.error("findings lost", extra={"events": left})
        return left == 0

    async def _serve(self, sink: str) -> None:
        waiting, wake, pause = self._waiting[sink], self._wake[sink], _FIRST_SECONDS
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
            while True:
                if not waiting:
                    wake.clear()
                    await wake.wait()
                    continue
                event = waiting[0]
                outcome = await deliver(session, sink, event)
                self._counts.sent(outcome)
                if outcome == "failed":
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, _LONGEST_SECONDS)
                    continue
                pause = _FIRST_SECONDS
                if waiting and waiting[0] is event:
                    waiting.popleft()
