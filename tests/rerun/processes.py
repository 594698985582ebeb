"""The sink as a process of its own, and a receiver of what it tells."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from tests.service_process import ServiceProcess


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
class Sink(ServiceProcess):
    """`vigil rerun serve` on a free port, in a home that outlives it."""

    home: Path
    rules: dict[str, Any]
    environment: dict[str, str] = field(default_factory=dict)

    def start(self) -> "Sink":
        self.home.mkdir(parents=True, exist_ok=True)
        config = self.home / "rerun.yaml"
        config.write_text(yaml.safe_dump(self.rules))
        own = {"VIGIL_HOME": str(self.home), "VIGIL_KFP_TOKEN": "/nowhere/token"}
        self.launch("rerun", self.home, config, {**own, **self.environment})
        return self

    def only(self) -> dict[str, Any]:
        (found,) = self.get("v1/reruns").json()
        return found


def until(condition: Callable[[], object], what: str, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.05)
