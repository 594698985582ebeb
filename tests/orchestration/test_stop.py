"""A run that is stopped, in whatever way, leaves no process and no temporary file."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from vigil.orchestration.local import open_run
from vigil.orchestration.runs import Outcome, StepState


def start(compiled: dict, tmp_path: Path, how: str) -> tuple["subprocess.Popen[bytes]", list[int]]:
    """Start a run and wait until its step is at work; return the parent, and the processes of step and helper."""
    where = tmp_path / "pids"
    command = [sys.executable, "-m", "tests.orchestration.stopped_run", str(compiled["bad"].path)]
    parent = subprocess.Popen([*command, str(tmp_path / "runs"), how, str(where)])
    deadline = time.monotonic() + 120
    while not where.exists():
        assert parent.poll() is None, "the run ended before its step was at work"
        assert time.monotonic() < deadline, "the step never started"
        time.sleep(0.05)
    return parent, [int(pid) for pid in where.read_text().split()]


def is_at_work(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until_gone(pids: list[int]) -> list[int]:
    deadline = time.monotonic() + 60
    while any(map(is_at_work, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return [pid for pid in pids if is_at_work(pid)]


@pytest.mark.parametrize(
    ("number", "how", "code"),
    [(signal.SIGINT, "sleep", 130), (signal.SIGTERM, "sleep", 143), (signal.SIGTERM, "stubborn", 143)],
)
def test_a_signal_ends_every_process_of_the_run(
    compiled: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, how: str, code: int
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    parent, pids = start(compiled, tmp_path, how)
    parent.send_signal(number)
    assert parent.wait(timeout=60) == code
    assert wait_until_gone(pids) == []
    assert list(temporary.iterdir()) == []
    (folder,) = (tmp_path / "runs").iterdir()
    assert open_run(folder).outcome is Outcome.STOPPED


def test_when_the_parent_is_killed_the_run_ends_too(compiled: dict, tmp_path: Path) -> None:
    parent, pids = start(compiled, tmp_path, "sleep")
    (folder,) = (tmp_path / "runs").iterdir()
    seen = open_run(folder)
    assert seen.outcome is Outcome.RUNNING
    assert seen.step("misbehave").state is StepState.RUNNING
    assert seen.step("misbehave").seconds(seen.ended) > 0
    parent.kill()
    parent.wait(timeout=60)
    assert wait_until_gone(pids) == []
    assert open_run(folder).outcome is Outcome.STOPPED
