"""What the service asks of a watch over one revision, and of whoever makes one."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from vigil.monitoring.cause import Fact
from vigil.monitoring.samples import LabelBatch, PairCounts, ScoredBatch, Served
from vigil.monitoring.verdicts import WatchStatus
from vigil.registry.bundle import Bundle


class WatchOver(Protocol):
    """Watches one revision. Only one thread calls it."""

    def add(self, batch: ScoredBatch) -> object:
        """Learn of decisions."""
        ...

    def add_labels(self, batch: LabelBatch) -> object:
        """Learn of verdicts on any decisions of the model."""
        ...

    def advance(self, now: int) -> object:
        """Know that it is `now` in event time (microseconds), though no decision says so."""
        ...

    def compare(self, pairs: PairCounts | None) -> object:
        """Know how this revision, as the candidate, and another one judged the same events lately."""
        ...

    def note(self, facts: Sequence[Fact]) -> object:
        """Know what others have found about the data; it replaces what was noted before."""
        ...

    def status(self) -> WatchStatus:
        """Return how the revision stands."""
        ...

    def draw(self, path: Path) -> bool:
        """Write a picture of the evidence for the verdict; return whether there is one to draw."""
        ...

    def snapshot(self) -> dict[str, Any]:
        """Return the state as a JSON document."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot, or raise ContractError if it is of another kind."""
        ...


MakeWatch = Callable[[Served, Bundle, Mapping[str, Any]], WatchOver]
"""Returns the watch over a revision, whose bundle holds the reference, by the settings of its model."""
