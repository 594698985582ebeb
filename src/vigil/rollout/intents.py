"""What a driver is to do: each can be executed again, and is, until it is observed to be done."""

from dataclasses import dataclass

from vigil.contracts.keys import ModelVersion
from vigil.rollout.spec import Spec
from vigil.rollout.status import Act, Phase, Status, Wish

FINISHED_EVENT = "vigil.rollout.finished"
"""Type of the CloudEvent that tells the outcome of a rollout."""


@dataclass(frozen=True)
class Serve:
    """Bring the split and the shadow about."""

    wish: Wish


@dataclass(frozen=True)
class Log:
    """Append the acts to the audit log, each at its number."""

    acts: tuple[Act, ...]


@dataclass(frozen=True)
class Promote:
    """Make a version production in the registry, if `expected` is it still."""

    version: ModelVersion
    expected: ModelVersion
    reason: str


@dataclass(frozen=True)
class RollBack:
    """Take `expected` out of production in the registry."""

    expected: ModelVersion
    reason: str


@dataclass(frozen=True)
class Tell:
    """Send the CloudEvent of the outcome; its id is the same however often it is sent."""

    id: str


Intent = Serve | Log | Promote | RollBack | Tell


def event_id(spec: Spec, phase: Phase) -> str:
    """Return the id of the event of an outcome."""
    return f"{spec.id}-{phase}"


def still_to_log(status: Status) -> tuple[Act, ...]:
    """Return the acts that are not seen in the log yet."""
    return tuple(act for act in status.outbox if act.number > status.logged)
