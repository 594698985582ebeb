"""Whether the servers decide as the same bundle decides offline, row by row."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import orjson
import pyarrow as pa
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

from tests.benchmarks.serving_bodies import Body, arrow, event, grpc_messages, read_live, v1, v2
from tests.benchmarks.serving_fleet import MODEL
from tests.benchmarks.serving_load import INFER
from tests.benchmarks.serving_model import Prepared
from vigil.clock import from_micros
from vigil.contracts.events import Transaction
from vigil.decisions.bundled import load_decider
from vigil.decisions.decider import Asked
from vigil.features.online import OnlineFeatures
from vigil.features.states import hydrate
from vigil.features.store.memory import MemoryStore
from vigil.members.base import FeatureMatrix
from vigil.registry.bundle import load_bundle

Row = dict[str, Any]
STEPS = (("v1", 1, 500), ("v2", 1, 300), ("grpc", 1, 300), ("v1", 256, 4), ("v2", 256, 4), ("grpc", 256, 4))
ARROW_STEPS = (("arrow", 1_024, 10),)
COMPARED = ("decision_id", "action", "severity", "score", "threshold", "reasons")


def count_differing(prepared: Prepared, http: int, rpc: int) -> tuple[int, int]:
    """Return how many rows were served, and how many of them differ from the decisions offline."""
    offline, rows, differing = Offline(prepared), 0, 0
    with (
        httpx.Client(base_url=f"http://127.0.0.1:{http}", timeout=60, trust_env=False) as client,
        grpc.insecure_channel(f"127.0.0.1:{rpc}") as channel,
    ):
        for number, (kind, size, count) in enumerate((*STEPS, *ARROW_STEPS)):
            run = f"parity-{number}"
            for served, block in _served(prepared, client, channel, (kind, size, count, run)):
                expected = offline.decide(block, run)
                rows += len(expected)
                differing += sum(ours != theirs for ours, theirs in zip(served, expected, strict=True))
    return rows, differing


class Offline:
    """The same bundle and the same states, without servers: each event goes through alone."""

    def __init__(self, prepared: Prepared) -> None:
        self._decider = load_decider(load_bundle(prepared.bundle))
        schema = self._decider.schema
        store = MemoryStore()
        hydrate(store, Path(prepared.states), schema.content_hash)
        self._features = OnlineFeatures(schema.compile(), store)
        self._live = read_live(prepared.live)

    def decide(self, block: range, run: str) -> list[Row]:
        """Return the decisions on some rows of the live transactions."""
        number = block.start // len(block)
        events = [Transaction.model_validate(event(self._live, row, f"{run}-{number}-{row}")) for row in block]
        values = np.full((len(events), len(self._decider.schema.names)), np.nan, np.float32)
        for k in sorted(range(len(events)), key=lambda k: (events[k].event_time, events[k].event_id)):
            values[k] = self._features.process(events[k]).values
        matrix = FeatureMatrix(values, self._decider.schema.names)
        records = self._decider.decide(matrix, [Asked(one.event_id) for one in events], from_micros(0))
        return [_row(record.model_dump(mode="json") | {"decision_id": record.decision_id}) for record in records]


def _row(decision: Row) -> Row:
    """Return what is compared of a decision in any protocol."""
    found = {name: decision[name] for name in COMPARED}
    found["reasons"] = found["reasons"] or []
    levels = decision.get("levels") or {k[6:]: v for k, v in decision.items() if k.startswith("level_")}
    return {**found, "levels": dict(levels)}


def _served(
    prepared: Prepared, client: httpx.Client, channel: grpc.Channel, step: tuple[str, int, int, str]
) -> Iterator[tuple[list[Row], range]]:
    kind, size, count, run = step
    if kind == "grpc":
        call = channel.unary_unary(INFER)
        for k, message in zip(range(count), grpc_messages(prepared.live, size, run, MODEL), strict=False):
            yield _from_proto(pb.ModelInferResponse.FromString(call(message))), range(k * size, (k + 1) * size)
        return
    make = {"v1": v1, "v2": v2, "arrow": arrow}[kind]
    for k, body in zip(range(count), make(prepared.live, size, run), strict=False):
        yield _asked(client, body, kind), range(k * size, (k + 1) * size)


def _asked(client: httpx.Client, body: Body, kind: str) -> list[Row]:
    answer = client.post(
        body.path.format(model=MODEL), content=body.content, headers={"content-type": body.content_type}
    )
    answer.raise_for_status()
    if kind == "v1":
        return [_row(row) for row in orjson.loads(answer.content)["predictions"]]
    if kind == "v2":
        return _from_columns({output["name"]: output["data"] for output in orjson.loads(answer.content)["outputs"]})
    with pa.ipc.open_stream(answer.content) as reader:
        return _from_columns(reader.read_all().to_pydict())


def _from_columns(columns: dict[str, list[Any]]) -> list[Row]:
    columns = {**columns, "reasons": [orjson.loads(text) if text else [] for text in columns["reasons"]]}
    return [_row(dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]


def _from_proto(response: pb.ModelInferResponse) -> list[Row]:
    columns: dict[str, list[Any]] = {}
    for output in response.outputs:
        contents = output.contents
        texts = [value.decode() for value in contents.bytes_contents]
        columns[output.name] = texts or list(contents.fp64_contents)
    return _from_columns(columns)
