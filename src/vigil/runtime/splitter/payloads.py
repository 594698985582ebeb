"""Copies of answered requests for the detector service: CloudEvents as KServe's logger sends them.

A request and its answer are two events with the same id. Nobody waits for them: what does not fit into the queue is
counted and forgotten, request and answer together. While the service is away the queue holds what it can.
"""

import asyncio
import uuid
from collections import Counter, deque
from dataclasses import dataclass

import orjson

from vigil.clock import Clock, system_clock
from vigil.contracts.cloud_events import CloudEvent, to_binary
from vigil.runtime.splitter.http import Answer, Channel, Copy, Headers, Request
from vigil.runtime.splitter.upstream import Broken, NotSent, Upstream

REQUEST_TYPE = "org.kubeflow.serving.inference.request"
RESPONSE_TYPE = "org.kubeflow.serving.inference.response"
REVISION_KEY = "model-revision"
"""Where `annotations` tells the revision, on a cluster by `metadataAnnotations`."""

BINARY_LENGTH = b"inference-header-content-length"
"""Tells where the JSON of a V2 body ends and its raw tensors begin."""

QUEUE = 2_048
QUEUE_BYTES = 32 << 20
MAX_BODY = 4 << 20
"""Largest body that is copied while it is streamed."""
WORKERS = 2
SECONDS = 10.0
PAUSE_SECONDS = 0.25
FLUSH_SECONDS = 2.0

_LOGGED = (b":predict", b"/infer", b"/events")
_NO_SOCKET = asyncio.Transport()
"""The bodies are whole: there is nothing to pause."""


@dataclass(frozen=True, slots=True, eq=False)
class Exchange:
    """A request that a revision has answered."""

    model: str
    revision: str
    request: Request
    answer: Answer
    shadow: bool = False
    """Whether it was a copy, so that no client has seen the answer."""

    def bodies(self) -> tuple[bytes, bytes] | None:
        """Return both bodies, None if one of them was streamed and too long to be copied."""
        request, answer = (_body(message) for message in (self.request, self.answer))
        return None if request is None or answer is None else (request, answer)


def copy_streams(request: Request, answer: Answer | None = None) -> None:
    """Let a body that is streamed be copied where it is to be logged; call it before the stream begins."""
    message = request if answer is None else answer
    if message.body is None and message.copy is None and is_logged(request):
        message.copy = Copy(MAX_BODY)


def _body(message: Request | Answer) -> bytes | None:
    return message.copy.whole() if message.body is None and message.copy is not None else message.body


def is_logged(request: Request) -> bool:
    """Return whether a request asks for decisions or tells events."""
    return request.method == b"POST" and request.target.partition(b"?")[0].endswith(_LOGGED)


class PayloadLogger:
    """Sends exchanges to the detector service. `counts` holds what became of them, in exchanges."""

    def __init__(self, host: str, port: int, source: str, clock: Clock = system_clock) -> None:
        self.counts: Counter[str] = Counter()
        self._upstream = Upstream(host, port)
        self._host = f"{host}:{port}".encode()
        self._source = source
        self._clock = clock
        self._waiting: deque[tuple[Exchange, tuple[bytes, bytes]]] = deque()
        self._bytes = 0
        self._sending = 0
        self._wake = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._workers = [loop.create_task(self._work()) for _ in range(WORKERS)]

    def offer(self, exchange: Exchange) -> None:
        """Take an exchange, if it is one to be logged and there is room for it."""
        if exchange.answer.status != 200 or not is_logged(exchange.request):
            return
        if (bodies := exchange.bodies()) is None:
            self.counts["dropped_large"] += 1
            return
        size = len(bodies[0]) + len(bodies[1])
        if len(self._waiting) >= QUEUE or self._bytes + size > QUEUE_BYTES:
            self.counts["dropped_queue_full"] += 1
            return
        self._waiting.append((exchange, bodies))
        self._bytes += size
        self._wake.set()

    async def close(self) -> None:
        """Send what waits for at most `FLUSH_SECONDS`, and count the rest."""
        end = asyncio.get_running_loop().time() + FLUSH_SECONDS
        while (self._waiting or self._sending) and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.02)
        self.counts["dropped_at_end"] += len(self._waiting) + self._sending
        for worker in self._workers:
            worker.cancel()
        self._upstream.close()

    async def _work(self) -> None:
        while True:
            while not self._waiting:
                self._wake.clear()
                await self._wake.wait()
            exchange, bodies = self._waiting.popleft()
            self._bytes -= len(bodies[0]) + len(bodies[1])
            self._sending += 1
            try:
                self.counts[await self._deliver(self._requests(exchange, *bodies))] += 1
            finally:
                self._sending -= 1

    async def _deliver(self, requests: tuple[Request, Request]) -> str:
        """Return how it went; a service that is away is waited for, and told the same id again."""
        while True:
            try:
                statuses = [await self._post(request) for request in requests]
            except TimeoutError:
                return "timeout"
            except (NotSent, Broken, ConnectionError):
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            refused = next((status for status in statuses if status >= 300), None)
            return "sent" if refused is None else f"refused_{refused}"

    async def _post(self, request: Request) -> int:
        async with asyncio.timeout(SECONDS):
            connection, answer = await self._upstream.exchange(request, [])
            while answer.body is None and await answer.channel.read():
                pass
        self._upstream.release(connection)
        return answer.status

    def _requests(self, exchange: Exchange, asked: bytes, answered: bytes) -> tuple[Request, Request]:
        identity, moment = str(uuid.uuid4()), self._clock()
        extensions = {
            "inferenceservicename": exchange.model,
            "namespace": "local",
            "component": "predictor",
            "endpoint": "default",
            "annotations": orjson.dumps({REVISION_KEY: exchange.revision}).decode(),
        }
        if exchange.shadow:
            extensions["shadow"] = "true"

        def event(kind: str, body: bytes, headers: Headers) -> Request:
            content_type = _header(headers, b"content-type") or b"application/json"
            attributes, data = to_binary(
                CloudEvent(identity, self._source, kind, body, content_type.decode("latin-1"), moment, None, extensions)
            )
            sent = [(name.encode(), value.encode("latin-1")) for name, value in attributes.items()]
            if (length := _header(headers, BINARY_LENGTH)) is not None:
                sent.append((BINARY_LENGTH, length))
            return Request(Channel(_NO_SOCKET), b"POST", b"/", [(b"host", self._host), *sent], data)

        return (
            event(REQUEST_TYPE, asked, exchange.request.headers),
            event(RESPONSE_TYPE, answered, exchange.answer.headers),
        )


def _header(headers: Headers, name: bytes) -> bytes | None:
    return next((value for key, value in headers if key == name), None)
