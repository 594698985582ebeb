"""Copies of answered requests for the detector service: CloudEvents as KServe's logger sends them.

A request and its answer are two events with the same id. Nobody waits for them: what does not fit into the queue is
counted and forgotten, request and answer together. While the service is away the queue holds what it can.
"""

import asyncio
import uuid
from collections import Counter, deque
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from vigil.clock import Clock, system_clock
from vigil.contracts.cloud_events import CloudEvent, to_binary
from vigil.runtime.splitter.http import Answer, Copy, Headers, Request
from vigil.runtime.splitter.pipe import Pipe
from vigil.runtime.splitter.upstream import Broken, NotSent

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
BATCH, BATCH_BYTES = 64, 1 << 20
"""Sent in one go."""

TRIES = 4
"""How often the service may break off a batch before that is given up."""

SECONDS = 10.0
PAUSE_SECONDS = 0.25
FLUSH_SECONDS = 2.0

_LOGGED = (b":predict", b"/infer", b"/events")


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


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    exchange: Exchange
    bodies: tuple[bytes, bytes]
    at: datetime

    @property
    def size(self) -> int:
        return len(self.bodies[0]) + len(self.bodies[1])


class PayloadLogger:
    """Sends exchanges to the detector service. `counts` holds what became of them, in exchanges."""

    def __init__(self, host: str, port: int, source: str, clock: Clock = system_clock) -> None:
        self.counts: Counter[str] = Counter()
        self._host, self._port, self._source, self._clock = host, port, source, clock
        self._pipe: Pipe | None = None
        self._heads: dict[tuple[str, str, bool], bytes] = {}
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        self._sending = 0
        self._wake = asyncio.Event()
        self._worker = asyncio.get_running_loop().create_task(self._work())

    def offer(self, exchange: Exchange) -> None:
        """Take an exchange, if it is one to be logged and there is room for it."""
        if exchange.answer.status != 200 or not is_logged(exchange.request):
            return
        if (bodies := exchange.bodies()) is None:
            self.counts["dropped_large"] += 1
            return
        waiting = _Waiting(exchange, bodies, self._clock())
        if len(self._waiting) >= QUEUE or self._bytes + waiting.size > QUEUE_BYTES:
            self.counts["dropped_queue_full"] += 1
            return
        self._waiting.append(waiting)
        self._bytes += waiting.size
        self._wake.set()

    async def close(self) -> None:
        """Send what waits for at most `FLUSH_SECONDS`, and count the rest."""
        end = asyncio.get_running_loop().time() + FLUSH_SECONDS
        while (self._waiting or self._sending) and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.02)
        self.counts["dropped_at_end"] += len(self._waiting) + self._sending
        self._worker.cancel()
        self._hang_up()

    async def _work(self) -> None:
        while True:
            while not self._waiting:
                self._wake.clear()
                await self._wake.wait()
            batch = self._next()
            self._sending = len(batch)
            for outcome in await self._deliver(b"".join(map(self._messages, batch)), len(batch)):
                self.counts[outcome] += 1
            self._sending = 0

    def _next(self) -> list[_Waiting]:
        """Return what is sent in one go: all that waits, within limits."""
        batch = [self._waiting.popleft()]
        size = batch[0].size
        while self._waiting and len(batch) < BATCH and size < BATCH_BYTES:
            batch.append(self._waiting.popleft())
            size += batch[-1].size
        self._bytes -= size
        return batch

    async def _deliver(self, messages: bytes, count: int) -> list[str]:
        """Return how it went with each; a service that is away is waited for, and told the same ids again."""
        tries = TRIES
        while True:
            try:
                if self._pipe is None or not self._pipe.usable:
                    self._pipe = await Pipe.open(self._host, self._port)
                async with asyncio.timeout(SECONDS):
                    statuses = await self._pipe.send(messages, 2 * count)
            except TimeoutError:
                self._hang_up()
                return ["timeout"] * count
            except (NotSent, Broken) as error:
                tries -= isinstance(error, Broken)
                if not tries:  # what it breaks off at again and again must not keep back all that follows
                    return ["broken"] * count
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            worst = (max(pair) for pair in zip(statuses[::2], statuses[1::2], strict=True))
            return ["sent" if status < 300 else f"refused_{status}" for status in worst]

    def _hang_up(self) -> None:
        if self._pipe is not None:
            self._pipe.close()

    def _messages(self, waiting: _Waiting) -> bytes:
        """Return request and answer as two HTTP requests with an event each."""
        exchange, (asked, answered) = waiting.exchange, waiting.bodies
        moment = waiting.at.astimezone(UTC).isoformat().replace("+00:00", "Z").encode()
        head = b"%bce-id: %b\r\nce-time: %b\r\n" % (self._head(exchange), str(uuid.uuid4()).encode(), moment)
        parts = (
            (REQUEST_TYPE, exchange.request.headers, asked),
            (RESPONSE_TYPE, exchange.answer.headers, answered),
        )
        return b"".join(head + _rest(kind, headers, body) for kind, headers, body in parts)

    def _head(self, exchange: Exchange) -> bytes:
        """Return the lines that are the same for all events of a revision."""
        key = (exchange.model, exchange.revision, exchange.shadow)
        if key not in self._heads:
            extensions = {
                "inferenceservicename": exchange.model,
                "namespace": "local",
                "component": "predictor",
                "endpoint": "default",
                "annotations": orjson.dumps({REVISION_KEY: exchange.revision}).decode(),
            } | ({"shadow": "true"} if exchange.shadow else {})
            headers, _ = to_binary(CloudEvent("", self._source, "", extensions=extensions))
            same = {name: text for name, text in headers.items() if name not in ("ce-id", "ce-type", "content-type")}
            lines = [f"{name}: {text}\r\n" for name, text in {"host": f"{self._host}:{self._port}", **same}.items()]
            self._heads[key] = b"POST / HTTP/1.1\r\n" + "".join(lines).encode("latin-1")
        return self._heads[key]


def _rest(kind: str, headers: Headers, body: bytes) -> bytes:
    """Return the rest of an event's head, and its body."""
    content_type = _header(headers, b"content-type") or b"application/json"
    lines = [b"ce-type: %b\r\ncontent-type: %b\r\n" % (kind.encode(), content_type)]
    if (length := _header(headers, BINARY_LENGTH)) is not None:
        lines.append(b"%b: %b\r\n" % (BINARY_LENGTH, length))
    return b"%bcontent-length: %d\r\n\r\n%b" % (b"".join(lines), len(body), body)


def _header(headers: Headers, name: bytes) -> bytes | None:
    return next((value for key, value in headers if key == name), None)
