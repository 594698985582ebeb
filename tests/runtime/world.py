"""A runtime as a process of its own, with stand-in servers as revisions, and a client."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from vigil.contracts.keys import ContentHash, ModelVersion, hash_bytes
from vigil.errors import Unavailable
from vigil.runtime.child import RestartPolicy
from vigil.runtime.client import RuntimeClient
from vigil.runtime.commands import Launch, Role
from vigil.runtime.daemon import config_from_json, config_to_json, run
from vigil.runtime.ports import free_ports
from vigil.runtime.status import DeployRequest, RevisionStatus, State
from vigil.runtime.supervisor import RuntimeConfig
from vigil.settings import Settings

QUICK = RestartPolicy(
    first_seconds=0.05, max_seconds=0.2, crashes=4, crashes_before_ready=2, start_seconds=60, stop_seconds=5
)


def stand_in_command(role: Role, launch: Launch) -> list[str]:
    """Start the stand-in with the flags of the real servers."""
    ports = launch.predictor if role is Role.PREDICTOR else launch.transformer
    flags: dict[str, object] = {
        "model_name": launch.model,
        "model_dir": launch.uri,
        "model_version": launch.version,
        "revision": launch.revision,
        "http_port": ports.http,
    }
    if role is Role.TRANSFORMER:
        flags["predictor_host"] = f"127.0.0.1:{launch.predictor.http}"
    module = "tests.runtime.stand_in" if role is Role.TRANSFORMER else "tests.runtime.stand_in_predictor"
    command = [sys.executable, "-m", module]
    return command + [f"--{name}={value}" for name, value in flags.items()]


@dataclass
class World:
    """A home, the configuration of its runtime, and the processes that were started for it."""

    home: Path
    config: RuntimeConfig = field(init=False)
    supervisors: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def __post_init__(self) -> None:
        port, grpc_port = free_ports("127.0.0.1", 2)
        self.config = RuntimeConfig(
            settings=Settings(home=self.home),
            port=port,
            grpc_port=grpc_port,
            grace_seconds=0.5,
            policy=QUICK,
            monitor=False,
        )
        self.client = RuntimeClient(self.config.settings)

    def configure(self, **changes: Any) -> None:
        self.config = replace(self.config, **changes)

    def up(self) -> "subprocess.Popen[bytes]":
        """Start a supervisor and wait until it answers."""
        command = [sys.executable, "-m", "tests.runtime.world", config_to_json(self.config)]
        self.home.mkdir(exist_ok=True)
        with (self.home / "supervisor.out").open("ab") as output:
            self.supervisors.append(subprocess.Popen(command, stdout=output, stderr=output))
        self.until(self.answers, 60)
        return self.supervisors[-1]

    def answers(self) -> bool:
        assert self.supervisors[-1].poll() is None, (self.home / "supervisor.out").read_text()
        with suppress(Unavailable):
            return self.client.status().pid == self.supervisors[-1].pid
        return False

    def bundle(self, name: str, **behaviour: Any) -> DeployRequest:
        """Write what a revision is to do, and return the request that deploys it."""
        folder = self.home / "bundles" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "behaviour.json").write_text(json.dumps(behaviour))
        bundle = ContentHash(hash_bytes(name.encode()))
        return DeployRequest(model="m", version=ModelVersion(name), bundle=bundle, uri=str(folder))

    def deploy(
        self, name: str, traffic: float | None = 100.0, shadow: bool = False, **behaviour: Any
    ) -> RevisionStatus:
        request = self.bundle(name, **behaviour).model_copy(update={"traffic": traffic, "shadow": shadow})
        return self.client.deploy(request, timeout=60)

    def post(self, path: str = "/v1/models/m:predict", body: bytes = b"{}") -> tuple[int, Any]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.config.port}{path}", data=body)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def crash(self) -> None:
        """Let the transformer of the revision that serves a request die."""
        self.post("/v1/models/m/crash")

    def state(self, name: str) -> State | None:
        found = self.client.status().revision(name)
        return found.state if found else None

    def pid(self, name: str, role: str = "transformer") -> int | None:
        return next(one.pid for one in self.client.revision(name).processes if one.role == role)

    def traffic(self) -> dict[str, float]:
        return {one.name: one.traffic for one in self.client.status().revisions if one.traffic}

    @staticmethod
    def until(condition: Callable[[], Any], within: float = 30) -> None:
        limit = time.monotonic() + within
        while not condition():
            assert time.monotonic() < limit, "it did not happen in time"
            time.sleep(0.05)

    def close(self) -> None:
        for supervisor in self.supervisors:
            if supervisor.poll() is None:
                supervisor.send_signal(signal.SIGTERM)
        for supervisor in self.supervisors:
            supervisor.wait(timeout=60)


def alive(pids: list[int]) -> list[int]:
    """Return those that live, zombies not counted."""
    found = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
    return found


@contextmanager
def world(home: Path) -> Iterator[World]:
    made = World(home)
    try:
        yield made
    finally:
        made.close()


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    run(config_from_json(sys.argv[1]), commands=stand_in_command)
