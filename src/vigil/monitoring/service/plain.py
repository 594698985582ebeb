"""The watch over a bundle without a reference: counts, and never an alarm."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from vigil.clock import from_micros
from vigil.monitoring.cause import Fact
from vigil.monitoring.samples import LabelBatch, PairCounts, ScoredBatch, Served
from vigil.monitoring.verdicts import State, WatchStatus


class PlainWatch:
    """Knows how many decisions there were and how many of the last batch were flagged; warming for ever."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._rows = 0
        self._latest: datetime | None = None
        self._rate: float | None = None

    def add(self, batch: ScoredBatch) -> None:
        """Count decisions."""
        self._rows += len(batch)
        latest = from_micros(int(batch.event_time.max()))
        self._latest = max(self._latest or latest, latest)
        self._rate = float(batch.flagged.mean())

    def add_labels(self, batch: LabelBatch) -> None:
        """Ignore verdicts: without a reference no precision is expected."""

    def advance(self, now: int) -> None:
        """Ignore the time: there are no windows."""

    def compare(self, pairs: PairCounts | None) -> None:
        """Ignore other revisions: no cause is looked for."""

    def note(self, facts: Sequence[Fact]) -> None:
        """Ignore facts, for the same reason."""

    def status(self) -> WatchStatus:
        """Return the counts."""
        served = self._served
        return WatchStatus(
            model=served.model,
            revision=served.revision,
            version=served.version,
            bundle=served.bundle,
            state=State.WARMING,
            rows=self._rows,
            windows=0,
            watermark=self._latest,
            anomaly_rate=self._rate,
        )

    def draw(self, path: Path) -> bool:
        """Return that there is no evidence to draw."""
        return False

    def snapshot(self) -> dict[str, Any]:
        """Return the counts."""
        return {"plain": True, "rows": self._rows, "latest": self._latest and self._latest.isoformat()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the counts."""
        self._rows = int(state["rows"])
        self._latest = datetime.fromisoformat(state["latest"]) if state["latest"] else None
