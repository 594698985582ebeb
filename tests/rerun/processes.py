"""The sink as a process of its own, and a receiver of what it tells."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import yaml


@dataclass
class Receiver:
    """Takes CloudEvents after it has answered 503 as often as it is told to."""

    unwilling: int = 0
    events: list[Any] = field(default_factory=list)
    host: str = "127.0.0.1"

    def __post_init__(self) -> None:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = 503 if owner.unwilling > 0 else 202
                owner.unwilling -= 1
                if status == 202:
                    owner.events.append(body)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer((self.host, 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.server.server_address[1]}/"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@dataclass
class Sink:
    """`vigil rerun serve` on a free port, in a home that outlives it."""

    home: Path
    rules: dict[str, Any]
    environment: dict[str, str] = field(default_factory=dict)

    def start(self) -> "Sink":
        self.home.mkdir(parents=True, exist_ok=True)
        config = self.home / "rerun.yaml"
        config.write_text(yaml.safe_dump(self.rules))
        kept = {name: value for name, value in os.environ.items() if not name.startswith("VIGIL_")}
        own = {"VIGIL_HOME": str(self.home), "HOME": str(self.home), "VIGIL_KFP_TOKEN": "/nowhere/token"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vigil", "rerun", "serve", "--port", "0", "--config", str(config)],
            env={**kept, **own, **self.environment},
            cwd=self.home,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = re.findall(r"http://\S+", self.process.stdout.readline())[0]
        return self

    def post(self, event: dict[str, Any]) -> httpx.Response:
        return httpx.post(self.url, timeout=30, trust_env=False, **event)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=30, trust_env=False)

    def only(self) -> dict[str, Any]:
        (found,) = self.get("v1/reruns").json()
        return found

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        self._end(signal.SIGTERM)
        return self.process.returncode

    def _end(self, number: signal.Signals) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()


def until(condition: Callable[[], object], what: str, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.05)
