"""Requests through the ingress at a constant rate: each is sent when its time has come, whatever became of others."""

import http.client
import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np

from tests.cluster.traffic import START, Endpoint
from vigil.contracts.events import Transaction

GAP_SECONDS = 2
"""Event time between two transactions: a run of the tests is one working day."""

_WORKERS = 12
_NUMBERS = itertools.count()


def population(seed: int, prefix: str, *, shape: float = 2.0, scale: float = 30.0) -> Iterator[Transaction]:
    """Yield transactions in time order without an end: each of a new customer, so that no feature changes with time."""
    random = np.random.default_rng(seed)
    while True:
        number = next(_NUMBERS)
        yield Transaction(
            event_id=f"{prefix}{number}",
            event_time=START + timedelta(seconds=GAP_SECONDS * number),
            amount=float(np.round(random.gamma(shape, scale), 2)),
            customer_id=f"c{number}",
            terminal_id=f"t{number}",
        )


@dataclass(frozen=True)
class Answer:
    """What became of a request; `failure` says why there is no decision."""

    sent: float
    seconds: float
    event_id: str
    failure: str | None = None
    version: str = ""
    revision: str = ""
    bundle: str = ""


@dataclass
class Load:
    """All answers so far, in the order of their arrival."""

    answers: list[Answer] = field(default_factory=list)

    @property
    def failures(self) -> list[Answer]:
        """Those without a decision."""
        return [answer for answer in self.answers if answer.failure]

    def between(self, start: float, end: float) -> Sequence[Answer]:
        """Return the answers to what was sent in an interval of monotonic time."""
        return [answer for answer in self.answers if start <= answer.sent < end]


@contextmanager
def constant_rate(ingress: str, url: str, events: Iterator[Transaction], rate: float) -> Iterator[Load]:
    """Send one event each 1/rate seconds from several connections until the block is left."""
    load, stop, ticket = Load(), threading.Event(), threading.Lock()
    began, due = time.monotonic(), itertools.count()

    def work() -> None:
        endpoint = Endpoint(ingress, url)
        while not stop.is_set():
            with ticket:
                moment, event = began + next(due) / rate, next(events)
            if stop.wait(max(moment - time.monotonic(), 0)):
                return
            answer = _ask(endpoint, event)
            load.answers.append(answer)
            if answer.failure:
                endpoint = Endpoint(ingress, url)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(_WORKERS)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _ask(endpoint: Endpoint, event: Transaction) -> Answer:
    sent = time.monotonic()
    try:
        (decision,) = endpoint.predict([event])
    except (AssertionError, OSError, http.client.HTTPException) as error:
        return Answer(sent, time.monotonic() - sent, event.event_id, failure=repr(error))
    told = (decision["model_version"], decision["revision"], decision["bundle"])
    return Answer(sent, time.monotonic() - sent, event.event_id, None, *told)
