"""The chain as it goes on trading: its events reach the endpoint in their order, as far as the story has come."""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice

import pyarrow as pa

from vigil.clock import to_micros
from vigil.demo.live import Delivery, between, deliveries
from vigil.demo.traffic import Answers, Endpoint, send
from vigil.errors import ContractError

_GRAIN_MINUTES = 30
"""Tills send what is no transaction at the end of so many minutes."""


class Business:
    """Events that were not sent yet. Time stands still between the calls."""

    def __init__(self, tables: Mapping[str, pa.Table], endpoint: Endpoint, *, at_once: int) -> None:
        self.endpoint = endpoint
        self._tables = tables
        self._at_once = at_once
        self._coming: Iterator[Delivery] = iter(())
        self._until = 0
        self.now = 0
        """Event time (microseconds) up to which everything was sent."""

    def begin(self, since: int, until: int) -> None:
        """Have the events from `since` to before `until` still to send."""
        self.now, self._until = since, until
        live = between(self._tables, since, until)
        self._coming = deliveries(live, self._at_once, grain_minutes=_GRAIN_MINUTES)

    def trade(self, count: int) -> Answers:
        """Send the next deliveries, at most `count`; raise ContractError if the story has run out of them."""
        chunk = list(islice(self._coming, count))
        if not chunk:
            raise ContractError("the simulated days are over before the story is: this machine may be too busy for it")
        return self._send(chunk)

    def trade_until(self, when: int, watch: Callable[[Answers], bool]) -> bool:
        """Send what comes before `when`; stop early, and return True, as soon as `watch` says so."""
        while self.now < when:
            if watch(self.trade(50)):
                return True
        return False

    def _send(self, chunk: list[Delivery]) -> Answers:
        answers = send(self.endpoint, chunk, lambda _: None)
        self.now = max(self.now, to_micros(chunk[-1].at))
        return answers
