"""What our HTTP services share: answers to mistakes, the life of a server, and the delivery of CloudEvents."""

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import ValidationError

from vigil.contracts.cloud_events import CloudEvent, to_binary
from vigil.errors import ContractError, Unavailable

_MOST_LISTED = 1_000
_LATER = (408, 425, 429)
"""Refusals that mean: not now."""

_log = logging.getLogger(__name__)


def refusal(status: int, text: str) -> web.Response:
    """Return the answer to a mistake."""
    return web.json_response({"error": text}, status=status)


def answers_errors(describe: Callable[[ValidationError], str]) -> Middleware:
    """Return what turns an error into a status and a sentence; `describe` makes the one of a document that is wrong."""

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except ValidationError as error:
            return refusal(400, describe(error))
        except ContractError as error:
            return refusal(400, str(error))
        except Unavailable as error:
            return refusal(503, str(error))

    return answer


def listed_limit(request: web.Request) -> int:
    """Return the query parameter `limit`, 100 without one."""
    limit = request.query.get("limit", "100")
    if not limit.isdecimal() or not 1 <= int(limit) <= _MOST_LISTED:
        raise ContractError(f"limit: a whole number from 1 to {_MOST_LISTED}")
    return int(limit)


async def exposition(registry: CollectorRegistry) -> web.Response:
    """Return the metrics of a registry, collected in a thread."""
    text = await asyncio.to_thread(generate_latest, registry)
    return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def serve(app: web.Application, host: str, port: int, *, on_ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; `on_ready` is told the address once the port is open."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=5)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        on_ready(f"http://{host}:{runner.addresses[0][1]}/")
        await stop.wait()
    finally:
        await runner.cleanup()


async def to_its_end(work: Coroutine[None, None, Any]) -> None:
    """Do the work; who is cancelled meanwhile still waits for it: what is begun is noted, and locks are kept."""
    running = asyncio.ensure_future(work)
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await running
        raise


def told_of_its_end(task: asyncio.Task[None], what: str) -> asyncio.Task[None]:
    """Return background work that should never end; if it does, `what` and the error are logged."""

    def tell(ended: asyncio.Task[None]) -> None:
        if not ended.cancelled() and (error := ended.exception()) is not None:
            _log.error("background work has ended", extra={"what": what}, exc_info=error)

    task.add_done_callback(tell)
    return task


def liveness(tasks: Iterable[asyncio.Task[None]]) -> web.Response:
    """Return the answer to a probe of liveness: 500 once any of the background work has ended."""
    alive = not any(task.done() for task in tasks)
    return web.json_response({"status": "up" if alive else "down"}, status=200 if alive else 500)


async def deliver(session: aiohttp.ClientSession, sink: str, event: CloudEvent) -> str:
    """Send an event, and return `sent`, `refused` for good, or `failed`: it has to be sent again."""
    headers, body = to_binary(event)
    try:
        async with session.post(sink, data=body, headers=headers) as response:
            status, text = response.status, (await response.text())[:200]
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        _log.warning("sink away", extra={"sink": sink, "event": event.id, "cause": str(error)})
        return "failed"
    if status < 300:
        return "sent"
    _log.warning("sink refused", extra={"sink": sink, "event": event.id, "status": status, "answer": text})
    return "failed" if status >= 500 or status in _LATER else "refused"
