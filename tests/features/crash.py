"""Updates a feature table in child processes that are killed: `python -m tests.features.crash STORES`.

STORES/start holds half of the batches. STORES/step-N is a copy whose next update was killed before its Nth change to
the folder (as Python's audit hooks report it), STORES/after-N one whose updates were killed after N milliseconds.
STORES/whole is one that nobody killed.
"""

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.features.logs import PROGRAM, sale, tables_of
from vigil.contracts.events import Event
from vigil.features.incremental import FeatureStore

CHANGES = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir")
MILLISECONDS = (3, 9, 16, 25, 36, 50, 70, 95)


def batches() -> list[list[Event]]:
    """Return sixty sales over four days in six batches; some events come once more with the next batch."""
    events: list[Event] = [sale(n, 97 * n, 1 + n % 13, customer_id=f"c{n % 7}") for n in range(60)]
    return [events[max(first - 3, 0) : first + 10] for first in range(0, 60, 10)]


HALF = batches()[:3]


def update(folder: Path, deliveries: list[list[Event]]) -> None:
    """Deliver the batches, one update each, by a store that knows only the folder."""
    for batch in deliveries:
        FeatureStore(folder, PROGRAM).update(tables_of(batch))


def die_at(step: int, root: Path) -> None:
    """Kill this process, as the kernel would for want of memory, just before the given change to a folder."""
    seen = 0

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event in CHANGES and str(arguments[0]).startswith(str(root)):
            seen += 1
            if seen == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def in_child(work: Callable[[], None], kill_after: float | None = None) -> bool:
    """Do the work in a child process and return whether it was killed."""
    child = os.fork()
    if not child:
        work()
        os._exit(0)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if status and os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
        raise RuntimeError(f"the child failed with {status}")
    return status != 0


def killed_by_step(stores: Path, step: int) -> bool:
    """Make STORES/step-N, and return whether the update was killed."""
    wreck = shutil.copytree(stores / "start", stores / f"step-{step}")

    def work() -> None:
        die_at(step, wreck)
        update(wreck, batches()[3:4])

    return in_child(work)


def killed_by_clock(stores: Path, milliseconds: int) -> None:
    """Make STORES/after-N."""
    wreck = shutil.copytree(stores / "start", stores / f"after-{milliseconds}")
    in_child(lambda: update(wreck, batches()[3:]), kill_after=milliseconds / 1000)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    update(place / "start", HALF)
    number = 1
    while killed_by_step(place, number):
        number += 3
    (place / f"step-{number}").rename(place / "whole")
    for delay in MILLISECONDS:
        killed_by_clock(place, delay)
