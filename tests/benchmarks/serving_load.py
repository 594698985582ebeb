"""The load of the serving benchmark, made by a process of its own.

`python -m tests.benchmarks.serving_load PLAN.json` sends what the plan says and prints what came of it as JSON. At a
constant rate (open loop) the latency of a request counts from the moment at which it was due, whether or not a
connection was free then; without a rate (closed loop) every connection sends again as soon as it has its answer.
"""

import json
import select
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import grpc
import numpy as np

from tests.benchmarks.serving_bodies import BODIES, Body, grpc_messages

MOST_CONNECTIONS = 200
PERCENTILES = (50, 90, 95, 99)
INFER = "/inference.GRPCInferenceService/ModelInfer"


@dataclass(frozen=True)
class Plan:
    """What to send, where to, how fast and for how long."""

    port: int
    body: str
    """Which of `serving_bodies.BODIES`, or "grpc"."""
    rows: int
    live: str
    """File of the transactions."""
    run: str
    """Part of every event id: no two plans share one."""
    seconds: float = 0.0
    requests: int = 0
    """Ends after so many instead, if it is not 0."""
    rate: float = 0.0
    """Requests a second; 0 for a closed loop."""
    connections: int = 4
    model: str = "bench"


@dataclass
class Outcome:
    """What came back."""

    statuses: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    percentiles: dict[str, float] = field(default_factory=dict)
    """Milliseconds of the requests that were answered with 200, by percentile."""
    late_ms: float = 0.0
    """99th percentile of how late the generator itself was."""

    @property
    def per_second(self) -> float:
        """Good answers a second."""
        return self.statuses.get("200", 0) / self.seconds if self.seconds else 0.0


class _Ledger:
    """Latencies, statuses and the generator's own delay."""

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.good: list[float] = []
        self.late: list[float] = []

    def answered(self, status: str, seconds: float) -> None:
        self.statuses[status] += 1
        if status == "200":
            self.good.append(seconds)

    def outcome(self, seconds: float) -> Outcome:
        values = np.percentile(np.array(self.good or [np.nan]) * 1e3, PERCENTILES)
        found = {f"p{level}": round(float(value), 3) for level, value in zip(PERCENTILES, values, strict=True)}
        late = round(float(np.percentile(np.array(self.late or [0.0]) * 1e3, 99)), 3)
        return Outcome(dict(self.statuses), seconds, found, late)


class _Line:
    """One HTTP connection with at most one request under way."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = 0.0
        self._buffer = b""
        self._end = -1

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, request: bytes, due: float) -> None:
        self.due = due
        self._buffer, self._end = b"", -1
        self.socket.sendall(request)

    def receive(self) -> str | None:
        """Read what is there; return the status once the answer is complete."""
        data = self.socket.recv(1 << 18)
        if not data:
            return "closed"
        self._buffer += data
        if self._end < 0:
            head, gap, _ = self._buffer.partition(b"\r\n\r\n")
            if not gap:
                return None
            _, _, rest = head.lower().partition(b"content-length:")
            self._end = len(head) + 4 + int(rest.partition(b"\r\n")[0])
        return self._buffer[9:12].decode() if len(self._buffer) >= self._end else None


def drive(plan: Plan) -> Outcome:
    """Send the plan's requests and return what came back."""
    return _drive_grpc(plan) if plan.body == "grpc" else _drive_http(plan)


class _Schedule:
    """When requests are due, and whether there are more."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._sent = 0
        self._start = time.perf_counter()

    def due(self) -> float | None:
        """Return when the next request is due, or None after the last."""
        plan = self._plan
        due = self._start + self._sent / plan.rate if plan.rate else time.perf_counter()
        is_over = (plan.seconds and due > self._start + plan.seconds) or (plan.requests and self._sent >= plan.requests)
        return None if is_over else due

    def take(self) -> None:
        """Count a request."""
        self._sent += 1

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._start


def _drive_http(plan: Plan) -> Outcome:
    bodies, ledger = BODIES[plan.body](plan.live, plan.rows, plan.run), _Ledger()
    next(bodies)  # reads the transactions: not in the time that is measured
    idle = [_Line(plan.port) for _ in range(plan.connections)]
    busy = set[_Line]()
    schedule = _Schedule(plan)
    while (due := schedule.due()) is not None or busy:
        if due is not None and due <= time.perf_counter() and (line := _free(plan, idle, busy)):
            line.send(_request(plan, next(bodies)), due)
            ledger.late.append(time.perf_counter() - due)
            busy.add(line)
            schedule.take()
            continue
        can_send = due is not None and (idle or _can_grow(plan, busy))
        wait = max(due - time.perf_counter(), 0) if can_send and due is not None else 1.0
        for line in select.select(list(busy), (), (), wait)[0]:
            status = line.receive()
            if status is not None:
                ledger.answered(status, time.perf_counter() - line.due)
                busy.discard(line)
                idle.append(_Line(plan.port) if status == "closed" else line)
    return ledger.outcome(schedule.elapsed)


def _can_grow(plan: Plan, busy: set[_Line]) -> bool:
    return plan.rate > 0 and len(busy) < MOST_CONNECTIONS


def _free(plan: Plan, idle: list[_Line], busy: set[_Line]) -> _Line | None:
    """Return a connection without a request; a new one for a request that is due, unless there are too many."""
    if idle:
        return idle.pop()
    return _Line(plan.port) if _can_grow(plan, busy) else None


def _request(plan: Plan, body: Body) -> bytes:
    path = body.path.format(model=plan.model)
    head = f"POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: {body.content_type}\r\n"
    return f"{head}content-length: {len(body.content)}\r\n\r\n".encode() + body.content


def _drive_grpc(plan: Plan) -> Outcome:
    messages, ledger = grpc_messages(plan.live, plan.rows, plan.run, plan.model), _Ledger()
    next(messages)
    with grpc.insecure_channel(f"127.0.0.1:{plan.port}") as channel:
        call = channel.unary_unary(INFER)
        grpc.channel_ready_future(channel).result(timeout=30)
        schedule = _Schedule(plan)
        under_way: list[grpc.Future] = []
        while (due := schedule.due()) is not None:
            if len(under_way) >= (MOST_CONNECTIONS if plan.rate else plan.connections):
                under_way.pop(0).exception(timeout=30)
                continue
            time.sleep(max(due - time.perf_counter(), 0))
            future = call.future(next(messages))
            future.add_done_callback(_note(ledger, due))
            ledger.late.append(time.perf_counter() - due)
            under_way = [*(other for other in under_way if not other.done()), future]
            schedule.take()
        for future in under_way:
            future.exception(timeout=30)
        time.sleep(0.1)  # the callbacks of the last calls
        return ledger.outcome(schedule.elapsed)


def _note(ledger: _Ledger, due: float) -> Callable[[grpc.Future], None]:
    def note(future: grpc.Future) -> None:
        error = future.exception()
        status = "200" if error is None else str(error.code().name)  # type: ignore[attr-defined]
        ledger.answered(status, time.perf_counter() - due)

    return note


if __name__ == "__main__":
    print(json.dumps(asdict(drive(Plan(**json.loads(Path(sys.argv[1]).read_text()))))))
