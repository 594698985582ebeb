"""The parts of the alert desk put together from the settings, and the lock of the one that may work."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from vigil.alerts.journal import Journal
from vigil.settings import Settings


def open_journal(settings: Settings) -> Journal:
    """Return the journal in VIGIL_HOME/alerts."""
    return Journal(settings.home.absolute() / "alerts")


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Yield whether this process is the one that may send and escalate: the lock ends with it, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "worker.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
