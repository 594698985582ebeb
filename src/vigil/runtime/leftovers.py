"""What a killed runtime has left, and how it goes away."""

import contextlib
import shutil

import psutil  # type: ignore[import-untyped]

from vigil.runtime.files import RuntimeFolder
from vigil.runtime.status import ProcessMark


def end(marks: dict[str, ProcessMark], seconds: float) -> None:
    """End processes that nobody looks after any more."""
    processes = []
    for mark in marks.values():
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(mark.pid)
            process.terminate()
            processes.append(process)
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=seconds)


def forget(folder: RuntimeFolder) -> None:
    """Remove everything that the runtime has written."""
    folder.clear()
    shutil.rmtree(folder.path, ignore_errors=True)
