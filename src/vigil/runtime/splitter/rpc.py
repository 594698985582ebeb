"""The splitter's gRPC side: passes the Open Inference Protocol on as bytes, by the same weights."""

import time
from typing import Any

import grpc

from vigil.errors import ContractError
from vigil.runtime.ports import address
from vigil.runtime.splitter.entity import ENTITY_HEADER
from vigil.runtime.splitter.http import Failure
from vigil.runtime.splitter.routes import Routes, Target
from vigil.runtime.splitter.splitter import REVISION_HEADER

MAX_MESSAGE_BYTES = 64 << 20
ANSWER_SECONDS = 60.0

_LIMITS = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES), ("grpc.max_send_message_length", MAX_MESSAGE_BYTES)]
_ONE_LISTENER = ("grpc.so_reuseport", 0)
"""Without it two programs share a port without a word."""

_SERVICE = "/inference.GRPCInferenceService/"
_TRUE, _FALSE = b"\x08\x01", b""
"""A message whose first field is a bool."""

_RESERVED = ("grpc-", ":", "user-agent", "content-type", "te")
_CODES = {404: grpc.StatusCode.NOT_FOUND, 503: grpc.StatusCode.UNAVAILABLE}


class RpcSplitter:
    """One gRPC endpoint in front of all revisions."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._server = grpc.aio.server(options=[*_LIMITS, _ONE_LISTENER])
        self._server.add_generic_rpc_handlers((_Handler(self),))
        self._channels: dict[int, grpc.aio.Channel] = {}

    async def start(self, host: str, port: int) -> int:
        """Listen and return the port."""
        try:
            bound = int(self._server.add_insecure_port(address(host, port)))
        except RuntimeError as error:
            raise ContractError(f"cannot listen on {address(host, port)}: choose another --grpc-port") from error
        await self._server.start()
        return bound

    async def drain(self, seconds: float) -> None:
        """Finish what is on the way and take nothing new."""
        await self._server.stop(seconds)
        for channel in self._channels.values():
            await channel.close()

    async def serve(self, method: str, message: bytes, context: Any) -> bytes:  # noqa: ANN401 - grpc is untyped
        """Return the answer of a revision, or end the call with a status."""
        if method in (f"{_SERVICE}ServerLive", f"{_SERVICE}ServerReady"):
            return _TRUE if method.endswith("Live") or self._is_ready() else _FALSE
        metadata = context.invocation_metadata() or ()
        entity = next((str(value) for key, value in metadata if key == ENTITY_HEADER), None)
        try:
            return await self._forward(method, message, context, entity)
        except Failure as failure:
            await context.abort(_CODES.get(failure.status, grpc.StatusCode.INTERNAL), failure.message)
            raise

    async def _forward(self, method: str, message: bytes, context: Any, entity: str | None) -> bytes:  # noqa: ANN401
        model = first_string(message)
        tried: tuple[str, ...] = ()
        while True:
            target = self._routes.pick(model, entity, tried)
            try:
                return await self._pass(target, method, message, context)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNAVAILABLE and not tried:
                    target.fail()
                    tried = (target.name,)
                    continue
                self._count(target, error.code().name)
                context.set_trailing_metadata(((REVISION_HEADER, target.name),))
                await context.abort(error.code(), error.details() or "")

    async def _pass(self, target: Target, method: str, message: bytes, context: Any) -> bytes:  # noqa: ANN401
        call = self._channel(target).unary_unary(method)
        metadata = [pair for pair in context.invocation_metadata() or () if not pair[0].startswith(_RESERVED)]
        started = time.perf_counter()
        target.in_flight += 1
        try:
            remaining = context.time_remaining()
            timeout = min(remaining, ANSWER_SECONDS) if remaining is not None else ANSWER_SECONDS
            answer: bytes = await call(message, metadata=metadata, timeout=timeout)
        finally:
            target.in_flight -= 1
        context.set_trailing_metadata(((REVISION_HEADER, target.name),))
        target.counts.latency.add(time.perf_counter() - started)
        self._count(target, "OK")
        return answer

    def _channel(self, target: Target) -> grpc.aio.Channel:
        """Return the channel to a revision; its port is its own for as long as it lives."""
        if target.grpc_port not in self._channels:
            address = f"{target.upstream.host}:{target.grpc_port}"
            self._channels[target.grpc_port] = grpc.aio.insecure_channel(address, options=_LIMITS)
        return self._channels[target.grpc_port]

    def _is_ready(self) -> bool:
        models = self._routes.models()
        return bool(models) and all(self._routes.is_ready(model) for model in models)

    @staticmethod
    def _count(target: Target, code: str) -> None:
        target.counts.answers["grpc", code] += 1


class _Handler(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc is untyped
    def __init__(self, splitter: RpcSplitter) -> None:
        self._splitter = splitter

    def service(self, call: Any) -> Any:  # noqa: ANN401 - grpc is untyped
        method = call.method
        if not method.startswith(_SERVICE):
            return None

        async def serve(message: bytes, context: Any) -> bytes:  # noqa: ANN401 - grpc is untyped
            return await self._splitter.serve(method, message, context)

        return grpc.unary_unary_rpc_method_handler(serve)


def first_string(message: bytes) -> str:
    """Return field 1 of a message, in all requests of the protocol the model's name; empty where there is none."""
    if not message.startswith(b"\x0a"):
        return ""
    length, shift, at = 0, 0, 1
    while at < len(message) and shift < 35:
        byte = message[at]
        length |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return message[at : at + length].decode("utf-8", "replace")
    return ""
