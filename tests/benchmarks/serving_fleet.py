"""The server processes of the serving benchmark: ours as a pair, and the stock parts."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.benchmarks.serving_model import Prepared

START_SECONDS = 300
MODEL = "bench"


@dataclass(frozen=True)
class Process:
    """One server."""

    child: "subprocess.Popen[bytes]"
    http: int
    grpc: int

    def rss_mib(self) -> float:
        """Return the memory it holds."""
        return float(psutil.Process(self.child.pid).memory_info().rss / (1 << 20))

    def cpu_seconds(self) -> float:
        """Return the processor time it has used."""
        times = psutil.Process(self.child.pid).cpu_times()
        return float(times.user + times.system)


@dataclass(frozen=True)
class Ours:
    """Transformer and predictor."""

    transformer: Process
    predictor: Process


@dataclass(frozen=True)
class Stock:
    """The plain transformer, and the servers behind it."""

    transformer: Process
    forest: Process
    boosted: Process


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def ours(prepared: Prepared, home: Path) -> Iterator[Ours]:
    """Start both servers with an empty home and the states of the training, and stop them afterwards."""
    common = {"model_name": MODEL, "revision": "bench", "model_version": "1", "drain_seconds": 0}
    environment = {"VIGIL_HOME": str(home), "VIGIL_LOG_LEVEL": "WARNING"}
    modules = {role: ["-m", f"vigil.serving.{role}"] for role in ("predictor", "transformer")}
    with _process(modules["predictor"], {**common, "model_dir": prepared.bundle}, environment) as predictor:
        flags = {**common, "predictor_host": f"127.0.0.1:{predictor.http}", "feature_state": prepared.states}
        with _process(modules["transformer"], flags, environment) as transformer:
            _wait(predictor, f"/v2/models/{MODEL}/ready")
            _wait(transformer, f"/v2/models/{MODEL}/ready")
            yield Ours(transformer, predictor)


@contextmanager
def stock(folder: Path) -> Iterator[Stock]:
    """Start the stock parts, and stop them afterwards."""
    script = ["-m", "tests.benchmarks.serving_stock"]
    with (
        _process([*script, "forest", str(folder)], {}, {}) as forest,
        _process([*script, "boosted", str(folder)], {}, {}) as boosted,
    ):
        flags = {name: f"127.0.0.1:{port.http}" for name, port in (("forest", forest), ("boosted", boosted))}
        with _process([*script, "transformer", str(folder)], flags, {}) as transformer:
            _wait(forest, "/v2/models/forest/ready")
            _wait(boosted, "/v2/models/boosted/ready")
            _wait(transformer, f"/v2/models/{MODEL}/ready")
            yield Stock(transformer, forest, boosted)


@contextmanager
def _process(arguments: list[str], flags: dict[str, object], environment: dict[str, str]) -> Iterator[Process]:
    http, grpc = free_port(), free_port()
    options = [f"--{name}={value}" for name, value in {**flags, "http_port": http, "grpc_port": grpc}.items()]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("VIGIL_") or "DATA" in name}
    child = subprocess.Popen(
        [sys.executable, *arguments, *options],
        env={**inherited, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Process(child, http, grpc)
    finally:
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.wait(timeout=30)
        child.kill()
        child.wait()


def _wait(process: Process, path: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{process.http}{path}", timeout=5) as answer:
            if answer.status == 200:
                return
        if process.child.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"the server on port {process.http} did not become ready")
        time.sleep(0.1)
