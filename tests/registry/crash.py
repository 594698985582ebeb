"""Does something in child processes that kill themselves, each one step later than the one before.

    python -m tests.registry.crash promote|write STORES

A step is an operation on a path below STORES, as Python's audit hooks report it, or on the content of a file.
STORES/NUMBER is a copy of STORES/start for each child; the last one is the child that was not killed any more.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.registry.samples import MONDAY, metadata, parts
from vigil.contracts.keys import ModelName, ModelVersion
from vigil.registry.bundle import write_bundle
from vigil.registry.registry import Registry
from vigil.registry.store import FolderStore

PARTS = parts()


def die_at(step: int, root: Path) -> None:
    """Kill this process, as the kernel would for want of memory, just before the given operation."""
    seen = 0

    def count() -> None:
        nonlocal seen
        seen += 1
        if seen == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_path(_: str, arguments: tuple[Any, ...]) -> None:
        if any(isinstance(argument, str | Path) and str(argument).startswith(str(root)) for argument in arguments):
            count()

    def on_content(_: Any, event: str, function: Any) -> None:
        if event == "c_call" and function.__name__ in ("write", "flush", "fsync"):
            count()

    sys.addaudithook(on_path)
    sys.setprofile(on_content)


def promote(root: Path) -> None:
    Registry(FolderStore(root), clock=lambda: MONDAY).promote(
        ModelName("card_fraud"),
        ModelVersion("2"),
        expected_production=ModelVersion("1"),
        actor="person:ana",
        reason="looks good",
    )


def write(root: Path) -> None:
    write_bundle(PARTS, metadata(), FolderStore(root))


def is_killed(work: Callable[[Path], None], root: Path, step: int) -> bool:
    """Return whether the child was killed, rather than being done before that step."""
    child = os.fork()
    if child == 0:
        die_at(step, root)
        work(root)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status) and status:
        raise SystemExit(f"the child failed at step {step}")
    return os.WIFSIGNALED(status)


if __name__ == "__main__":
    work, stores, step = {"promote": promote, "write": write}[sys.argv[1]], Path(sys.argv[2]), 0
    killed = True
    while killed:
        step += 1
        shutil.copytree(stores / "start", stores / str(step))
        killed = is_killed(work, stores / str(step), step)
