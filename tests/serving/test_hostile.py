"""Thousands of hostile requests on every route: no 5xx, no hang, nothing of the inside, and all well afterwards."""

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import orjson
import psutil
import pyarrow as pa
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

from tests.serving.hostile import (
    ARROW,
    JSON,
    MAX_BODY,
    SECRET,
    Connection,
    Draw,
    Reply,
    Shot,
    Target,
    bombard,
    predictor_targets,
    shots,
    stream,
    transformer_targets,
)
from tests.serving.processes import MODEL, Served, serve_pair
from tests.serving.samples import as_json, instances, transactions, vectors

pytestmark = pytest.mark.xdist_group("serving-hostile")

SEED = 20261125
TRANSFORMER_SHOTS, PREDICTOR_SHOTS, GRPC_SHOTS, PATH_SHOTS = 2_800, 1_800, 600, 400
MOST_GROWTH = 150 << 20
"""Bytes that a server may keep after all of this: allocators do not give everything back."""

LEAKS = (
    "Traceback",
    "site-packages",
    'File "',
    ".py",
    "0x7f",
    SECRET,
    str(Path(sys.prefix)),
    str(Path.cwd()),
    "pydantic",
)
MISTAKES = {400, 404, 405, 408, 413, 415, 422}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Served]]:
    with serve_pair(tmp_path_factory.mktemp("hostile"), request_timeout_seconds=5) as pair:
        yield pair


@pytest.fixture(scope="module")
def ports(pair: tuple[Served, Served]) -> dict[str, int]:
    return {served.role: served.port for served in pair}


def check(shot: Shot, reply: Reply) -> None:
    """Fail unless the reply is a decision or tells the client's mistake in our shape, and no more."""
    told = f"{shot.method} {shot.path} {shot.headers} {shot.framing} {shot.body[:300]!r} -> {reply}"[:2_000]
    hung_up = shot.framing in ("long", "both", "none", "short")
    if reply.status == 0:
        assert hung_up or len(shot.wire()) > 60_000, told
        return
    assert reply.status == 200 or reply.status in MISTAKES, told
    text = reply.body.decode("utf-8") + str(reply.headers) if ARROW not in str(reply.headers) else str(reply.headers)
    assert not [leak for leak in LEAKS if leak in text and leak.encode() not in shot.body], told
    if reply.body.startswith(b"Invalid HTTP request"):  # the parser's, before there is a request
        assert reply.status == 400
        return
    if reply.status != 200 and shot.method != "HEAD":
        error = orjson.loads(reply.body)["error"]
        assert set(error) <= {"code", "field", "message", "row"}, told
        assert len(reply.body) < 1_500, told


def memory(served: Served) -> int:
    return int(psutil.Process(served.process.pid).memory_info().rss)


def assert_well(pair: tuple[Served, Served], before: dict[str, Any]) -> None:
    """Fail unless both servers are up, decide as before, and logged no mistake of theirs."""
    predictor, transformer = pair
    assert decided(pair) == before
    for served in (predictor, transformer):
        assert served.is_ready()
        failures = [line for line in served.errors.splitlines() if "request failed" in line or "Traceback" in line]
        assert not failures, failures[0]


def decided(pair: tuple[Served, Served]) -> dict[str, Any]:
    """Return what both servers make of the same event and vectors; a repeated event has the first vector."""
    predictor, transformer = pair
    event = as_json(transactions("witness", 1)[0])
    answers = {
        "event": transformer.predict(event),
        "explained": transformer.post(f"{transformer.path}:explain", {"instances": [event]}),
        "vectors": predictor.predict(*instances(vectors(2))),
    }
    found = {}
    for name, answer in answers.items():
        assert answer.status_code == 200, answer.text
        rows = answer.json()["predictions"]
        found[name] = [{key: value for key, value in row.items() if key != "decided_at"} for row in rows]
    return found


@pytest.fixture(scope="module")
def before(pair: tuple[Served, Served]) -> dict[str, Any]:
    return decided(pair)


