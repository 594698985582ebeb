"""What a controller needs of its surroundings. Every call raises Unavailable where it may succeed later."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from vigil.contracts.cloud_events import CloudEvent
from vigil.monitoring.samples import Slot
from vigil.monitoring.verdicts import WatchStatus
from vigil.rollout.intents import Promote, RollBack
from vigil.rollout.observation import LogSeen, RegistrySeen, ServingSeen
from vigil.rollout.spec import Spec
from vigil.rollout.status import Act, Record, Status, Wish


class Serving(Protocol):
    """The place where both versions are served."""

    def see(self, spec: Spec) -> ServingSeen:
        """Return what is served, as the place itself says."""
        ...

    def serve(self, spec: Spec, wish: Wish) -> None:
        """Take the next step towards the wish and return at once; whether it is reached is seen later."""
        ...


class Traffic(Protocol):
    """Counts of requests by revision, as those who passed them on have counted."""

    def slots(self, spec: Spec, status: Status) -> Sequence[Slot]:
        """Return the slots that were closed after the one folded last."""
        ...


class Detector(Protocol):
    """The detector service."""

    def slots(self, model: str, after: int) -> Sequence[Slot]:
        """Return the closed `decisions` slots with a higher number."""
        ...

    def watch(self, model: str) -> Sequence[WatchStatus]:
        """Return the watch over each revision of a model."""
        ...


class Stages(Protocol):
    """The registry, as far as a rollout moves it."""

    def production(self, model: str) -> RegistrySeen:
        """Return which version is in production."""
        ...

    def promote(self, model: str, intent: Promote) -> None:
        """Make a version production; one that is so already is left alone."""
        ...

    def roll_back(self, model: str, intent: RollBack) -> None:
        """Put the version before back; where that has happened, nothing is done."""
        ...


class Log(Protocol):
    """The audit log of all models."""

    def see(self, model: str) -> LogSeen:
        """Return its length and head; ContractError where an entry was changed or removed."""
        ...

    def append(self, model: str, acts: Sequence[Act]) -> None:
        """Write the acts at their numbers; those that are there already are left alone."""
        ...


class Sinks(Protocol):
    """Those who are told how a rollout ended."""

    def send(self, event: CloudEvent) -> None:
        """Deliver an event to all of them."""
        ...


@dataclass(frozen=True)
class Kept:
    """A record as it was read, and the mark by which a later change of it is noticed."""

    record: Record
    mark: str


class Records(Protocol):
    """Where records are kept; each is changed by compare-and-swap."""

    def models(self) -> list[str]:
        """Return the models that have a record."""
        ...

    def load(self, model: str) -> Kept | None:
        """Return the record of a model, None without one."""
        ...

    def save(self, record: Record, before: Kept | None) -> Kept:
        """Replace `before`; raise Changed where someone else was first."""
        ...

    def locked(self) -> AbstractContextManager[Callable[[], None]]:
        """Hold the lock of the one controller; what it yields keeps it. Busy is raised where another holds it."""
        ...


@dataclass(frozen=True)
class Surroundings:
    """Everything that a rollout of one kind of place is connected to."""

    serving: Serving
    traffic: Traffic
    detector: Detector
    stages: Stages
