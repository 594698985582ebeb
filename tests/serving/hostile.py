"""What a hostile client sends: valid bodies, mutated from a seed; and a client that sends bytes as they are."""

import asyncio
import json
import random
import string
import struct
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from tests.serving.processes import MODEL
from tests.serving.samples import as_json, decider, instances, transactions, vectors
from vigil.contracts.events import Transaction, to_table
from vigil.serving.wire import ARROW, VECTORS, Vectors, pack

SECRET = "hostile-secret-4711"
JSON = "application/json"
OCTETS = "application/octet-stream"
MAX_BODY = 16 << 20

Draw = random.Random

_NUMBERS = (0, -1, 2**63, -(2**63), 10**400, 1e308, -1e308, 5e-324, 1.5, True, False)
_TEXTS = (
    "",
    " ",
    "\x00",
    "a\x00b",
    "x" * 129,
    "y" * 70_000,
    "\U0001f4a3\u202e\u0000\ufeff",
    "NaN",
    "Infinity",
    "1e999",
    "9999-12-31T23:59:59.999999+14:00",
    "0001-01-01T00:00:00Z",
    "2026-06-10T12:00:00",
    "2026-13-45T99:99:99Z",
    "../../etc/passwd",
    "{{7*7}}",
    "'; DROP TABLE events; --",
    "<script>",
    "%s%n%x",
    "sha256:" + "0" * 64,
    "transaction",
    "BYTES",
    "FP16",
)


def _nested(draw: Draw) -> Any:
    value: Any = draw.choice((1, "x", None))
    for _ in range(draw.choice((1, 3, 30, 200))):
        value = [value] if draw.random() < 0.5 else {"a": value}
    return value


def _value(draw: Draw) -> Any:
    """Return something that hardly any field expects."""
    kind = draw.randrange(6)
    if kind == 0:
        return draw.choice(_NUMBERS)
    if kind == 1:
        return draw.choice(_TEXTS)
    if kind == 2:
        return _nested(draw)
    if kind == 3:
        return draw.choice((None, [], {}, [None], [[]], {"": ""}))
    if kind == 4:
        return ["x"] * draw.choice((1, 2, 5_000))
    return "".join(draw.choices(string.printable, k=draw.randrange(200)))


