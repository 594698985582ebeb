"""The process group of a local run: started in an environment of its own, and ended as a whole."""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from vigil.settings import child_environment

KFP_LOG = "kfp.log"
_PAUSE = 0.05
_GRACE = 5.0
"""Seconds that the processes of a run have to end by themselves when it is stopped."""


@contextlib.contextmanager
def run_process(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Yield the process that runs the folder's pipeline. Unless it succeeds, nothing of it outlives the context."""
    with _temporary_folder() as scratch, _exit_on_sigterm():
        process = _start(folder, scratch)
        try:
            yield process
        finally:
            _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    try:
        if process.poll() is None:
            _end_group(process)
    finally:
        # Also when someone who cannot wait presses Ctrl-C again.
        if process.returncode != 0:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        if process.stdin:
            process.stdin.close()


def _start(folder: Path, scratch: Path) -> "subprocess.Popen[bytes]":
    # Without PYTHONSAFEPATH a file named json.py where the user stands would break every step.
    own = {"TMPDIR": str(scratch), "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
    with (folder / KFP_LOG).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "vigil.orchestration.child", str(folder)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=child_environment(own, path_first=(_shims(folder), Path(sys.executable).parent)),
            start_new_session=True,
        )


def _shims(folder: Path) -> Path:
    """Return a folder in which `python3` is this interpreter, whatever else the machine has under that name."""
    python = folder / "bin" / "python3"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    return python.parent


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    """Yield a folder for temporary files and remove it at the end: each step of kfp leaves one."""
    folder = Path(tempfile.mkdtemp(prefix="vigil-run-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    """Let SIGTERM raise SystemExit, so that what was started is ended. Only the main thread can ask for that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    """Ask the group to end, and end it after a while."""
    os.killpg(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE
    while time.monotonic() < deadline:
        process.poll()
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(_PAUSE)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
