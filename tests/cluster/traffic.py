"""Requests through the ingress of the cluster, and what an offline run says about the same events."""

import http.client
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import numpy as np

from vigil.contracts.events import Transaction, to_table
from vigil.decisions.bundled import load_decider
from vigil.decisions.decider import Asked
from vigil.decisions.record import DecisionRecord
from vigil.features.engine import compute_tables
from vigil.members.base import FeatureMatrix
from vigil.registry.bundle import load_bundle

MODEL = "card_fraud"
START = datetime(2026, 6, 1, 8, tzinfo=UTC)


def make_events(count: int, seed: int, prefix: str = "e") -> list[Transaction]:
    """Return transactions of a few customers at a few terminals, in time order."""
    random = np.random.default_rng(seed)
    times = np.cumsum(random.integers(1, 600, count))
    return [
        Transaction(
            event_id=f"{prefix}{number}",
            event_time=START + timedelta(seconds=int(times[number])),
            amount=float(np.round(random.gamma(2.0, 30.0), 2)),
            customer_id=f"c{random.integers(5)}",
            terminal_id=f"t{random.integers(3)}",
        )
        for number in range(count)
    ]


def decide_offline(events: Sequence[Transaction], bundle: Path) -> dict[str, DecisionRecord]:
    """Return what the offline engine and the bundle's model decide on each event."""
    decider = load_decider(load_bundle(bundle))
    table = compute_tables(decider.schema.compile(), {Transaction.kind: to_table(Transaction, list(events))})
    asked = [Asked(event_id) for event_id in table.event_ids.to_pylist()]
    records = decider.decide(FeatureMatrix(table.values, table.names), asked, START)
    return {record.event_id: record for record in records}


class Endpoint:
    """One connection to a model behind the ingress."""

    def __init__(self, ingress: str, url: str) -> None:
        self._host = urlsplit(url).netloc
        self._connection = http.client.HTTPConnection(ingress, 80, timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Return status and decoded body of the answer."""
        headers = {"Host": self._host, "Content-Type": "application/json"}
        self._connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = self._connection.getresponse()
        content = answer.read()
        try:
            return answer.status, json.loads(content)
        except ValueError:
            return answer.status, content

    def predict(self, events: Sequence[Transaction]) -> list[dict[str, Any]]:
        """Return the decisions of the V1 protocol."""
        rows = [event.model_dump(mode="json", exclude_none=True) for event in events]
        status, answer = self.ask("POST", f"/v1/models/{MODEL}:predict", {"instances": rows})
        assert status == 200, answer
        return list(answer["predictions"])

    def infer(self, events: Sequence[Transaction]) -> list[dict[str, Any]]:
        """Return the outputs of the V2 protocol, one mapping for each event."""
        rows = [event.model_dump(mode="json") for event in events]
        kinds = {"event_id": "BYTES", "event_time": "BYTES", "amount": "FP64"}
        kinds |= {"customer_id": "BYTES", "terminal_id": "BYTES"}
        inputs = [
            {"name": name, "datatype": kind, "shape": [len(rows)], "data": [row[name] for row in rows]}
            for name, kind in kinds.items()
        ]
        status, answer = self.ask("POST", f"/v2/models/{MODEL}/infer", {"inputs": inputs})
        assert status == 200, answer
        columns = {output["name"]: output["data"] for output in answer["outputs"]}
        return [{name: values[row] for name, values in columns.items()} for row in range(len(rows))]


@dataclass
class Load:
    """What became of requests that were sent all the time."""

    versions: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    started: threading.Event = field(default_factory=threading.Event)


@contextmanager
def steady_load(ingress: str, url: str) -> Iterator[Load]:
    """Send one request after the other from another thread, and record each answer; the first has come already."""
    load, stop, events = Load(), threading.Event(), make_events(5_000, 5, "load")

    def send() -> None:
        with Endpoint(ingress, url) as endpoint:
            for number, event in enumerate(events):
                if stop.wait(0.05):
                    return
                try:
                    load.versions += [item["model_version"] for item in endpoint.predict([event])]
                except (AssertionError, OSError, http.client.HTTPException) as error:
                    load.failures.append(f"request {number}: {error!r}")
                load.started.set()

    thread = threading.Thread(target=send)
    thread.start()
    try:
        assert load.started.wait(60)
        yield load
    finally:
        stop.set()
        thread.join()
