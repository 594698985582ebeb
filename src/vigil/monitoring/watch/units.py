"""Evidence that a site sends another unit: the same site by the same factor for a few windows, with enough rows of it.

No rate of false alarms is claimed for it: what counts is nine times the usual in nearly all of a site's latest rows.
"""

from dataclasses import asdict
from typing import Any

from vigil.monitoring.cause.findings import Findings, Signal
from vigil.monitoring.cause.places import units_at_sites

_WINDOWS = 3
_LEAST_SMALL = 12
"""Rows that tell a smaller unit: thieves who try cards make a few small sales in a row."""


class Units:
    """The sites whose latest rows show another unit."""

    def __init__(self) -> None:
        self.runs: dict[str, list[int]] = {}
        """Windows in a row, and the event time of the first, by column and site."""
        self._signals: list[Signal] = []

    def update(self, findings: Findings, time: int) -> None:
        """Look at the rows after a window that ends at that event time."""
        found = {f"{one.unit.column}|{one.site}|{one.unit.factor:g}": one for one in units_at_sites(findings)}
        self.runs = {key: [self.runs.get(key, [0])[0] + 1, self.runs.get(key, [0, time])[1]] for key in found}
        sure = [
            (one, self.runs[key][1])
            for key, one in found.items()
            if self.runs[key][0] >= _WINDOWS and (one.unit.factor > 1 or one.rows >= _LEAST_SMALL)
        ]
        self._signals = [
            Signal("input", one.unit.column, "unit", 3.0 + one.rows, True, since, one.unit.factor, 1.0, one.site)
            for one, since in sure
        ]

    def signals(self) -> list[Signal]:
        """Return those that are sure; all of them are in alarm."""
        return self._signals

    def restart(self) -> None:
        """Forget what was told."""
        self.runs, self._signals = {}, []

    def snapshot(self) -> dict[str, Any]:
        """Return the state as a JSON document."""
        return {"runs": self.runs, "signals": [asdict(signal) for signal in self._signals]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        self.runs, self._signals = state["runs"], [Signal(**signal) for signal in state["signals"]]
