"""The controller as the process of a pod: it tells health and metrics, and gives its lease up when it is stopped."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST

from vigil.clock import Clock, system_clock
from vigil.errors import ContractError, Unavailable
from vigil.rollout.controller import Controller
from vigil.rollout.metrics import RolloutMetrics
from vigil.rollout.ports import Records
from vigil.rollout.status import Record

PATIENCE_SECONDS = 300.0
"""Without a tick for so long it is not alive: of many models each may wait for parts that do not answer."""


def run_in_pod(controller: Controller, records: Records, seconds: float, port: int, *, host: str = "") -> None:
    """Carry all rollouts on until SIGTERM, and serve `/metrics` and `/healthz` meanwhile."""
    stop_on_sigterm()
    metrics = RolloutMetrics()
    with serving(metrics, port, host=host):
        controller.run(seconds, is_over=after_tick(metrics, records))


def stop_on_sigterm() -> None:
    """Make SIGTERM leave as an error does: what is held is given up. As process 1 it would be ignored."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def after_tick(metrics: RolloutMetrics, records: Records, clock: Clock = system_clock) -> Callable[[bool], bool]:
    """Return what a controller asks after each tick: it notes how the rollouts stand, and never ends it."""

    def is_over(_: bool) -> bool:
        try:
            found = list(_kept(records))
        except (ContractError, Unavailable):
            return False  # the time of the last tick that was noted tells it
        metrics.tick(found, clock().timestamp())
        return False

    return is_over


@contextmanager
def serving(metrics: RolloutMetrics, port: int, *, host: str = "", clock: Clock = system_clock) -> Iterator[int]:
    """Serve the metrics and the health in a thread, and give the port."""
    since = clock().timestamp()

    def is_alive() -> bool:
        return clock().timestamp() - max(metrics.ticked, since) < PATIENCE_SECONDS

    handler = type("Handler", (_Handler,), {"metrics": metrics, "is_alive": staticmethod(is_alive)})
    try:
        server = ThreadingHTTPServer((host, port), handler)
    except OSError as error:
        raise ContractError(f"cannot listen on port {port}: {error.strerror}") from error
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _kept(records: Records) -> Iterator[Record]:
    for model in records.models():
        kept = records.load(model)
        if kept is not None:
            yield kept.record


class _Handler(BaseHTTPRequestHandler):
    metrics: RolloutMetrics
    is_alive: Callable[[], bool]
    timeout = 10

    def do_GET(self) -> None:
        if self.path == "/metrics":
            self._answer(200, self.metrics.exposition(), CONTENT_TYPE_LATEST)
        elif self.path == "/healthz":
            alive = self.is_alive()
            self._answer(200 if alive else 503, b"alive\n" if alive else b"no tick for too long\n", "text/plain")
        else:
            self._answer(404, b"/metrics and /healthz are here\n", "text/plain")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: probes come all the time."""

    def _answer(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
