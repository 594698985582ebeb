"""The admin API on a unix socket: for the owner of the folder, and for nobody else."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from vigil.runtime.status import DeployRequest, RuntimeStatus
from vigil.runtime.supervisor import Supervisor
from vigil.web import answers_errors


class TrafficRequest(BaseModel):
    """New weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    percents: dict[str, float]


class ShadowRequest(BaseModel):
    """Whether a revision is to get copies of the live requests."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    on: bool


class Admin:
    """Serves the admin API of a supervisor."""

    def __init__(self, supervisor: Supervisor, status: Callable[[], RuntimeStatus], stop: asyncio.Event) -> None:
        self._supervisor, self._status, self._stop = supervisor, status, stop
        app = web.Application(middlewares=[answers_errors(_describe)])
        app.router.add_get("/status", self._get_status)
        app.router.add_post("/deploy", self._deploy)
        app.router.add_post("/traffic", self._traffic)
        app.router.add_post("/revisions/{name}/shadow", self._shadow)
        app.router.add_delete("/revisions/{name}", self._remove)
        app.router.add_post("/down", self._down)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)

    async def start(self, path: Path) -> None:
        """Listen at `path`, where nobody else may connect."""
        path.unlink(missing_ok=True)
        await self._runner.setup()
        before = os.umask(0o177)
        try:
            await web.UnixSite(self._runner, str(path)).start()
        finally:
            os.umask(before)

    async def close(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    def _answer(self) -> web.Response:
        return web.Response(body=self._status().model_dump_json(), content_type="application/json")

    async def _get_status(self, _: web.Request) -> web.Response:
        return self._answer()

    async def _deploy(self, request: web.Request) -> web.Response:
        name = self._supervisor.deploy(DeployRequest.model_validate_json(await request.read()))
        return web.json_response({"revision": name})

    async def _traffic(self, request: web.Request) -> web.Response:
        self._supervisor.set_traffic(TrafficRequest.model_validate_json(await request.read()).percents)
        return self._answer()

    async def _shadow(self, request: web.Request) -> web.Response:
        wanted = ShadowRequest.model_validate_json(await request.read())
        self._supervisor.set_shadow(request.match_info["name"], wanted.on)
        return self._answer()

    async def _remove(self, request: web.Request) -> web.Response:
        await self._supervisor.remove(request.match_info["name"])
        return self._answer()

    async def _down(self, _: web.Request) -> web.Response:
        self._stop.set()
        return self._answer()


def _describe(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
