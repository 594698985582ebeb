"""A small HTTP server that takes the place of a ModelServer where the tests are about supervisor and splitter.

As a script it understands the transformer's flags and does what `behaviour.json` in the model's folder says.
"""

import argparse
import asyncio
import os
import signal
import time
from typing import Any

from aiohttp import web

from tests.runtime.stand_in_predictor import told


class StandIn:
    """Answers as a revision would; notes what it was asked."""

    def __init__(self, name: str, **behaviour: Any) -> None:
        self.name = name
        self.behaviour = behaviour
        self.seen: list[dict[str, Any]] = []
        self.connections: set[Any] = set()
        self.started = time.monotonic()
        self.predictor: str | None = None

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 40)
        app.router.add_get("/v2/models/{model}/ready", self.ready)
        app.router.add_get("/v1/models/{model}/endless", self.endless)
        app.router.add_get("/v1/models/{model}/broken", self.broken)
        app.router.add_post("/v1/models/{model}/crash", self.crash)
        app.router.add_post("/v1/models/{model}/hang_up", self.hang_up)
        app.router.add_post("/v1/models/{model}:batch", self.batch)
        app.router.add_post("/v1/models/{model}:too_large", self.too_large)
        app.router.add_post("/v1/models/{model}/events", self.answer)
        app.router.add_post("/v1/models/{verb:.*}", self.answer)
        app.router.add_post("/v2/models/{model}/infer", self.answer)
        return app

    async def ready(self, request: web.Request) -> web.Response:
        ready = time.monotonic() - self.started >= self.behaviour.get("ready_after", 0) and await self._has_predictor()
        return web.json_response({"ready": ready}, status=200 if ready else 503)

    async def _has_predictor(self) -> bool:
        if self.predictor is None:
            return True
        try:
            _, writer = await asyncio.open_connection(*self.predictor.split(":"))
        except ConnectionRefusedError:
            return False
        writer.close()
        return True

    async def answer(self, request: web.Request) -> web.Response:
        self.connections.add(request.transport)
        body = await request.read()
        self.seen.append({"path": request.path, "headers": dict(request.headers), "body": body})
        await asyncio.sleep(self.behaviour.get("delay", 0))
        document = {"revision": self.name, "size": len(body), "pid": os.getpid()}
        if padding := self.behaviour.get("padding"):
            document["padding"] = "x" * padding
        return web.json_response(document, status=self.behaviour.get("status", 200))

    async def batch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        async for chunk in request.content.iter_chunked(1 << 16):
            await response.write(chunk)
            await asyncio.sleep(self.behaviour.get("chunk_delay", 0))
        return response

    async def endless(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(1 << 40)})
        await response.prepare(request)
        self.written = 0
        while True:
            await response.write(b"x" * 65536)
            self.written += 65536

    async def broken(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(1 << 20)})
        await response.prepare(request)
        await response.write(b"x" * 1000)
        assert request.transport is not None
        request.transport.close()
        return response

    async def too_large(self, request: web.Request) -> web.Response:
        response = web.json_response({"error": "too large"}, status=413)
        response.force_close()
        return response

    async def crash(self, request: web.Request) -> web.Response:
        os._exit(3)

    async def hang_up(self, request: web.Request) -> web.Response:
        self.seen.append({"path": request.path})
        assert request.transport is not None
        request.transport.abort()
        return web.Response()


async def _serve(arguments: argparse.Namespace, behaviour: dict[str, Any]) -> None:
    name, port = arguments.revision, arguments.http_port
    stand_in = StandIn(name, **behaviour)
    stand_in.predictor = arguments.predictor_host
    runner = web.AppRunner(stand_in.app(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print(f"{name} listens", flush=True)
    await stop.wait()
    await runner.cleanup()
    print(f"{name} has stopped", flush=True)


def main() -> None:
    arguments, behaviour = told("transformer")
    asyncio.run(_serve(arguments, behaviour))


if __name__ == "__main__":
    main()
