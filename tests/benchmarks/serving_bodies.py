"""Bodies of the serving benchmark: transactions of `fraud_handbook` after the training, under ids of their own."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

from vigil.clock import from_micros

JSON, ARROW = "application/json", "application/vnd.apache.arrow.stream"
VARIANTS = 512
"""Different bodies of several rows; more would only cost memory."""


@dataclass(frozen=True)
class Body:
    """One request's body and where it goes."""

    path: str
    content_type: str
    content: bytes


@dataclass(frozen=True)
class Live:
    """Transactions as plain columns."""

    times: list[str]
    micros: np.ndarray[Any, Any]
    amounts: np.ndarray[Any, Any]
    customers: list[str]
    terminals: list[str]


@cache
def read_live(path: str) -> Live:
    """Return the transactions in the file."""
    with np.load(path) as file:
        micros, amounts = file["times"], file["amounts"]
        customers, terminals = (file[name].astype(str).tolist() for name in ("customer_id", "terminal_id"))
    times = [(from_micros(int(micro)) + timedelta(0)).isoformat() for micro in micros]
    return Live(times, micros, amounts, customers, terminals)


def event(live: Live, row: int, event_id: str) -> dict[str, Any]:
    """Return a transaction as its JSON."""
    return {
        "event_id": event_id,
        "event_time": live.times[row],
        "amount": float(live.amounts[row]),
        "customer_id": live.customers[row],
        "terminal_id": live.terminals[row],
    }


def blocks(live: Live, rows: int) -> list[range]:
    """Return ranges of rows that the bodies take in turn."""
    count = len(live.times) // rows
    return [range(k * rows, (k + 1) * rows) for k in range(count if rows == 1 else min(count, VARIANTS))]


def v1(path: str, rows: int, run: str) -> Iterator[Body]:
    """Yield V1 bodies of events."""
    live, number = read_live(path), 0
    places = blocks(live, rows)
    rest: dict[int, bytes] = {}
    while True:
        block = places[number % len(places)]
        parts = []
        for row in block:
            if row not in rest:
                rest[row] = orjson.dumps(event(live, row, ""))[len(b'{"event_id":""') :]
            parts.append(b'{"event_id":"%s-%d-%d"%b' % (run.encode(), number, row, rest[row]))
        yield Body("/v1/models/{model}:predict", JSON, b'{"instances":[' + b",".join(parts) + b"]}")
        number += 1


def v2(path: str, rows: int, run: str) -> Iterator[Body]:
    """Yield V2 bodies of events, a tensor for each column."""
    live, number = read_live(path), 0
    places = blocks(live, rows)
    rest: dict[int, bytes] = {}
    while True:
        place = number % len(places)
        if place not in rest:
            rest[place] = orjson.dumps(_tensors(live, places[place]))[1:]
        ids = _ids(run, number, places[place])
        first = orjson.dumps({"name": "event_id", "datatype": "BYTES", "shape": [rows], "data": ids})
        yield Body("/v2/models/{model}/infer", JSON, b'{"inputs":[' + first + b"," + rest[place] + b"}")
        number += 1


def _ids(run: str, number: int, block: range) -> list[str]:
    return [f"{run}-{number}-{row}" for row in block]


def _columns(live: Live, block: range) -> dict[str, list[Any]]:
    return {
        "event_time": [live.times[row] for row in block],
        "amount": live.amounts[block.start : block.stop].tolist(),
        "customer_id": [live.customers[row] for row in block],
        "terminal_id": [live.terminals[row] for row in block],
    }


def _tensors(live: Live, block: range) -> list[dict[str, Any]]:
    return [
        {"name": name, "datatype": "FP64" if name == "amount" else "BYTES", "shape": [len(block)], "data": values}
        for name, values in _columns(live, block).items()
    ]


def arrow(path: str, rows: int, run: str) -> Iterator[Body]:
    """Yield Arrow streams of events."""
    live, number = read_live(path), 0
    places = blocks(live, rows)
    while True:
        block = places[number % len(places)]
        columns = _columns(live, block)
        columns["event_time"] = pa.array(live.micros[block.start : block.stop]).cast(pa.timestamp("us", tz="UTC"))
        for name in ("customer_id", "terminal_id"):
            columns[name] = pa.array(columns[name]).dictionary_encode()
        table = pa.table({"event_id": _ids(run, number, block), **columns})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        yield Body("/v1/models/{model}:batch", ARROW, bytes(sink.getvalue()))
        number += 1


def matrix(path: str, rows: int, run: str) -> Iterator[Body]:
    """Yield V1 bodies of bare rows, as the stock servers take them; `run` tells their width."""
    width = int(run.rpartition(":")[2])
    values = np.random.default_rng(0).gamma(2.0, 10.0, (VARIANTS, rows, width)).round(3)
    contents = [orjson.dumps({"instances": block.tolist()}) for block in values[: max(VARIANTS // rows, 8)]]
    number = 0
    while True:
        yield Body("/v1/models/{model}:predict", JSON, contents[number % len(contents)])
        number += 1


def vectors(path: str, rows: int, run: str) -> Iterator[Body]:
    """Yield V1 bodies of named vectors for our predictor; `run` ends in the names of the features."""
    run, _, text = run.partition(":")
    names = text.split(",")
    values = np.random.default_rng(0).gamma(2.0, 10.0, (max(VARIANTS // rows, 8), rows, len(names))).round(3)
    made = [[orjson.dumps(dict(zip(names, row, strict=True))) for row in block.tolist()] for block in values]
    number = 0
    while True:
        block = made[number % len(made)]
        parts = [
            b'{"event_id":"%s-%d-%d","features":%b}' % (run.encode(), number, k, row) for k, row in enumerate(block)
        ]
        yield Body("/v1/models/{model}:predict", JSON, b'{"instances":[' + b",".join(parts) + b"]}")
        number += 1


BODIES: dict[str, Callable[[str, int, str], Iterator[Body]]] = {
    "v1": v1,
    "v2": v2,
    "arrow": arrow,
    "matrix": matrix,
    "vectors": vectors,
}


def grpc_messages(path: str, rows: int, run: str, model: str) -> Iterator[bytes]:
    """Yield V2 requests for gRPC."""
    live, number = read_live(path), 0
    places = blocks(live, rows)
    rest: dict[int, bytes] = {}
    while True:
        place = number % len(places)
        if place not in rest:
            rest[place] = _message(model, _columns(live, places[place])).SerializeToString()
        ids = pb.ModelInferRequest()
        tensor = ids.inputs.add(name="event_id", datatype="BYTES", shape=[rows])
        tensor.contents.bytes_contents.extend(name.encode() for name in _ids(run, number, places[place]))
        yield rest[place] + ids.SerializeToString()  # messages that follow each other are merged
        number += 1


def _message(model: str, columns: dict[str, list[Any]]) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=model)
    for name, values in columns.items():
        kind = "FP64" if name == "amount" else "BYTES"
        tensor = request.inputs.add(name=name, datatype=kind, shape=[len(values)])
        if name == "amount":
            tensor.contents.fp64_contents.extend(values)
        else:
            tensor.contents.bytes_contents.extend(value.encode() for value in values)
    return request
