"""The rerun sink of the demo: a process that is told of drift and starts the retraining pipeline."""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from vigil.errors import ContractError
from vigil.runtime.ports import check_free
from vigil.settings import Settings, child_environment

_READY = "takes events at"
_START_SECONDS = 90.0
CONFIG, PLAN, USE_CASE = "rerun.yaml", "rollout.yaml", "use_case.json"


def write_rules(settings: Settings, model: str, raw: Path, plan: Mapping[str, Any]) -> None:
    """Write what a rerun of the model does: on which data, and that its version is rolled out."""
    (settings.home / PLAN).write_text(yaml.safe_dump(dict(plan)), encoding="utf-8")
    rules = {
        "use_case": str(settings.home / USE_CASE),
        "data": str(raw),
        "then": "rollout",
        "plan": str(settings.home / PLAN),
    }
    (settings.home / CONFIG).write_text(yaml.safe_dump({"models": {model: rules}}), encoding="utf-8")


@contextmanager
def rerun_sink(settings: Settings, port: int) -> Iterator[None]:
    """Run the sink until the end of the block; what it has started goes on. ContractError if it does not start."""
    check_free("127.0.0.1", port, "--port")
    command = [sys.executable, "-m", "vigil", "rerun", "serve", "--config", str(settings.home / CONFIG)]
    with (settings.home / "rerun.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=child_environment({"VIGIL_HOME": str(settings.home)}),
        )
    try:
        _await_start(settings.home / "rerun.log", process)
        yield
    finally:
        process.terminate()
        process.wait(30)


def _await_start(log: Path, process: "subprocess.Popen[bytes]") -> None:
    limit = time.monotonic() + _START_SECONDS
    while _READY not in log.read_text(encoding="utf-8"):
        if process.poll() is not None or time.monotonic() > limit:
            raise ContractError(f"the rerun sink does not start: see {log}")
        time.sleep(0.2)
