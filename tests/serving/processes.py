"""Real servers as child processes on loopback ports."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

RELEASE = Path(__file__).parents[1] / "registry" / "fixtures" / "release_0_1"
PUBLIC_KEY = RELEASE.with_name("release_0_1.public.pem")
MODEL = "card_fraud"
_START_SECONDS = 300.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


SIGNED = {"VIGIL_PUBLIC_KEY": str(PUBLIC_KEY)}
"""What a server is told that loads a signed bundle, as the release's is."""


@dataclass
class Served:
    """A server of one role, and a client to it."""

    role: str
    home: Path
    flags: dict[str, Any]
    variables: Mapping[str, str]
    process: "subprocess.Popen[bytes]" = field(init=False)

    def __post_init__(self) -> None:
        self.port, self.grpc_port = free_port(), free_port()
        flags = {"model_name": MODEL, "http_port": self.port, "grpc_port": self.grpc_port, **self.flags}
        command = [sys.executable, "-m", f"vigil.serving.{self.role}"]
        command += [f"--{name}" if value is True else f"--{name}={value}" for name, value in flags.items()]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("VIGIL_")}
        environment |= {"VIGIL_HOME": str(self.home), **self.variables}
        self.home.mkdir(parents=True, exist_ok=True)
        self._errors = self.home / f"{self.role}-{self.port}.err"
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(command, env=environment, stderr=errors, stdout=errors)
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30, trust_env=False)

    @property
    def path(self) -> str:
        return f"/v1/models/{MODEL}"

    @property
    def errors(self) -> str:
        return self._errors.read_text()

    def is_ready(self) -> bool:
        with suppress(httpx.TransportError):
            return self.http.get("/v2/health/ready").status_code == 200
        return False

    def wait_until(self, ready: bool = True) -> "Served":
        limit = time.monotonic() + _START_SECONDS
        while self.is_ready() != ready:
            assert self.process.poll() is None, self.errors
            assert time.monotonic() < limit, self.errors
            time.sleep(0.05)
        return self

    def wait_until_listening(self) -> "Served":
        limit = time.monotonic() + _START_SECONDS
        while True:
            with suppress(httpx.TransportError):
                self.http.get("/v2/health/live")
                return self
            assert self.process.poll() is None and time.monotonic() < limit, self.errors
            time.sleep(0.05)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def close(self) -> None:
        self.http.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        return self.http.post(path, json=body, headers=headers)

    def predict(self, *instances: Any) -> httpx.Response:
        return self.post(f"{self.path}:predict", {"instances": list(instances)})


@contextmanager
def serve(role: str, home: Path, variables: Mapping[str, str] = {}, **flags: Any) -> Iterator[Served]:
    if role == "predictor":
        flags = {"model_dir": RELEASE, **flags}
    served = Served(
        role, home, {"drain_seconds": 0.2, "revision": "rev-7", "model_version": "7", **flags}, {**SIGNED, **variables}
    )
    try:
        yield served
    finally:
        served.close()


@contextmanager
def serve_pair(home: Path, vectors: bool = False, **flags: Any) -> Iterator[tuple[Served, Served]]:
    with serve("predictor", home, **flags) as predictor:
        own = {"predictor_host": f"127.0.0.1:{predictor.port}"} | ({"vectors": True} if vectors else {})
        with serve("transformer", home, **own, **flags) as transformer:
            predictor.wait_until()
            transformer.wait_until()
            yield predictor, transformer
