"""What the tests of the stores share: a Redis of their own, stores of every kind, and a writer that never gives up."""

import shutil
import signal
import socket
import socketserver
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import redis

from vigil.clock import ManualClock
from vigil.features.store import CachedStore, Change, MemoryStore, Outcome, Retention, SqliteStore, StateStore
from vigil.features.store.redis_store import RedisStore

ROOT = Path(__file__).parents[3]
START = datetime(2026, 1, 1, tzinfo=UTC)
CACHE_TTL = timedelta(seconds=30)
KINDS = ("memory", "sqlite", "redis", "cached memory", "cached sqlite", "cached redis")


def eventually(is_so: Callable[[], object]) -> bool:
    """Return whether the condition came true within ten seconds."""
    deadline = time.monotonic() + 10
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


class RedisServer:
    """A redis-server child process on a unix socket, without persistence."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="vigil-redis-"))
        self.url = f"unix://{self.folder}/redis.sock"
        self.start()

    def start(self) -> None:
        options = ("--port", "0", "--unixsocket", f"{self.folder}/redis.sock", "--save", "", "--dir", f"{self.folder}")
        self.process = subprocess.Popen(("redis-server", *options), stdout=subprocess.DEVNULL)
        assert eventually(self.is_up)

    def is_up(self) -> bool:
        try:
            with redis.Redis.from_url(self.url) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    def stop(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)


class LossyLine(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Passes requests on to a Redis; if it `loses_next_answer`, it hangs up once instead of passing the answer back."""

    daemon_threads = True
    loses_next_answer = False

    def __init__(self, server: RedisServer) -> None:
        self.target = str(server.folder / "redis.sock")
        self.url = f"unix://{server.folder}/line.sock"
        super().__init__(str(server.folder / "line.sock"), _Hop)


class _Hop(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        line = self.server
        assert isinstance(line, LossyLine)
        with socket.socket(socket.AF_UNIX) as redis_side:
            redis_side.connect(line.target)
            while request := self.request.recv(1 << 16):
                redis_side.sendall(request)
                answer = redis_side.recv(1 << 16)
                if line.loses_next_answer:
                    line.loses_next_answer = False
                    return
                self.request.sendall(answer)


@contextmanager
def lossy_line(server: RedisServer) -> Iterator[LossyLine]:
    with LossyLine(server) as line:
        threading.Thread(target=line.serve_forever, args=(0.01,), daemon=True).start()
        yield line
        line.shutdown()


def start_redis() -> RedisServer:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    return RedisServer()


@dataclass
class Workbench:
    """Opens clients of one and the same place, of one kind of store."""

    kind: str
    folder: Path
    redis_url: str = ""
    clock: ManualClock = field(default_factory=lambda: ManualClock(START))
    namespace: str = field(default_factory=lambda: f"test:{uuid4().hex}")
    opened: list[StateStore] = field(default_factory=list)

    def open(self, retention: Retention | None = None) -> StateStore:
        store = self._behind(retention)
        if self.kind.startswith("cached"):
            store = CachedStore(store, ttl=CACHE_TTL, clock=self.clock)
        self.opened.append(store)
        return store

    def pass_time(self, by: timedelta) -> None:
        """Move the clock; Redis has its own, so there the given time really passes."""
        self.clock.advance(by + CACHE_TTL)
        if "redis" in self.kind:
            time.sleep(by.total_seconds())

    def close(self) -> None:
        for store in self.opened:
            store.close()

    def _behind(self, retention: Retention | None) -> StateStore:
        if "sqlite" in self.kind:
            return SqliteStore(self.folder / "state.sqlite", self.namespace, retention=retention, clock=self.clock)
        if "redis" in self.kind:
            return RedisStore(self.redis_url, self.namespace, retention=retention, timeout=timedelta(seconds=5))
        return MemoryStore(retention=retention, clock=self.clock)


def increment(store: StateStore, keys: list[str], event_id: str) -> Outcome:
    """Add one to the number in each state, in as many rounds as conflicts demand."""
    while True:
        found = store.get_many(keys)
        changes = [
            Change(key, str(int(state.value) + 1 if state else 1).encode(), state.version if state else 0)
            for key, state in zip(keys, found, strict=True)
        ]
        outcome = store.commit(changes, event_id).outcome
        if outcome is not Outcome.CONFLICT:
            return outcome


def number(store: StateStore, key: str) -> int:
    (state,) = store.get_many([key])
    return int(state.value) if state else 0
