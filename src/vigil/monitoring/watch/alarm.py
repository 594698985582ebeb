"""The standing of an alarm: when it began, what it told, and when it is over."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vigil.monitoring.cause.findings import Signal
from vigil.monitoring.verdicts import Cause, DriftVerdict

SETTLED, UNSETTLED = 3, 12
"""Windows in a row that have to agree on a cause before it is told, or told anew; and that it cannot be told."""


@dataclass
class Alarm:
    """A change that the watch is sure of."""

    first_seen: int
    """Event time in microseconds."""
    sizes: dict[str, float] = field(default_factory=dict)
    """Largest size of the change by the key of the signal that told it."""
    calm_rows: int = 0
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
        """Tell a cause once a few windows agree on it, and later another one on the same terms."""
        self.agreed = self.agreed + 1 if verdict.cause == self.candidate else 1
        self.candidate = verdict.cause
        enough = UNSETTLED if verdict.cause == Cause.UNDECIDED else SETTLED
        if self.agreed >= enough or (self.verdict is not None and verdict.cause == self.verdict.cause):
            self.verdict = verdict

    def is_over(self, standing: Mapping[str, tuple[float, float]], rows: int, enough: int) -> bool:
        """Return whether all that told it is back at what is usual, for enough rows."""
        back = all(_is_back(size, *standing[key]) for key, size in self.sizes.items() if key in standing)
        self.calm_rows = self.calm_rows + rows if back else 0
        return self.calm_rows >= enough

    def snapshot(self) -> dict[str, Any]:
        """Return the state as a JSON document."""
        plain = {name: getattr(self, name) for name in ("first_seen", "calm_rows", "candidate", "agreed")}
        verdict = None if self.verdict is None else self.verdict.model_dump(mode="json")
        return plain | {"sizes": dict(self.sizes), "verdict": verdict}

    @classmethod
    def restored(cls, state: dict[str, Any]) -> "Alarm":
        """Return the alarm of a snapshot."""
        verdict = None if state["verdict"] is None else DriftVerdict.model_validate(state["verdict"])
        return cls(**{**state, "sizes": dict(state["sizes"]), "verdict": verdict})


def _is_back(size: float, usual: float, now: float) -> bool:
    return abs(now - usual) < 0.5 * abs(size - usual)