def _paths(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _paths(value, (*path, key))
    elif isinstance(node, list):
        for number, value in enumerate(node[:3]):
            yield from _paths(value, (*path, number))


def _mutate_tree(document: Any, draw: Draw) -> Any:
    """Return the document with one to three places replaced, removed, renamed, added or repeated."""
    found = deepcopy(document)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        path = draw.choice(list(_paths(found)))
        if not path:
            if draw.random() < 0.1:
                return _value(draw)
            continue
        parent = found
        for step in path[:-1]:
            parent = parent[step]
        _mutate_place(parent, path[-1], draw)
    return found


def _mutate_place(parent: Any, key: Any, draw: Draw) -> None:
    action = draw.randrange(6)
    if action == 0:
        del parent[key]
    elif action == 1 and isinstance(parent, dict):
        parent[draw.choice(("", "x", "__proto__", "a" * 500, "\x00", "Ω"))] = parent.pop(key)
    elif action == 2 and isinstance(parent, dict):
        parent[draw.choice(("extra", "kind", "parameters", "id"))] = _value(draw)
    elif action == 3 and isinstance(parent, list):
        parent.extend([deepcopy(parent[key])] * draw.choice((1, 50)))
    else:
        parent[key] = _value(draw)


def _render(document: Any, draw: Draw) -> bytes:
    """Return JSON, now and then with what JSON forbids: NaN, lone surrogates, a key twice."""
    text = json.dumps(document, ensure_ascii=draw.random() < 0.5)
    trick = draw.randrange(12)
    if trick == 0:
        text = text.replace(": ", f": {draw.choice(('NaN', 'Infinity', '-Infinity', '1e999', '01', '0x1'))}, ", 1)
    elif trick == 1:
        text = text.replace('": "', '": "\\ud800', 1)
    elif trick == 2 and text.startswith("{"):
        text = text[:-1] + ", " + text[1:]
    return text.encode("utf-8", "surrogatepass")


def _mutate_bytes(body: bytes, draw: Draw) -> bytes:
    """Return the bytes cut, flipped, repeated, or with rubbish in the middle."""
    if not body:
        return draw.randbytes(9)
    place = draw.randrange(len(body))
    action = draw.randrange(6)
    if action == 0:
        return body[:place]
    if action == 1:
        flipped = bytearray(body)
        for _ in range(draw.choice((1, 2, 8))):
            flipped[draw.randrange(len(body))] ^= 1 << draw.randrange(8)
        return bytes(flipped)
    if action == 2:
        return body[:place] + draw.randbytes(draw.choice((1, 4, 64))) + body[place:]
    if action == 3:
        return body + body[: draw.randrange(len(body))]
    if action == 4:
        return b"\xef\xbb\xbf" + body
    return body[:place] + body[place + draw.choice((1, 4, 8)) :]


def mutated_json(document: Any, draw: Draw) -> bytes:
    """Return one hostile body from a valid document."""
    kind = draw.randrange(10)
    if kind < 7:
        return _render(_mutate_tree(document, draw), draw)
    if kind < 9:
        return _mutate_bytes(orjson.dumps(document), draw)
    return draw.choice(_WHOLE)


_WHOLE: tuple[bytes, ...] = (
    b"",
    b" ",
    b"null",
    b"0",
    b'""',
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b'{"instances":' + b"[" * 500 + b"]" * 500 + b"}",
    b'{"instances":[' + b"{}," * 2_000 + b"{}]}",
    b'{"instances":[{"event_id":"' + b"z" * 500_000 + b'"}]}',
    b"\x00" * 1_000,
    b"\xff\xfe{\x00}\x00",
    b'{"instances": [1e999999]}',
    b'{"instances": [' + b"9" * 5_000 + b"]}",
    b"GET / HTTP/1.1\r\n\r\n",
)


@dataclass(frozen=True)
class Shot:
    """One request as bytes on the wire."""

    role: str
    method: str
    path: str
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    framing: str = "length"
    """length, chunked, short (the length says less), long (it says more, then the client hangs up), both, none."""

    def wire(self) -> bytes:
        """Return the request."""
        lines = [f"{self.method} {self.path} HTTP/1.1", "host: vigil", f"authorization: Bearer {SECRET}"]
        lines += [f"cookie: session={SECRET}", *(f"{name}: {value}" for name, value in self.headers)]
        sent = self.body
        if self.framing in ("chunked", "both"):
            lines.append("transfer-encoding: chunked")
            pieces = [self.body[k : k + 4_000] for k in range(0, len(self.body), 4_000)]
            sent = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        lengths = {"length": 0, "short": -len(self.body) // 2, "long": 10, "both": 0}
        if self.framing in lengths:
            lines.append(f"content-length: {max(len(self.body) + lengths[self.framing], 0)}")
        if self.framing != "length":
            lines.append("connection: close")
        return "\r\n".join([*lines, "", ""]).encode("utf-8", "replace") + sent


@dataclass(frozen=True)
class Target:
    """A route that takes bodies, and a valid one for it."""

    role: str
    path: str
    content_type: str
    document: Any = None
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()

    def valid(self) -> bytes:
        """Return the valid body."""
        return self.body if self.document is None else orjson.dumps(self.document)

    def shot(self, draw: Draw) -> Shot:
        """Return a request with a hostile body, and now and then with hostile headers or framing."""
        is_json = self.document is not None
        body = mutated_json(self.document, draw) if is_json else _mutate_bytes(self.body, draw)
        content_type, headers, framing = self.content_type, list(self.headers), "length"
        if draw.random() < 0.1:
            content_type = draw.choice((*_CONTENT_TYPES, self.content_type.upper()))
        if draw.random() < 0.1:
            headers.append(draw.choice(_HEADERS))
        if draw.random() < 0.15:
            framing = draw.choice(("chunked", "chunked", "chunked", "short", "long", "both", "none"))
        if content_type:
            headers.append(("content-type", content_type))
        method = "POST" if draw.random() < 0.97 else draw.choice(("GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"))
        return Shot(self.role, method, self.path, body, tuple(headers), framing)


_CONTENT_TYPES = (
    "",
    "text/plain",
    "application/xml",
    "application/json; charset=utf-16",
    "application/cloudevents+json",
    "multipart/form-data; boundary=x",
    "application/octet-stream",
    ARROW,
    VECTORS,
    ";",
    "a" * 2_000,
)
_HEADERS = (
    ("content-encoding", "gzip"),
    ("inference-header-content-length", "5"),
    ("inference-header-content-length", "-1"),
    ("inference-header-content-length", "99999999999999999999"),
    ("inference-header-content-length", "²"),
    ("x-request-id", "i" * 5_000),
    ("x-request-id", "\x7f\x80 evil"),
    ("traceparent", "00-zz"),
    ("ce-specversion", "1.0"),
    ("ce-specversion", "0.3"),
    ("expect", "100-continue"),
    ("upgrade", "websocket"),
    ("content-length", "3"),
    ("accept", "text/html"),
    ("x-long", "h" * 30_000),
)


def stream(table: pa.Table, **options: Any) -> bytes:
    """Return the table as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _tensors(columns: dict[str, list[Any]], types: dict[str, str]) -> list[dict[str, Any]]:
    return [
        {"name": name, "datatype": types.get(name, "BYTES"), "shape": [len(values)], "data": values}
        for name, values in columns.items()
    ]


def _binary(name: str, datatype: str, shape: list[int], raw: bytes) -> tuple[dict[str, Any], bytes]:
    size = {"binary_data_size": len(raw)}
    return {"name": name, "datatype": datatype, "shape": shape, "parameters": size}, raw


def _binary_body(parts: Sequence[tuple[dict[str, Any], bytes]], **more: Any) -> tuple[bytes, str]:
    header = orjson.dumps({"inputs": [tensor for tensor, _ in parts], **more})
    return header + b"".join(raw for _, raw in parts), str(len(header))


def _texts(values: Sequence[str]) -> bytes:
    return b"".join(struct.pack("<I", len(value.encode())) + value.encode() for value in values)


def transformer_targets() -> list[Target]:
    """Return the transformer's routes."""
    events = [as_json(event) for event in transactions("hostile", 4)]
    path, infer = f"/v1/models/{MODEL}", f"/v2/models/{MODEL}/infer"
    columns = {name: [event[name] for event in events] for name in ("event_id", "event_time", "customer_id", "amount")}
    others = [
        {"kind": "verdict", "event_id": "v1", "event_time": events[0]["event_time"], "transaction_id": "t"}
        | {"is_fraud": True, "source": "analyst", "terminal_id": "m1"},
        {"kind": "stock_level", "event_id": "l1", "event_time": events[0]["event_time"], "site_id": "s1"}
        | {"product_id": "p1", "on_hand": 3},
    ]
    raw, length = _binary_body(
        [
            _binary("event_id", "BYTES", [2], _texts(["hostile-b0", "hostile-b1"])),
            _binary("event_time", "BYTES", [2], _texts([event["event_time"] for event in events[:2]])),
            _binary("amount", "FP64", [2], np.array([1.0, 2.0]).tobytes()),
        ]
    )
    cloud_event = {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "time": events[0]["event_time"]}
    ce_headers = tuple((f"ce-{name}", value) for name, value in cloud_event.items())
    cloud_event["data"] = {"instances": events[:1]}
    return [
        Target("transformer", f"{path}:predict", JSON, {"instances": events}),
        Target("transformer", f"{path}:explain", JSON, {"instances": events[:2]}),
        Target("transformer", f"{path}/events", JSON, {"events": others}),
        Target("transformer", infer, JSON, {"inputs": _tensors(columns, {"amount": "FP64"}), "id": "7"}),
        Target("transformer", infer, OCTETS, None, raw, (("inference-header-content-length", length),)),
        Target(
            "transformer", f"{path}:batch", ARROW, None, stream(to_table(Transaction, list(transactions("hb", 40))))
        ),
        Target("transformer", f"{path}:predict", "application/cloudevents+json", cloud_event),
        Target("transformer", f"{path}:predict", JSON, {"instances": events[:2]}, b"", ce_headers),
    ]


def predictor_targets() -> list[Target]:
    """Return the predictor's routes."""
    path, infer = f"/v1/models/{MODEL}", f"/v2/models/{MODEL}/infer"
    schema, matrix = decider().schema.content_hash, vectors(3)
    ids = [f"hostile-{row}" for row in range(len(matrix))]
    tensors = [
        {"name": "features", "datatype": "FP32", "shape": list(matrix.values.shape), "data": matrix.values.tolist()},
        {"name": "event_id", "datatype": "BYTES", "shape": [len(ids)], "data": ids},
    ]
    parameters = {"feature_schema": schema}
    raw, length = _binary_body(
        [
            _binary("features", "FP32", list(matrix.values.shape), matrix.values.tobytes()),
            _binary("event_id", "BYTES", [len(ids)], _texts(ids)),
        ],
        parameters=parameters,
    )
    return [
        Target("predictor", f"{path}:predict", JSON, {"instances": instances(matrix, "hostile")[:2]}),
        Target("predictor", f"{path}:explain", JSON, {"instances": instances(matrix, "hostile")[:1]}),
        Target("predictor", infer, JSON, {"inputs": tensors, "parameters": parameters}),
        Target("predictor", infer, OCTETS, None, raw, (("inference-header-content-length", length),)),
        Target("predictor", f"{path}:vectors", VECTORS, None, pack(Vectors(ids, matrix.values, schema))),
    ]


def shots(targets: Sequence[Target], count: int, seed: int) -> Iterator[Shot]:
    """Yield `count` hostile requests, spread over the targets; the same seed gives the same ones."""
    draw = Draw(seed)
    for number in range(count):
        yield targets[number % len(targets)].shot(draw)


@dataclass
class Reply:
    """What came back; status 0: the server closed the connection without a word."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class Connection:
    """One client that sends shots one after the other, on one connection as long as it stands."""

    def __init__(self, ports: dict[str, int], timeout: float = 20.0) -> None:
        self._ports = ports
        self._timeout = timeout
        self._open: dict[str, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}

    async def fire(self, shot: Shot) -> Reply:
        """Send the shot and return the reply; TimeoutError is a server that hangs."""
        async with asyncio.timeout(self._timeout):
            reader, writer = await self._connected(shot.role)
            try:
                writer.write(shot.wire())
                if shot.framing == "long":
                    await writer.drain()
                    writer.write_eof()
                reply = await _read(reader, shot.method == "HEAD")
            except (ConnectionError, asyncio.IncompleteReadError):
                reply = Reply(0)
            if reply.status == 0 or shot.framing != "length" or reply.headers.get("connection") == "close":
                self._drop(shot.role)
        return reply

    async def _connected(self, role: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if role not in self._open:
            self._open[role] = await asyncio.open_connection("127.0.0.1", self._ports[role], limit=1 << 20)
        return self._open[role]

    def _drop(self, role: str) -> None:
        self._open.pop(role)[1].close()

    def close(self) -> None:
        """Close all connections."""
        for role in list(self._open):
            self._drop(role)


async def _read(reader: asyncio.StreamReader, is_head: bool) -> Reply:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in filter(None, lines[1:]):
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    status = int(lines[0].split(" ")[1])
    if status == 100:
        return await _read(reader, is_head)
    length = 0 if is_head else int(headers.get("content-length", "0"))
    body = await reader.readexactly(length) if "transfer-encoding" not in headers else await reader.read()
    return Reply(status, headers, body)


async def bombard(
    ports: dict[str, int], volley: Sequence[Shot], check: Callable[[Shot, Reply], None], clients: int = 8
) -> None:
    """Send all shots from several clients at once, and check each reply."""
    waiting = iter(volley)

    async def client() -> None:
        connection = Connection(ports)
        try:
            for shot in waiting:
                check(shot, await connection.fire(shot))
        finally:
            connection.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())
