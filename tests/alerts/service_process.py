"""`vigil alerts serve` as a process of its own, in a home that outlives it."""

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml


@dataclass
class Served:
    home: Path
    settings: dict[str, Any]
    environment: dict[str, str] = field(default_factory=dict)

    def start(self) -> "Served":
        self.home.mkdir(parents=True, exist_ok=True)
        config = self.home / "alerts.yaml"
        config.write_text(yaml.safe_dump(self.settings))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vigil", "alerts", "serve", "--port", "0", "--config", str(config)],
            env=self.environ(),
            cwd=self.home,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = re.findall(r"http://\S+", self.process.stdout.readline())[0]
        return self

    def environ(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("VIGIL_")}
        own = {"VIGIL_HOME": str(self.home / "vigil"), "HOME": str(self.home)}
        return {**kept, **own, "VIGIL_ALERTS": str(self.home / "alerts.yaml"), **self.environment}

    def post(self, path: str = "", **request: Any) -> httpx.Response:
        return httpx.post(self.url + path, timeout=30, trust_env=False, **request)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=30, trust_env=False)

    def only(self) -> dict[str, Any]:
        (found,) = self.get("v1/incidents").json()
        incident: dict[str, Any] = found
        return incident

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
