"""The port behind which runs take place: here or on a Kubeflow Pipelines server."""

from dataclasses import dataclass
from typing import Protocol

from vigil.rerun.records import Outcome, Rerun, Stage


@dataclass(frozen=True)
class Seen:
    """A run as it stands."""

    run_id: str
    url: str
    stage: Stage
    error: str = ""


class Launcher(Protocol):
    """Starts and watches runs. Each method raises Unavailable where the same call may succeed later.

    A start that was not answered may have started the run all the same: `find` is asked before each start.
    """

    def find(self, rerun: Rerun) -> Seen | None:
        """Return the run of that record's name, if there is one."""
        ...

    def others(self, rerun: Rerun) -> str | None:
        """Return the name of a run of the same model that goes on and is not this one."""
        ...

    def start(self, rerun: Rerun) -> Seen:
        """Start the run and return it."""
        ...

    def outcome(self, rerun: Rerun) -> Outcome:
        """Return what a run that succeeded has brought."""
        ...
