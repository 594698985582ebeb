"""The gRPC side passes messages on as they are, by the same weights."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from tests.runtime.stage import in_loop
from vigil.runtime.splitter.buckets import move
from vigil.runtime.splitter.routes import Routes, Target
from vigil.runtime.splitter.rpc import RpcSplitter, first_string
from vigil.runtime.splitter.upstream import Upstream

INFER = "/inference.GRPCInferenceService/ModelInfer"
MESSAGE = b"\x0a\x01m" + b"\x1a\x02id"


class _Echo(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers with what it was sent, or with an error."""

    def __init__(self, code: grpc.StatusCode | None) -> None:
        self._code = code

    def service(self, call: Any) -> Any:
        async def answer(message: bytes, context: Any) -> bytes:
            if self._code is not None:
                await context.abort(self._code, "as told")
            return message

        return grpc.unary_unary_rpc_method_handler(answer)


class Stage:
    def __init__(self) -> None:
        self.routes = Routes()
        self.servers: dict[str, Any] = {}
        self.channel: Any = None

    async def add(self, name: str, code: grpc.StatusCode | None = None) -> None:
        server = self.servers[name] = grpc.aio.server()
        server.add_generic_rpc_handlers((_Echo(code),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        self.routes.targets[name] = Target(name, "m", Upstream("127.0.0.1", 1), port, ready=True)

    def weigh(self, **percents: float) -> None:
        self.routes.set_table("m", move(self.routes.table("m"), percents))

    async def call(self, message: bytes = MESSAGE, method: str = INFER, **metadata: str) -> tuple[bytes, str | None]:
        call = self.channel.unary_unary(method)(message, metadata=list(metadata.items()), timeout=20)
        answer = await call
        trailing = dict(await call.trailing_metadata())
        return answer, trailing.get("x-vigil-revision")


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    scene = Stage()
    rpc = RpcSplitter(scene.routes)
    port = await rpc.start("127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        scene.channel = channel
        yield scene
    await rpc.drain(1)
    for server in scene.servers.values():
        await server.stop(None)


@in_loop
async def test_messages_pass_unchanged_and_are_split_by_weight() -> None:
    async with stage() as scene:
        await scene.add("a")
        await scene.add("b")
        scene.weigh(a=90, b=10)
        answers = [await scene.call() for _ in range(100)]
        assert {answer for answer, _ in answers} == {MESSAGE}
        assert Counter(revision for _, revision in answers) == {"a": 90, "b": 10}
        assert scene.routes.targets["b"].counts.answers == {("grpc", "OK"): 10}


@in_loop
async def test_the_entity_in_the_metadata_makes_calls_stick() -> None:
    async with stage() as scene:
        await scene.add("a")
        await scene.add("b")
        scene.weigh(a=50, b=50)
        for number in range(20):
            entity = {"x-vigil-entity": f"C{number}"}
            assert len({(await scene.call(**entity))[1] for _ in range(3)}) == 1


@in_loop
async def test_a_revision_that_is_gone_is_passed_over() -> None:
    async with stage() as scene:
        await scene.add("a")
        await scene.add("b")
        scene.weigh(a=50, b=50)
        await scene.servers["a"].stop(None)
        assert {(await scene.call())[1] for _ in range(10)} == {"b"}
        assert not scene.routes.targets["a"].ready


@in_loop
async def test_an_error_of_a_revision_reaches_the_client_as_it_is() -> None:
    async with stage() as scene:
        await scene.add("a", grpc.StatusCode.INVALID_ARGUMENT)
        scene.weigh(a=100)
        with pytest.raises(grpc.aio.AioRpcError, match="as told") as caught:
            await scene.call()
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        counts = scene.routes.targets["a"].counts
        assert (counts.requests, counts.errors) == (1, 0)


@in_loop
async def test_without_a_revision_the_cure_is_in_the_status() -> None:
    async with stage() as scene:
        with pytest.raises(grpc.aio.AioRpcError, match="vigil deploy MODEL"):
            await scene.call()
        assert (await scene.call(b"", "/inference.GRPCInferenceService/ServerLive"))[0] == b"\x08\x01"
        assert (await scene.call(b"", "/inference.GRPCInferenceService/ServerReady"))[0] == b""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await scene.call(MESSAGE, "/some.Other/Method")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("message", "name"),
    [
        (MESSAGE, "m"),
        (b"\x0a\xac\x02" + b"n" * 300 + b"\x12\x01v", "n" * 300),
        (b"", ""),
        (b"\x0a", ""),
        (b"\x0a\xff\xff\xff\xff\xff\xff", ""),
        (b"\x12\x01v", ""),
    ],
)
def test_the_model_is_the_first_field_of_every_request(message: bytes, name: str) -> None:
    assert first_string(message) == name
