"""Live traffic: sends events to the endpoint in their order, and keeps what it answered."""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from vigil.demo.live import Delivery
from vigil.errors import Unavailable

Decision = dict[str, Any]
Progress = Callable[[int], None]
"""Is told how many more events were sent."""

_LONGEST_SECONDS = 30.0


@dataclass
class Answers:
    """What the endpoint said."""

    decisions: list[Decision] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)
    """How long each request for decisions took."""
    noted: int = 0
    """Events other than transactions that it took note of."""


@dataclass(frozen=True)
class Endpoint:
    """Where a model answers."""

    url: str
    model: str

    @property
    def predict(self) -> str:
        """The address for decisions."""
        return f"{self.url}/v1/models/{self.model}:predict"

    @property
    def events(self) -> str:
        """The address for events that are no transactions."""
        return f"{self.url}/v1/models/{self.model}/events"


def send(endpoint: Endpoint, events: Iterable[Delivery], progress: Progress) -> Answers:
    """Return the answers to the events, which are sent one request after the other: each sees the past before it."""
    return asyncio.run(_send(endpoint, events, progress))


async def _send(endpoint: Endpoint, events: Iterable[Delivery], progress: Progress) -> Answers:
    answers = Answers()
    limit = aiohttp.ClientTimeout(total=_LONGEST_SECONDS)
    async with aiohttp.ClientSession(timeout=limit) as session:
        for delivery in events:
            if delivery.asks:
                start = time.perf_counter()
                answer = await _post(session, endpoint.predict, {"instances": delivery.payloads})
                answers.milliseconds.append(1e3 * (time.perf_counter() - start))
                answers.decisions += answer["predictions"]
            else:
                await _post(session, endpoint.events, {"events": delivery.payloads})
                answers.noted += len(delivery.payloads)
            progress(len(delivery.payloads))
    return answers


async def _post(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> dict[str, Any]:
    try:
        async with session.post(url, json=body) as response:
            if response.status != 200:
                raise Unavailable(f"{url} answered {response.status}: {(await response.text())[:500]}")
            answer: dict[str, Any] = await response.json()
            return answer
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Unavailable(f"{url} does not answer ({error or type(error).__name__}): see `vigil status`") from error
