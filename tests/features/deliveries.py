"""Logs as they arrive: late, twice, changed, in batches; and what a store has to make of them, told in plain Python."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from hypothesis import strategies as st

from tests.features.logs import MINUTE, START, logs
from vigil.contracts.events import Event

LATENESS = timedelta(hours=1)

_DELAYS = (0, 0, 0, 10, 59, 61, 24 * 60, 4 * 24 * 60)
"""Minutes that an event is under way."""


@dataclass
class Book:
    """What should become of each event, by the rules alone."""

    accepted: list[Event] = field(default_factory=list)
    duplicates: int = 0
    late: list[Event] = field(default_factory=list)
    conflicting: list[Event] = field(default_factory=list)
    settled: datetime = START - LATENESS

    def take(self, batch: Sequence[Event]) -> None:
        """Sort the batch out, then settle what is older than the lateness."""
        for event in batch:
            if event.event_time < self.settled:
                self.late.append(event)
            elif (known := self._known(event)) is None:
                self.accepted.append(event)
            elif known == event:
                self.duplicates += 1
            else:
                self.conflicting.append(event)
        if self.accepted:
            latest = max(event.event_time for event in self.accepted)
            self.settled = max(self.settled, latest - LATENESS)

    def _known(self, event: Event) -> Event | None:
        return next(
            (
                other
                for other in self.accepted
                if other.event_time >= self.settled and (other.kind, other.event_id) == (event.kind, event.event_id)
            ),
            None,
        )


@st.composite
def batches(draw: st.DrawFn, most: int = 20) -> list[list[Event]]:
    """Return a log cut into batches in the order of arrival."""
    arrivals: list[tuple[datetime, int, Event]] = []
    for event in draw(logs(most)):
        copies = [event]
        if draw(st.integers(0, 3)) == 0:
            copies.append(event)
        if draw(st.integers(0, 5)) == 0:
            copies.append(event.model_copy(update={"utc_offset_minutes": 120}))
        for copy in copies:
            arrivals.append((event.event_time + draw(st.sampled_from(_DELAYS)) * MINUTE, len(arrivals), copy))
    arrived = [event for _, _, event in sorted(arrivals, key=lambda arrival: arrival[:2])]
    cuts = sorted(draw(st.lists(st.integers(0, len(arrived)), max_size=4)))
    return [arrived[first:last] for first, last in zip([0, *cuts], [*cuts, len(arrived)], strict=True)]
