"""One of our HTTP services as a process of its own on a free port, in a home that outlives it."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx


class ServiceProcess:
    """`vigil NAME serve`. Whoever fills it says in which home, by which file of settings and environment."""

    def launch(self, name: str, home: Path, config: Path, environment: dict[str, str]) -> None:
        """Start the service, and return once it has told its address."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("VIGIL_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vigil", name, "serve", "--port", "0", "--config", str(config)],
            env={**kept, "HOME": str(home), **environment},
            cwd=home,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = re.findall(r"http://\S+", self.process.stdout.readline())[0]

    def post(self, path: str = "", **request: Any) -> httpx.Response:
        return httpx.post(self.url + path, timeout=30, trust_env=False, **request)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=30, trust_env=False)

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
