"""No bytes, however wrong, stop the splitter, make it fail, or keep it waiting."""

import asyncio
import logging
import random
import re

import pytest

from tests.runtime.stage import Stage, eventually, in_loop, stage
from vigil.runtime.splitter.front import Timing

SEEDS = [
    b"POST /v1/models/m:predict HTTP/1.1\r\nhost: x\r\ncontent-length: 45\r\n\r\n"
    b'{"instances": [{"customer_id": "C1", "a": 1}]}',
    b"POST /v2/models/m/infer HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"GET /v2/health/ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n",
    b"PUT http://other/v1/models/m HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\nabc",
]
PIECES = [b"\r\n", b"\x00", b"\xff\xfe", b"content-length: 7\r\n", b"transfer-encoding: chunked\r\n", b"..", b"%2e"]
PIECES += [b"upgrade: h2c\r\n", b"9" * 30, b":", b" ", b"HTTP/1.1", b"{" * 200, b"connection: close, te\r\n"]


def mutate(source: random.Random) -> bytes:
    """Return a request with a few things wrong."""
    content = bytearray(source.choice(SEEDS))
    for _ in range(source.randint(1, 4)):
        at = source.randrange(len(content))
        match source.randrange(4):
            case 0:
                content[at:at] = source.choice(PIECES)
            case 1:
                del content[at : at + source.randint(1, 20)]
            case 2:
                content[at] = source.randrange(256)
            case _:
                content += content[:at]
        content = content or bytearray(b"x")
    return bytes(content)


async def _send(scene: Stage, content: bytes) -> list[int]:
    """Send bytes in two pieces and return the statuses of the answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", scene.port)
    half = len(content) // 2
    try:
        writer.write(content[:half])
        await asyncio.sleep(0)
        writer.write(content[half:])
        answer = await asyncio.wait_for(reader.read(), 20)
    except ConnectionError:
        return []
    finally:
        writer.close()
    return [int(status) for status in re.findall(rb"HTTP/1.1 (\d{3}) ", answer)]


@pytest.mark.parametrize("seed", range(4))
def test_broken_requests_are_answered_or_cut_and_never_a_failure_of_ours(
    seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    source = random.Random(seed)
    timing = Timing(idle_seconds=0.2, stall_seconds=0.2, discard_seconds=0.2, sweep_seconds=0.05)

    @in_loop
    async def attack() -> None:
        async with stage("a", timing=timing) as scene:
            for _ in range(25):
                batch = [mutate(source) for _ in range(20)]
                for statuses in await asyncio.gather(*(_send(scene, content) for content in batch)):
                    assert not [status for status in statuses if status >= 500], batch
            assert await scene.revision_of("C1") == "a"
            assert scene.splitter.front.is_sweeping
            await eventually(lambda: len(scene.splitter.front.clients) <= 1)
            assert scene.routes.targets["a"].in_flight == 0

    with caplog.at_level(logging.ERROR):
        attack()
    assert [record for record in caplog.records if record.name.startswith("vigil")] == []
