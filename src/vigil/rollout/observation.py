"""What a controller sees at one moment: the input of a tick."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from vigil.contracts.keys import ContentHash, ModelVersion
from vigil.monitoring.samples import Slot
from vigil.monitoring.verdicts import WatchStatus
from vigil.rollout.status import HoldKind, Request, Wish

_SAME_PERCENT = 0.5


@dataclass(frozen=True)
class RevisionSeen:
    """A revision, as the place of serving says."""

    name: str
    percent: float
    ready: bool
    shadow: bool = False
    failed: str | None = None
    """Why it was given up."""
    lacks: str | None = None
    """What it waits for, where it is not ready and the place says why."""


@dataclass(frozen=True)
class ServingSeen:
    """What serves the model."""

    candidate: RevisionSeen | None
    production: RevisionSeen | None
    strangers: Mapping[str, float] = field(default_factory=dict)
    """Percent of revisions that are neither, where it is not zero."""
    can_shadow: bool = True
    bake_percent: int = 100
    """The highest share at which the version before stays warm."""

    def grants(self, wish: Wish) -> bool:
        """Return whether the wish is true."""
        if self.strangers or (wish.candidate and (self.candidate is None or self.candidate.failed)):
            return False
        candidate, production = self.candidate, self.production
        given = candidate.percent if candidate else 0.0
        kept = production.percent if production else 0.0
        if abs(given - wish.percent) > _SAME_PERCENT or abs(kept - (100 - wish.percent)) > _SAME_PERCENT:
            return False
        wished = wish.shadow if self.can_shadow else "none"
        shadows = {"candidate": candidate, "production": production}
        return all((seen is not None and seen.shadow) == (wished == name) for name, seen in shadows.items())


@dataclass(frozen=True)
class RegistrySeen:
    """Which version the registry calls production."""

    production: ModelVersion | None
    by: str = ""
    """Who made it so, and why."""


@dataclass(frozen=True)
class LogSeen:
    """How long the audit log is, and the hash of its last entry."""

    length: int
    head: ContentHash | None


@dataclass(frozen=True)
class Observation:
    """Everything that is seen at one moment. A part that does not answer is None, and `gone` says why."""

    serving: ServingSeen | None = None
    slots: tuple[Slot, ...] = ()
    """Closed since the cursors of the status, in order."""
    watch: tuple[WatchStatus, ...] | None = None
    registry: RegistrySeen | None = None
    log: LogSeen | None = None
    requests: tuple[Request, ...] = ()
    told: frozenset[str] = frozenset()
    """Ids of the events that this controller has delivered."""
    gone: Mapping[HoldKind, str] = field(default_factory=dict)
    """Why a part did not answer."""
