"""The standing of an alarm: when it began, what it told, and when it is over."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vigil.monitoring.cause.findings import Findings, Signal
from vigil.monitoring.cause.places import is_usual_at, units_at_sites
from vigil.monitoring.verdicts import Cause, DriftVerdict

SETTLED = {Cause.DATA_BROKEN: 3, Cause.MODEL_WORSE: 8, Cause.POPULATION_MOVED: 8, Cause.UNDECIDED: 16}
"""Windows in a row that have to agree on a cause before it is told: what is told is acted upon, so what only holds is
told soonest."""
REVISED = 3
"""Times as many before another cause is told instead, but for broken data."""


_SOON = 0.25


@dataclass
class Alarm:
    """A change that the watch is sure of."""

    first_seen: int
    """Event time in microseconds."""
    sizes: dict[str, float] = field(default_factory=dict)
    """Largest size of the change by the key of the signal that told it."""
    calm_rows: int = 0
    unit_sites: set[str] = field(default_factory=set)
    """Where another unit was seen."""
    mended_rows: int = 0
    verdict: DriftVerdict | None = None
    candidate: str = ""
    agreed: int = 0

    def hear(self, signals: Sequence[Signal]) -> None:
        """Remember the signals in alarm."""
        for signal in signals:
            if signal.is_alarm:
                known = self.sizes.get(signal.key, signal.usual)
                is_larger = abs(signal.size - signal.usual) >= abs(known - signal.usual)
                self.sizes[signal.key] = signal.size if is_larger else known

    def settle(self, verdict: DriftVerdict) -> None:
        """Tell a cause once a few windows agree on it; that data broke is told until the alarm is over."""
        self.agreed = self.agreed + 1 if verdict.cause == self.candidate else 1
        self.candidate = verdict.cause
        told = None if self.verdict is None else self.verdict.cause
        slower = told is not None and told != Cause.UNDECIDED and verdict.cause != Cause.DATA_BROKEN
        enough = SETTLED[verdict.cause] * (REVISED if slower else 1)
        if told == verdict.cause or (told != Cause.DATA_BROKEN and self.agreed >= enough):
            self.verdict = verdict

    def is_over(self, standing: Mapping[str, tuple[float, float]], found: Findings, rows: int, enough: int) -> bool:
        """Return whether all that told it is back at what is usual, for enough rows.

        Where sites sent another unit, it is over soon after they send the usual one: what a model remembers of the
        wrong values may last for weeks, and is not waited for.
        """
        self.unit_sites |= {one.site for one in units_at_sites(found)}
        if self.unit_sites:
            mended = all(is_usual_at(site, found) for site in self.unit_sites)
            self.mended_rows = self.mended_rows + rows if mended else 0
            return self.mended_rows >= enough * _SOON
        back = all(_is_back(size, *standing[key]) for key, size in self.sizes.items() if key in standing)
        self.calm_rows = self.calm_rows + rows if back else 0
        return self.calm_rows >= enough

    def snapshot(self) -> dict[str, Any]:
        """Return the state as a JSON document."""
        plain = {
            name: getattr(self, name) for name in ("first_seen", "calm_rows", "mended_rows", "candidate", "agreed")
        }
        verdict = None if self.verdict is None else self.verdict.model_dump(mode="json")
        return plain | {"sizes": dict(self.sizes), "unit_sites": sorted(self.unit_sites), "verdict": verdict}

    @classmethod
    def restored(cls, state: dict[str, Any]) -> "Alarm":
        """Return the alarm of a snapshot."""
        verdict = None if state["verdict"] is None else DriftVerdict.model_validate(state["verdict"])
        rest = {"sizes": dict(state["sizes"]), "unit_sites": set(state["unit_sites"]), "verdict": verdict}
        return cls(**{**state, **rest})


_PLAIN = ("first_seen", "calm_rows", "mended_rows", "candidate", "agreed")


def _is_back(size: float, usual: float, now: float) -> bool:
    return abs(now - usual) < 0.5 * abs(size - usual)
