"""The chain as it goes on trading: its events reach the endpoint in their order, as far as the story has come."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby, islice

import pyarrow as pa

from vigil.clock import to_micros
from vigil.demo.live import Delivery, between, deliveries
from vigil.demo.traffic import Answers, Endpoint, send
from vigil.errors import ContractError

_GRAIN_MINUTES = 30
"""Tills send what is no transaction at the end of so many minutes."""
_AT_A_TIME, _LARGE = 200, 24
"""Deliveries between two looks where time is to pass fast, and payloads in one request then."""


class Business:
    """Events (from `since` to before `until`, microseconds) still to send. Time stands still between the calls."""

    def __init__(self, tables: Mapping[str, pa.Table], endpoint: Endpoint, since: int, until: int) -> None:
        self.endpoint = endpoint
        self._coming = deliveries(between(tables, since, until), 1, grain_minutes=_GRAIN_MINUTES)
        self.now = since
        """Event time (microseconds) up to which everything was sent."""

    def trade(self, count: int) -> Answers:
        """Send the next deliveries, at most `count`; raise ContractError if there are none left."""
        return self._send(list(islice(self._coming, count)))

    def trade_until(self, when: int, watch: Callable[[], bool]) -> bool:
        """Send what comes before `when`, fast; stop early, and return True, as soon as `watch` says so."""
        while self.now < when:
            self._send(list(_joined(islice(self._coming, _AT_A_TIME), _LARGE)))
            if watch():
                return True
        return False

    def _send(self, chunk: list[Delivery]) -> Answers:
        if not chunk:
            raise ContractError("the simulated days are over before the story is: run the demo again")
        answers = send(self.endpoint, chunk, lambda _: None)
        self.now = max(self.now, to_micros(chunk[-1].at))
        return answers


def _joined(deliveries: Iterable[Delivery], most: int) -> Iterator[Delivery]:
    """Yield fewer and larger deliveries, in the same order."""
    for asks, run in groupby(deliveries, key=lambda delivery: delivery.asks):
        waiting: list[Delivery] = []
        for delivery in run:
            if waiting and sum(len(one.payloads) for one in waiting) + len(delivery.payloads) > most:
                yield _one(asks, waiting)
                waiting = []
            waiting.append(delivery)
        yield _one(asks, waiting)


def _one(asks: bool, parts: list[Delivery]) -> Delivery:
    payloads = tuple(payload for part in parts for payload in part.payloads)
    return Delivery(asks, payloads, at=max(part.at for part in parts))
