"""What comes out: the share of decisions that are flagged, and how many of these were right."""

from typing import Any

import numpy as np

from vigil.monitoring.samples import LabelBatch
from vigil.monitoring.watch.rates import Range, Rates
from vigil.monitoring.watch.rows import Rows
from vigil.monitoring.watch.settings import WatchSettings
from vigil.monitoring.watch.signals import Readings


class Flagged:
    """The share of flagged decisions: beyond the limit, above what is usual, or collapsed to nothing."""

    def __init__(self, settings: WatchSettings) -> None:
        limit = settings.anomaly_rate_limit
        self.limit = Rates(Range(np.zeros(1), np.full(1, limit), np.full(1, 0.5)))
        self.usual: Rates | None = None
        self.share = settings.flagged_share
        if self.share is not None:
            self._set(self.share, settings.learning_rows)

    def learn(self, lesson: Rows) -> None:
        """Take the first decisions' share as the usual one, unless it was given."""
        if self.usual is None:
            self._set(float(lesson.flagged.mean()), len(lesson))

    def _set(self, share: float, rows: int) -> None:
        count, error = share * rows, 2 * np.sqrt(share * rows)
        low, high = max(count - error, 0.0) / rows / 1.5, (count + error + 4) / rows
        self.share = share
        self.usual = Rates(Range(np.full(1, low), np.full(1, min(max(1.5 * high, high + 0.02), 0.99)), np.full(1, 0.8)))

    def update(self, window: Rows, days: float) -> None:
        """Judge a window."""
        counts = (np.full(1, float(window.flagged.sum())), np.full(1, float(len(window))))
        for rates in (self.limit, self.usual):
            if rates is not None:
                rates.update(*counts, days, int(window.time[0]))

    def readings(self) -> Readings:
        """Return the evidence against the limit and against what is usual."""
        several = [rates for rates in (self.limit, self.usual) if rates is not None]
        labels = [("anomaly_rate", "decisions", "limit"), ("anomaly_rate", "decisions", "usual")][: len(several)]
        share = np.concatenate([rates.share() for rates in several])
        return Readings(
            labels=labels,
            log_years=np.concatenate([rates.log_years() for rates in several]),
            since=np.concatenate([rates.since() for rates in several]),
            size=share,
            now=share,
            usual=np.full(len(several), self.share or 0.0),
        )

    def restart(self) -> None:
        """Forget what was told."""
        for rates in (self.limit, self.usual):
            if rates is not None:
                rates.restart()

    def snapshot(self) -> dict[str, Any]:
        """Return the state as a JSON document."""
        usual = None if self.usual is None else self.usual.snapshot()
        return {"limit": self.limit.snapshot(), "usual": usual, "share": self.share}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        self.limit, self.share = Rates.restored(state["limit"]), state["share"]
        self.usual = None if state["usual"] is None else Rates.restored(state["usual"])


class Precision:
    """The share of flagged decisions that verdicts confirm, in the order in which the verdicts become known."""

    def __init__(self, settings: WatchSettings) -> None:
        self._settings = settings
        self.waiting: dict[str, int] = {}
        """Event time by id of flagged decisions without a verdict."""
        self.right, self.judged, self.known_at = 0, 0, 0
        self.usual = settings.precision
        self.rates: Rates | None = None
        if self.usual is not None:
            self._set(self.usual, 4 * settings.learning_verdicts)

    def remember(self, window: Rows) -> None:
        """Remember which decisions wait for a verdict; the oldest are forgotten when they are too many."""
        for k in np.flatnonzero(window.flagged):
            self.waiting[window.ids[int(k)]] = int(window.time[k])
        for old in list(self.waiting)[: max(len(self.waiting) - self._settings.memory_flagged, 0)]:
            del self.waiting[old]

    def update(self, batch: LabelBatch) -> None:
        """Judge the verdicts on flagged decisions; others say nothing about precision."""
        mine = [k for k, one in enumerate(batch.event_ids) if one in self.waiting]
        if not mine:
            return
        began = min(self.waiting[batch.event_ids[k]] for k in mine)
        right, judged = sum(bool(batch.is_fraud[k]) for k in mine), len(mine)
        for k in mine:
            self.waiting.pop(batch.event_ids[k], None)
        newest = int(max(batch.known_at[k] for k in mine))
        days = max(newest - self.known_at, 0) / 86_400e6 if self.known_at else 0.0
        self.known_at = max(self.known_at, newest)
        self._count(right, judged, days, began)

    def _count(self, right: int, judged: int, days: float, began: int) -> None:
        if self.rates is not None:
            self.rates.update(np.full(1, float(right)), np.full(1, float(judged)), days, began)
            return
        self.right, self.judged = self.right + right, self.judged + judged
        if self.judged >= self._settings.learning_verdicts:
            self._set(self.right / self.judged, self.judged)

    def _set(self, share: float, verdicts: int) -> None:
        error = np.sqrt(share * (1 - share) / verdicts)
        low = np.maximum(np.full(1, share - error - self._settings.precision_loss), 0.0)
        self.usual = share
        self.rates = Rates(Range(low, np.ones(1), np.ones(1)))

    @property
    def value(self) -> float | None:
        """The precision of the last verdicts; None without any."""
        if self.rates is not None and self.rates.rows[0] > 0:
            return float(self.rates.share()[0])
        return self.right / self.judged if self.judged else None

    def readings(self) -> Readings | None:
        """Return the evidence that precision has fallen."""
        if self.rates is None:
            return None
        labels = [("precision", "flagged decisions", "down")]
        usual = np.full(1, self.usual or 0.0)
        share = self.rates.share()
        return Readings(labels, self.rates.log_years(), self.rates.since(), share, usual, share)

    def restart(self) -> None:
        """Forget what was told."""
        if self.rates is not None:
            self.rates.restart()

    def snapshot(self) -> dict[str, Any]:
        """Return the state as a JSON document."""
        rates = None if self.rates is None else self.rates.snapshot()
        plain = {name: getattr(self, name) for name in ("waiting", "right", "judged", "known_at", "usual")}
        return plain | {"waiting": dict(self.waiting), "rates": rates}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        self.waiting = dict(state["waiting"])
        self.right, self.judged, self.known_at = state["right"], state["judged"], state["known_at"]
        self.usual = state["usual"]
        self.rates = None if state["rates"] is None else Rates.restored(state["rates"])
