"""The controller as a process of its own: what `vigil rollout start` leaves behind on this machine."""

import sys
import time

from vigil.errors import Unavailable
from vigil.rollout.stores import FolderRecords
from vigil.runtime.client import RuntimeClient
from vigil.runtime.commands import leave_behind, server_environment
from vigil.settings import Settings

TICK_SECONDS = 2.0
_UP_SECONDS = 60.0
_WITHOUT_RUNTIME_SECONDS = 120.0


def carry_on(settings: Settings) -> bool:
    """Return True if a controller was started because a rollout is not over."""
    records = FolderRecords(settings.home)
    found = [records.load(model) for model in records.models()]
    if any(kept is not None and not kept.record.status.settled for kept in found):
        return ensure_controller(settings)
    return False


def ensure_controller(settings: Settings) -> bool:
    """Return True if a controller had to be started; it ends by itself when all rollouts are over."""
    records = FolderRecords(settings.home)
    if records.is_locked():
        return False
    records.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = records.root / "controller.log"
    process = leave_behind([sys.executable, "-m", "vigil.rollout"], path, server_environment(settings))
    limit = time.monotonic() + _UP_SECONDS
    while time.monotonic() < limit:
        if records.is_locked():
            return True
        if process.poll() is not None:
            raise Unavailable(f"the controller ended with status {process.returncode}: see {path}")
        time.sleep(0.05)
    raise Unavailable(f"the controller did not start within {_UP_SECONDS:g} seconds: see {path}")


class UntilIdle:
    """Says that a controller may end: nothing is left to do, or the runtime has been down for a while."""

    def __init__(self, client: RuntimeClient) -> None:
        self._client = client
        self._seen = time.monotonic()

    def __call__(self, running: bool) -> bool:
        """Return whether to end; a later controller goes on from the records."""
        if self._client.is_running():
            self._seen = time.monotonic()
        return not running or self.is_left_alone()

    def is_left_alone(self) -> bool:
        """Return whether there has been no runtime for a while."""
        return time.monotonic() - self._seen > _WITHOUT_RUNTIME_SECONDS
