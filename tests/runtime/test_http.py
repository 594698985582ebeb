"""The endpoint speaks HTTP/1.1 to the letter where it matters: bodies of any size, pipelines, limits, garbage."""

import asyncio
import json
import re
from contextlib import suppress

import pytest

from tests.runtime.stage import Stage, eventually, in_loop, stage
from vigil.runtime.splitter.front import Timing

PREDICT = b"POST /v1/models/m:predict HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"


async def _converse(scene: Stage, content: bytes) -> bytes:
    """Send bytes, and return all that comes back until the splitter closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", scene.port)
    writer.write(content)
    try:
        return await asyncio.wait_for(reader.read(), 20)
    finally:
        writer.close()


@in_loop
async def test_a_large_body_is_streamed_both_ways_byte_for_byte() -> None:
    content = bytes(range(256)) * 40_000
    async with stage("a") as scene, scene.client.post(scene.url("/v1/models/m:batch"), data=content) as response:
        assert response.headers["x-vigil-revision"] == "a"
        assert await response.read() == content


@in_loop
async def test_a_body_without_a_length_is_streamed_too() -> None:
    async def chunks() -> object:
        for number in range(50):
            yield bytes([number]) * 20_000

    async with stage("a") as scene:
        async with scene.client.post(scene.url("/v1/models/m:batch"), data=chunks()) as response:
            assert await response.read() == b"".join([bytes([number]) * 20_000 for number in range(50)])
        async with scene.client.post(scene.url("/v1/models/m:predict"), data=chunks()) as response:
            assert (await response.json())["size"] == 1_000_000


@in_loop
async def test_a_client_that_does_not_read_holds_its_revision_back_instead_of_filling_the_memory() -> None:
    async with stage("a") as scene:
        reader, writer = await asyncio.open_connection("127.0.0.1", scene.port, limit=1024)
        writer.write(b"GET /v1/models/m/endless HTTP/1.1\r\nhost: x\r\n\r\n")
        await reader.read(1000)
        await asyncio.sleep(1)
        stopped_at = scene.revisions["a"].written
        await asyncio.sleep(0.5)
        assert scene.revisions["a"].written == stopped_at < 64 << 20
        writer.close()
        await eventually(lambda: scene.routes.targets["a"].in_flight == 0)


@in_loop
async def test_a_client_that_leaves_frees_the_revision() -> None:
    async with stage("a") as scene:
        scene.revisions["a"].behaviour["delay"] = 30
        _, writer = await asyncio.open_connection("127.0.0.1", scene.port)
        writer.write(PREDICT)
        target = scene.routes.targets["a"]
        await eventually(lambda: target.in_flight == 1)
        writer.close()
        await eventually(lambda: target.in_flight == 0)
        assert target.counts.answers == {("http", "499"): 1}


@in_loop
async def test_pipelined_requests_are_answered_in_order() -> None:
    parts = [
        f"POST /v1/models/m:predict HTTP/1.1\r\nhost: x\r\ncontent-length: {size}\r\n\r\n".encode() + b"x" * size
        for size in range(30)
    ]
    async with stage("a") as scene:
        answer = await _converse(scene, b"".join(parts) + PREDICT.replace(b"host: x", b"host: x\r\nconnection: close"))
    sizes = [
        json.loads(line)["size"] for line in answer.replace(b"}HTTP", b"}\r\nHTTP").split(b"\r\n") if b"size" in line
    ]
    assert sizes == [*range(30), 2]


@in_loop
async def test_a_revision_may_answer_before_it_has_read_the_body() -> None:
    async with stage("a") as scene:
        head = b"POST /v1/models/m:too_large HTTP/1.1\r\nhost: x\r\ncontent-length: 9000000\r\n\r\n"
        answer = await _converse(scene, head + b"x" * 9_000_000)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"connection: close" in answer
        assert await scene.revision_of("C1") == "a"


@in_loop
async def test_a_client_that_asks_before_it_sends_is_told_to_go_on() -> None:
    async with stage("a") as scene:
        reader, writer = await asyncio.open_connection("127.0.0.1", scene.port)
        head = b"POST /v1/models/m:predict HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
        writer.write(head)
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"{}")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
        writer.close()


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /v1/models/m:predict HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 400_000, 431),
        (b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 70_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", 200),
        (b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", 405),
        (b"GET /v1/models/../m:predict HTTP/1.0\r\n\r\n", 404),
    ],
)
@in_loop
async def test_what_is_odd_or_no_request_at_all_is_answered_and_the_splitter_lives_on(
    content: bytes, status: int
) -> None:
    async with stage("a") as scene:
        answer = await _converse(scene, content)
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())
        assert len(re.findall(rb"HTTP/1.1 \d{3} ", answer)) == 1
        assert await scene.revision_of("C1") == "a"


@in_loop
async def test_an_answer_that_breaks_off_ends_the_connection_instead_of_looking_whole() -> None:
    async with stage("a", "b") as scene:
        scene.weigh(a=50, b=50)
        content = b"GET /v1/models/m/broken HTTP/1.1\r\nhost: x\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", scene.port)
        writer.write(content)
        received = b""
        with suppress(ConnectionResetError):
            while part := await asyncio.wait_for(reader.read(65536), 20):
                received += part
        assert received.count(b"HTTP/1.1 200") == 1
        assert len(received) < 1 << 20
        writer.close()
        counts = [target.counts.answers for target in scene.routes.targets.values()]
        assert counts[0] + counts[1] == {("http", "502"): 1}


@in_loop
async def test_garbage_after_a_request_does_not_cost_its_answer() -> None:
    async with stage("a") as scene:
        scene.revisions["a"].behaviour["delay"] = 0.1
        answer = await _converse(scene, PREDICT + b"\x00garbage\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert len(re.findall(rb"HTTP/1.1 \d{3} ", answer)) == 1


@pytest.mark.parametrize("begin", [b"POST /v1/mod", PREDICT[:-1]])
@in_loop
async def test_a_client_that_stops_in_the_middle_is_told_so(begin: bytes) -> None:
    async with stage("a", timing=Timing(stall_seconds=0.2, sweep_seconds=0.05)) as scene:
        assert (await _converse(scene, begin)).startswith(b"HTTP/1.1 408 ")


@in_loop
async def test_an_idle_connection_is_closed_without_a_word() -> None:
    async with stage("a", timing=Timing(idle_seconds=0.2, sweep_seconds=0.05)) as scene:
        assert await _converse(scene, b"") == b""


@in_loop
async def test_a_head_request_has_no_body() -> None:
    async with stage("a") as scene:
        content = b"HEAD /v2/health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        assert (await _converse(scene, content)).endswith(b"\r\n\r\n")
        content = b"HEAD /v2/models/m/ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        assert (await _converse(scene, content)).startswith(b"HTTP/1.1 200 OK")
