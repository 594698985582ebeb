"""kserve's ModelServer with our layer in front: it listens before the model is loaded, and drains before it stops."""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import time
from collections.abc import Iterator

import grpc
import kserve.model_server
import orjson
import uvicorn
import uvloop
from fastapi import Response
from kserve import ModelServer
from kserve.protocol.rest.server import RESTServer

from vigil.errors import Bug, ContractError, VigilError
from vigil.serving.grpc_service import grpc_server
from vigil.serving.layer import Layer
from vigil.serving.refusals import Refusal
from vigil.serving.served import Served

EX_OK, EX_BUG, EX_LOST, EX_CONFIG = 0, 70, 74, 78
"""Exit codes, as in sysexits.h: all well, a mistake of ours, decisions not written, a restart would not help."""

_logger = logging.getLogger(__name__)
_KEEP_ALIVE_SECONDS = 75
_BACKLOG = 2048
_COLLECT_AFTER = 50_000
"""New objects after which the collector looks at them."""


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone: the listener must not close at the first one."""
        yield


class Server(ModelServer):  # type: ignore[misc]  # kserve is untyped
    """Serves one model; `run` returns the exit code of the process."""

    def __init__(self, model: Served) -> None:
        options = model.options
        super().__init__(
            http_port=options.http_port,
            grpc_port=options.grpc_port,
            workers=1,
            enable_grpc=options.enable_grpc,
            enable_latency_logging=False,
        )
        self._model = model
        self._options = options
        self._stop: asyncio.Event | None = None
        self._started = time.perf_counter()

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT, then drain."""
        self.register_model(self._model)
        RESTServer("kserve.model_server:app", self.dataplane, None, self._options.http_port).create_application()
        kserve.model_server.app.add_exception_handler(Refusal, _answer_refusal)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(self._main())

    async def _main(self) -> int:
        self._stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop)
        loop.add_signal_handler(signal.SIGUSR1, self._model.state.drain)
        front = self._front()
        listener = _bind(self._options.host, self._options.http_port)
        rpc = await self._start_grpc()
        serving = asyncio.create_task(front.serve(sockets=[listener]))
        opening = asyncio.create_task(self._open())
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({serving, opening, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done() and opening.done() and opening.exception() is None:
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        code = _code(opening)
        if code == EX_OK:
            await self._drain()
        opening.cancel()
        front.should_exit = True
        if rpc is not None:
            await rpc.stop(self._options.shutdown_seconds)
        await serving
        written = await self._model.close()
        _logger.info("stopped", extra={"revision": self._options.revision})
        return code if written else EX_LOST

    def _on_stop(self) -> None:
        assert self._stop is not None  # noqa: S101 - set before the handler is
        self._stop.set()

    async def _open(self) -> None:
        await self._model.open()
        _rest_collector()
        self._model.metrics.ready(True)
        options, seconds = self._options, round(time.perf_counter() - self._started, 3)
        where = f"{options.host}:{options.http_port}"
        _logger.info(
            "ready",
            extra={"model": options.model_name, "revision": options.revision, "address": where, "seconds": seconds},
        )

    async def _drain(self) -> None:
        """Be unready, but go on accepting, until whoever sends requests has noticed."""
        self._model.state.drain()
        self._model.metrics.ready(False)
        _logger.info("draining", extra={"seconds": self._options.drain_seconds, "revision": self._options.revision})
        await asyncio.sleep(self._options.drain_seconds)

    def _front(self) -> _Uvicorn:
        model, options = self._model, self._options
        layer = Layer(kserve.model_server.app, model.routes(), model.state, options, model.metrics)
        config = uvicorn.Config(
            layer,
            loop="none",
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=int(options.shutdown_seconds),
        )
        return _Uvicorn(config)

    async def _start_grpc(self) -> grpc.aio.Server | None:
        if not self._options.enable_grpc:
            return None
        host, port = self._options.host, self._options.grpc_port
        try:
            server = grpc_server(self._model, self.dataplane, f"{host}:{port}")
        except RuntimeError as error:
            raise ContractError(f"{host}:{port} cannot be used for gRPC: give another --grpc_port") from error
        await server.start()
        return server


def _rest_collector() -> None:
    """Let the garbage collector leave alone what was loaded, and look at the rest seldom.

    The cache of states holds hundreds of thousands of objects without cycles; visiting them again and again would take
    a sixth of the time of a batch, and stop single requests for as long as a pass takes.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 50)


async def _answer_refusal(_: object, refusal: Refusal) -> Response:
    """Return what our model refuses on a route of the stock app."""
    return Response(orjson.dumps(refusal.body()), refusal.kind.http, media_type="application/json")


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ContractError(f"{host}:{port} cannot be used ({error.strerror}): give another --http_port") from error
    return listener


def _code(opening: "asyncio.Task[None]") -> int:
    """Return the exit code that the attempt to load the model leads to."""
    if not opening.done() or opening.cancelled():
        return EX_OK
    error = opening.exception()
    if error is None:
        return EX_OK
    if not isinstance(error, VigilError) or isinstance(error, Bug):
        _logger.error("failed", exc_info=error)
        return EX_BUG
    _logger.error("refused", extra={"cause": str(error)})
    return EX_CONFIG
