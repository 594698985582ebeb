"""Limits on size, rows, time and concurrency; and what a caller hears when the predictor is gone or slow."""

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as service

from tests.serving.processes import MODEL, Served, serve, serve_pair
from tests.serving.samples import as_json, decider, instances, transactions, vectors
from tests.serving.test_refusals import JSON, check

pytestmark = pytest.mark.xdist_group("serving-limits")

LIMIT = 20_000


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Served]]:
    limits = {"max_body_bytes": LIMIT, "max_rows": 20, "max_concurrency": 4, "request_timeout_seconds": 2}
    with serve_pair(tmp_path_factory.mktemp("limits"), **limits) as pair:
        yield pair


def test_a_body_that_says_it_is_too_large_is_refused_at_once(transformer: Served) -> None:
    answer = transformer.http.post(f"{transformer.path}:predict", content=b"x" * (LIMIT + 1), headers=JSON)
    assert str(LIMIT) in check(answer, 413, "too_large")


def test_a_stream_is_refused_as_soon_as_it_is_too_large(transformer: Served) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(100_000):
            sent += 1000
            yield b"x" * 1000

    try:
        answer = transformer.http.post(f"{transformer.path}:predict", content=endless(), headers=JSON)
    except httpx.WriteError:
        pass
    else:
        check(answer, 413, "too_large")
    assert sent < 100_000_000
    assert transformer.is_ready()


def test_a_body_of_just_the_limit_is_read(transformer: Served) -> None:
    content = b'{"instances": []' + b" " * (LIMIT - 17) + b"}"
    check(
        transformer.http.post(f"{transformer.path}:predict", content=content, headers=JSON), 422, "invalid", "instances"
    )


def test_too_many_rows_are_refused(predictor: Served, transformer: Served) -> None:
    rows = [as_json(event) for event in transactions("limit", 21)]
    check(transformer.predict(*rows), 413, "too_large", "instances")
    assert transformer.predict(*rows[:20]).status_code == 200
    check(predictor.predict(*instances(vectors(21))), 413, "too_large", "instances")


def test_a_body_that_does_not_come_is_not_waited_for(transformer: Served) -> None:
    with socket.create_connection(("127.0.0.1", transformer.port)) as client:
        head = f"POST {transformer.path}:predict HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n"
        client.sendall(head.encode() + b"{")
        assert b" 408 " in client.recv(4096)


def test_more_requests_than_allowed_are_shed_and_the_server_recovers(transformer: Served) -> None:
    body = {"instances": [as_json(event) for event in transactions("burst", 20)]}

    async def burst() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=60)
        async with httpx.AsyncClient(base_url=transformer.http.base_url, limits=limits, timeout=30) as client:
            calls = [client.post(f"{transformer.path}:explain", json=body) for _ in range(60)]
            return list(await asyncio.gather(*calls))

    answers = asyncio.run(burst())
    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) == {200, 429}, statuses
    shed = next(answer for answer in answers if answer.status_code == 429)
    assert int(shed.headers["retry-after"]) >= 1
    check(shed, 429, "overloaded")
    assert transformer.post(f"{transformer.path}:explain", body).status_code == 200


def test_a_message_that_is_too_large_exhausts_the_resources_over_grpc(transformer: Served) -> None:
    request = pb.ModelInferRequest(model_name=MODEL, id="x" * (LIMIT + 1))
    with grpc.insecure_channel(f"127.0.0.1:{transformer.grpc_port}") as channel, pytest.raises(grpc.RpcError) as caught:
        service.GRPCInferenceServiceStub(channel).ModelInfer(request)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.fixture
def deaf() -> Iterator[tuple[int, threading.Event]]:
    """A predictor that tells its schema, then never answers a vector; after `closed` nothing listens any more."""
    schema = {"feature_schema": decider().schema.model_dump(mode="json"), "segments": [], "members": ["boosted"]}
    content = httpx.Response(200, json=schema).content
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.1)
    closed = threading.Event()
    kept: list[socket.socket] = []

    def answer(client: socket.socket) -> None:
        while request := client.recv(65_536):
            if b":vectors" not in request:
                head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(content)}\r\n\r\n"
                client.sendall(head.encode() + content)

    def work() -> None:
        while not closed.is_set():
            try:
                client, _ = listener.accept()
            except TimeoutError:
                continue
            kept.append(client)
            threading.Thread(target=answer, args=(client,), daemon=True).start()
        listener.close()

    thread = threading.Thread(target=work)
    thread.start()
    yield listener.getsockname()[1], closed
    closed.set()
    thread.join()
    for client in kept:
        client.close()


def test_a_slow_predictor_is_a_504_and_a_missing_one_a_503(tmp_path: Path, deaf: tuple[int, threading.Event]) -> None:
    port, closed = deaf
    with serve("transformer", tmp_path, predictor_host=f"127.0.0.1:{port}", request_timeout_seconds=0.5) as transformer:
        transformer.wait_until()
        row = as_json(transactions("slow", 1)[0])
        check(transformer.predict(row), 504, "timeout")
        closed.set()
        time.sleep(0.3)
        transformer.wait_until(ready=False)
        message = check(transformer.predict(row), 503, "unavailable")
        assert str(port) not in message
