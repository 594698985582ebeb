"""V2 over gRPC: kserve's service with our readiness, limits and status codes; it neither loads nor unloads."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError
from kserve import InferRequest
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as service
from kserve.protocol.grpc.servicer import InferenceServicer

from vigil.serving.http import REQUEST_ID, TRACEPARENT, trace_of
from vigil.serving.refusals import (
    INTERNAL,
    INVALID,
    NOT_FOUND,
    NOT_READY,
    OVERLOADED,
    WRONG_METHOD,
    Refusal,
    internal,
    refusal_of,
)
from vigil.serving.served import Served

_logger = logging.getLogger(__name__)
T = TypeVar("T")


class Service(InferenceServicer):  # type: ignore[misc]  # kserve is untyped
    """The Open Inference Protocol's service over one model."""

    def __init__(self, model: Served, dataplane: DataPlane) -> None:
        super().__init__(dataplane, None)
        self._model = model

    async def ServerReady(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802 - gRPC's names
        """Return whether new requests should come."""
        return pb.ServerReadyResponse(ready=await self._model.state.not_ready() is None)

    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802
        """Return the same of the model."""

        async def ready() -> Any:  # noqa: ANN401
            self._check_name(request.name)
            return pb.ModelReadyResponse(ready=await self._model.state.not_ready() is None)

        return await self._guard("other", context, ready)

    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802
        """Return the tensors of requests and answers."""

        async def describe() -> Any:  # noqa: ANN401
            self._check_name(request.name)
            return await InferenceServicer.ModelMetadata(self, request, context)

        return await self._guard("other", context, describe)

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802
        """Return the decisions of the rows."""
        return await self._guard("infer", context, lambda: self._infer(request, context))

    async def RepositoryModelLoad(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802
        """Refuse: a server has the model that it was started with."""
        return await self._guard("other", context, _refuse_loading)

    async def RepositoryModelUnload(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802
        """Refuse, as above."""
        return await self._guard("other", context, _refuse_loading)

    async def _infer(self, request: Any, context: Any) -> Any:  # noqa: ANN401
        self._check_name(request.model_name)
        model, options = self._model, self._model.options
        if not model.state.serving:
            raise Refusal(NOT_READY, model.state.reason)
        if model.metrics.in_flight > options.max_concurrency:
            raise Refusal(OVERLOADED, "the server has as much work as it can do: try again after a pause")
        self.validate_grpc_request(request)
        asked = InferRequest.from_grpc(request)
        if not asked.inputs:
            raise Refusal(INVALID, "there is no input tensor", "inputs")
        async with asyncio.timeout(options.request_timeout_seconds):
            response, _ = await model(asked, _trace(context))
        return response.to_grpc()

    async def _guard(self, route: str, context: Any, work: Callable[[], Awaitable[T]]) -> T:  # noqa: ANN401
        """Return what `work` returns; what it raises becomes a status without internals."""
        started = time.perf_counter()
        metrics = self._model.metrics
        trace = _trace(context)
        metrics.enter()
        refusal: Refusal | None = None
        try:
            result = await work()
        except Exception as error:
            refusal = refusal_of(error)
            if refusal is None or refusal.kind is INTERNAL:
                _logger.error("request failed", exc_info=error, extra={**trace, "path": "grpc"})
            refusal = refusal or internal()
        finally:
            metrics.leave()
        status = "OK" if refusal is None else refusal.kind.grpc
        reason = "ok" if refusal is None else refusal.kind.code
        metrics.answered("grpc", route, status, reason, time.perf_counter() - started)
        context.set_trailing_metadata((*trace.items(), ("x-vigil-revision", self._model.options.revision)))
        if refusal is not None:
            await context.abort(getattr(grpc.StatusCode, refusal.kind.grpc), refusal.text())
        return result

    def _check_name(self, name: str) -> None:
        if name != self._model.name:
            raise Refusal(NOT_FOUND, f"this server has the model {self._model.name}", "model_name")


async def _refuse_loading() -> Any:  # noqa: ANN401
    raise Refusal(WRONG_METHOD, "a server has the model that it was started with: deploy another revision")


def _trace(context: Any) -> dict[str, str]:  # noqa: ANN401
    given = {key: value for key, value in context.invocation_metadata() or () if key in (REQUEST_ID, TRACEPARENT)}
    return trace_of(given)


class _Decoding(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc is untyped
    """Answers bytes that are no message as a mistake of the client; gRPC would quote the decoder's exception."""

    async def intercept_service(self, continuation: Any, details: Any) -> Any:  # noqa: ANN401 - gRPC's types
        """Return the handler of the method, with a decoder that does not raise."""
        handler = await continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler

        def decode(raw: bytes) -> Any:  # noqa: ANN401
            try:
                return handler.request_deserializer(raw)
            except DecodeError:
                return None

        async def answer(request: Any, context: Any) -> Any:  # noqa: ANN401
            if request is None:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the bytes are no message of this method")
            return await handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(answer, decode, handler.response_serializer)


def grpc_server(model: Served, dataplane: DataPlane, address: str) -> grpc.aio.Server:
    """Return a server that listens on `address`, not started yet."""
    limit = model.options.max_body_bytes
    options = [
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", limit),
        ("grpc.so_reuseport", 0),
    ]
    server = grpc.aio.server(options=options, interceptors=[_Decoding()])
    service.add_GRPCInferenceServiceServicer_to_server(Service(model, dataplane), server)
    server.add_insecure_port(address)
    return server