@pytest.mark.parametrize("role", ["transformer", "predictor"])
def test_thousands_of_mutated_bodies_are_decided_or_refused(
    pair: tuple[Served, Served], ports: dict[str, int], before: dict[str, Any], role: str
) -> None:
    targets, count = (
        (transformer_targets(), TRANSFORMER_SHOTS) if role == "transformer" else (predictor_targets(), PREDICTOR_SHOTS)
    )
    for target in targets:
        assert asyncio.run(fire(ports, valid(target))).status == 200, target.path
    statuses: Counter[int] = Counter()
    by_path: Counter[tuple[str, int]] = Counter()

    def count_and_check(shot: Shot, reply: Reply) -> None:
        statuses[reply.status] += 1
        by_path[shot.path, reply.status // 100] += 1
        check(shot, reply)

    volley = list(shots(targets, count, SEED))
    asyncio.run(bombard(ports, volley[: count // 4], count_and_check))
    early = [memory(served) for served in pair]
    asyncio.run(bombard(ports, volley[count // 4 :], count_and_check))
    growth = [memory(served) - rss for served, rss in zip(pair, early, strict=True)]
    assert statuses.total() == count
    assert min(statuses[200], statuses[400], statuses[422], statuses[415]) > 10, statuses
    assert all(by_path[target.path, 4] > 10 for target in targets), by_path
    assert max(growth) < MOST_GROWTH, growth
    assert_well(pair, before)


def valid(target: Target) -> Shot:
    return Shot(
        target.role, "POST", target.path, target.valid(), (*target.headers, ("content-type", target.content_type))
    )


async def fire(ports: dict[str, int], shot: Shot) -> Reply:
    connection = Connection(ports)
    try:
        return await connection.fire(shot)
    finally:
        connection.close()


def test_paths_and_methods_that_do_not_exist_are_refused(
    pair: tuple[Served, Served], ports: dict[str, int], before: dict[str, Any]
) -> None:
    draw = Draw(SEED)
    known = [
        f"/v1/models/{MODEL}",
        f"/v2/models/{MODEL}",
        "/v1/models",
        "/v2/models",
        "/v2/repository/models",
        "/metrics",
    ]
    ends = ("", "/", ":predict", "/infer", "/unload", "/load", "/ready", "/../..", "/%00", "?a=b", "/versions/99/infer")
    ends += ("/%2e%2e/%2e%2e/etc/passwd", "//", "/schema", ":batch", ":vectors", "/docs", "/openapi.json", "/x" * 500)

    def shot() -> Shot:
        path = draw.choice(known) + draw.choice(ends)
        method = draw.choice(("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "BREW"))
        return Shot(draw.choice(("transformer", "predictor")), method, path, b"{}" if method == "POST" else b"")

    asyncio.run(bombard(ports, [shot() for _ in range(PATH_SHOTS)], check))
    assert_well(pair, before)


def test_bytes_that_are_no_http_close_the_connection_and_nothing_else(
    pair: tuple[Served, Served], ports: dict[str, int], before: dict[str, Any]
) -> None:
    draw = Draw(SEED)
    noise = [draw.randbytes(draw.randrange(1, 300)) for _ in range(100)]
    noise += [
        b"POST / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"\r\n" * 1_000,
    ]
    noise += [b"POST / HTTP/1.1\r\ncontent-length: -5\r\n\r\n", b"POST / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000 + b"\r\n"]
    noise += [
        b"GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nZZZ\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    ]

    async def throw(port: int, content: bytes) -> bytes:
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(content)
                writer.write_eof()
                return await reader.read()
            except ConnectionError:
                return b""
            finally:
                writer.close()

    async def all_of_it() -> list[bytes]:
        return [await throw(port, content) for port in ports.values() for content in noise]

    for answer in asyncio.run(all_of_it()):
        assert not answer or answer.split(b" ")[1].startswith(b"4"), answer[:200]
        assert not [leak for leak in LEAKS if leak.encode() in answer]
    assert_well(pair, before)


def test_bodies_of_many_megabytes_are_refused_before_they_are_kept(
    pair: tuple[Served, Served], ports: dict[str, int], before: dict[str, Any]
) -> None:
    early = [memory(served) for served in pair]
    huge = b'{"instances":["' + b"x" * (MAX_BODY + 1) + b'"]}'
    path = f"/v1/models/{MODEL}:predict"
    for role in ports:
        for framing in ("length", "chunked"):
            reply = asyncio.run(fire(ports, Shot(role, "POST", path, huge, (("content-type", JSON),), framing)))
            assert reply.status in (413, 0)
    assert max(memory(served) - rss for served, rss in zip(pair, early, strict=True)) < MOST_GROWTH
    assert_well(pair, before)


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_a_compressed_batch_cannot_grow_beyond_all_measure(
    pair: tuple[Served, Served], ports: dict[str, int], before: dict[str, Any], compression: str
) -> None:
    rows = 40_000_000
    bomb = stream(pa.table({"amount": np.zeros(rows)}), compression=compression)
    assert len(bomb) < MAX_BODY
    early = memory(pair[1])
    shot = Shot("transformer", "POST", f"/v1/models/{MODEL}:batch", bomb, (("content-type", ARROW),))
    reply = asyncio.run(fire(ports, shot))
    check(shot, reply)
    assert reply.status == 415
    assert memory(pair[1]) - early < MOST_GROWTH
    assert_well(pair, before)


GRPC_METHODS = ("ModelInfer", "ModelReady", "ModelMetadata", "ServerReady", "RepositoryModelUnload")
GRPC_MISTAKES = {"INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED"}


def hostile_message(role: str, draw: Draw) -> bytes:
    """Return a mutated request of ModelInfer, or rubbish."""
    request = pb.ModelInferRequest(model_name=draw.choice((MODEL,) * 8 + ("other", "")))
    names = ("event_id", "event_time", "amount", "customer_id") if role == "transformer" else ("features", "event_id")
    raw = draw.random() < 0.4
    for name in draw.choices((*names, "x"), k=draw.randrange(5)):
        size = draw.choice((0, 1, 2, 2, 2, 88, -1, 2**40))
        shape = [size] if draw.random() < 0.8 else [size, draw.choice((1, 2, 88, 2**62))]
        kind = draw.choice(("BYTES", "FP64", "FP32", "INT64", "FP16", "BOOL", "", "FP99"))
        tensor = request.inputs.add(name=name, datatype=kind, shape=shape)
        if draw.random() < 0.2:
            tensor.parameters["binary_data_size"].int64_param = draw.choice((0, -1, 2**60))
        if raw:
            request.raw_input_contents.append(draw.randbytes(draw.choice((0, 4, 16, 700))))
            continue
        tensor.contents.bytes_contents.extend(
            draw.choice((b"", b"a", b"\xff", b"2026-06-10T12:00:00Z")) for _ in range(2)
        )
        if draw.random() < 0.5:
            tensor.contents.fp64_contents.extend(
                draw.choice((0.0, float("nan"), float("inf"), 1e308)) for _ in range(2)
            )
    content: bytes = request.SerializeToString()
    if draw.random() < 0.2:
        content = draw.randbytes(draw.randrange(60))
    return content


def test_hostile_messages_over_grpc_are_decided_or_refused(pair: tuple[Served, Served], before: dict[str, Any]) -> None:
    draw, statuses = Draw(SEED), Counter[str]()
    for served in pair:
        with grpc.insecure_channel(f"127.0.0.1:{served.grpc_port}") as channel:
            for number in range(GRPC_SHOTS // 2):
                method = "ModelInfer" if number % 4 else draw.choice(GRPC_METHODS)
                call = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
                message = hostile_message(served.role, draw)
                try:
                    call(message, timeout=20, metadata=(("authorization", SECRET),))
                    statuses["OK"] += 1
                except grpc.RpcError as error:
                    statuses[error.code().name] += 1
                    details = error.details() or ""
                    assert error.code().name in GRPC_MISTAKES, (method, message, error)
                    assert not [leak for leak in LEAKS if leak in details], details
    assert statuses["INVALID_ARGUMENT"] > 100, statuses
    assert_well(pair, before)
