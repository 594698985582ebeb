"""The command lines of a revision's two processes."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vigil.settings import PREFIX, Settings


class Role(StrEnum):
    """Which of the two processes."""

    PREDICTOR = "predictor"
    TRANSFORMER = "transformer"


@dataclass(frozen=True)
class Ports:
    """Where a process listens."""

    http: int
    grpc: int


@dataclass(frozen=True)
class Launch:
    """What both processes of a revision have to know."""

    revision: str
    model: str
    version: str
    uri: str
    bundle: str
    predictor: Ports
    transformer: Ports
    feature_state: str | None = None
    vectors: bool = False
    """Whether the answers carry the vectors, so that the detector service can watch the features."""


CommandBuilder = Callable[[Role, Launch], list[str]]

HOST = "127.0.0.1"
"""Revisions are reached through the splitter only."""


_DRAIN_SECONDS = "0.2"
"""Whoever stops a revision here has already seen its last request answered."""


def server_command(role: Role, launch: Launch) -> list[str]:
    """Return the command that starts one of the ModelServers."""
    ports = launch.predictor if role is Role.PREDICTOR else launch.transformer
    command = [sys.executable, "-m", f"vigil.serving.{role}", "--host", HOST, "--drain_seconds", _DRAIN_SECONDS]
    command += ["--model_name", launch.model, "--model_version", launch.version, "--revision", launch.revision]
    command += ["--http_port", str(ports.http), "--grpc_port", str(ports.grpc)]
    if role is Role.PREDICTOR:
        return [*command, "--model_dir", launch.uri, "--bundle_hash", launch.bundle]
    command += ["--predictor_host", f"{HOST}:{launch.predictor.http}"]
    command += ["--feature_state", launch.feature_state] if launch.feature_state else []
    return [*command, "--vectors"] if launch.vectors else command


def server_environment(settings: Settings) -> dict[str, str]:
    """Return what the servers get: our own environment, with these settings in it."""
    given = settings.model_copy(update={"home": settings.home.absolute()}).model_dump(exclude_none=True)
    return dict(os.environ) | {f"{PREFIX}{name.upper()}": str(value) for name, value in given.items()}


def leave_behind(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    """Start a process that outlives this one, and whose words are added to `log`."""
    with log.open("ab") as file:
        return subprocess.Popen(
            list(command),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
