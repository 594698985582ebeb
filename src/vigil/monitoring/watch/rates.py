"""Evidence that a rate has left its range: one sequential detector for each of S yes-or-no streams.

A window of n rows with k times yes is a bet against "the rate is between `low` and `high`": its payoff is the
likelihood ratio of a rate outside to the nearest end of the range, for a grid of rates outside. Neighbouring rows that
resemble each other (bursts of one entity) are answered by a power below one, which keeps a payoff fair. The payoffs are
summed over the moments at which the change may have begun, weighted by the time in years (Shiryaev and Roberts).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vigil.monitoring.watch.packing import pack, unpack

FloatArray = NDArray[np.float64]

YEAR_DAYS = 365.25
_UP = np.array([0.02, 0.05, 0.1, 0.25, 0.5, 0.8, 0.97])
"""Parts of the way from the upper end of the range to 1."""
_DOWN = np.array([0.75, 0.5, 0.25, 0.1, 0.02])
"""Parts of the lower end of the range."""
_SMALLEST = 1e-4


@dataclass(frozen=True, eq=False)
class Range:
    """Where the rates of S streams are usual; each array has shape (S,)."""

    low: FloatArray
    """0 where no rate is too low."""
    high: FloatArray
    """1 where no rate is too high."""
    power: FloatArray
    """1 for rows that are independent of each other, less for bursts."""


def usual_range(share: FloatArray, rows: FloatArray | float, tolerance: float) -> Range:
    """Return the range around shares that were seen in so many rows: three errors and a tolerance wide."""
    count = np.maximum(rows, 1)
    error = 3 * np.sqrt((share * (1 - share) + 1 / count) / count)
    low, high = np.maximum(share - error - tolerance, 0.0), np.minimum(share + error + tolerance, 1.0)
    return Range(low, high, np.full(len(share), 0.5))


class Rates:
    """The detectors of S streams."""

    def __init__(self, usual: Range) -> None:
        self.usual = usual
        self._win, self._lose = _payoffs(usual)
        shape = self._win.shape
        self.logs = np.full(shape, -np.inf)
        self.runs = np.zeros(shape)
        """Evidence since it was last against a change: what tells when one began."""
        self.starts = np.zeros(shape, dtype=np.int64)
        self.yes, self.rows = np.zeros(shape[0]), np.zeros(shape[0])
        self._years: FloatArray | None = None

    def update(self, yes: FloatArray, rows: FloatArray, days: float, began: int) -> FloatArray:
        """Return the logarithm of each e-detector, in years, after a window with `yes` of `rows`."""
        gain = self._win * yes[:, None] + self._lose * (rows - yes)[:, None]
        moved = (rows > 0)[:, None]
        weight = np.log(max(days, 1e-6) / YEAR_DAYS)
        top = np.maximum(self.logs, weight)
        joined = top + np.log(np.exp(self.logs - top) + np.exp(weight - top))
        self.logs = np.where(moved, joined + gain, self.logs)
        fresh = (self.runs <= 0) & moved
        self.starts = np.where(fresh, began, self.starts)
        self.runs = np.where(moved, np.maximum(self.runs, 0) + gain, self.runs)
        share = 0.9 ** (rows / 25)
        self.yes, self.rows = self.yes * share + yes, self.rows * share + rows
        self._years = None
        return self.log_years()

    def log_years(self) -> FloatArray:
        """Return the logarithm of each e-detector: the mean over the rates outside the range."""
        if self._years is None:
            top = np.maximum(self.logs.max(axis=1), -1e9)
            self._years = top + np.log(np.exp(self.logs - top[:, None]).mean(axis=1) + 1e-300)
        return self._years

    def since(self) -> NDArray[np.int64]:
        """Return for each stream the start of the window with which the evidence began, in microseconds."""
        began: NDArray[np.int64] = self.starts[np.arange(len(self.starts)), np.argmax(self.logs, axis=1)]
        return began

    def share(self) -> FloatArray:
        """Return the rate of about the last 250 rows of each stream."""
        rate: FloatArray = self.yes / np.maximum(self.rows, 1e-9)
        return rate

    def restart(self) -> None:
        """Forget all evidence: what was told is over."""
        self.logs[:] = -np.inf
        self.runs[:] = 0.0
        self._years = None

    def snapshot(self) -> dict[str, Any]:
        """Return state and ranges as a JSON document."""
        usual = {name: pack(getattr(self.usual, name)) for name in ("low", "high", "power")}
        return {"usual": usual} | {name: pack(getattr(self, name)) for name in _STATE}

    @classmethod
    def restored(cls, state: dict[str, Any]) -> "Rates":
        """Return the detectors of a snapshot."""
        rates = cls(Range(**{name: unpack(value) for name, value in state["usual"].items()}))
        for name in _STATE:
            setattr(rates, name, unpack(state[name]))
        return rates


_STATE = ("logs", "runs", "starts", "yes", "rows")


def _payoffs(usual: Range) -> tuple[FloatArray, FloatArray]:
    """Return what a yes and a no add to the logarithms, (S, rates) each; a side that is not watched never wins."""
    high = np.clip(usual.high, _SMALLEST, 1 - _SMALLEST)[:, None]
    low = np.clip(usual.low, _SMALLEST, 1 - _SMALLEST)[:, None]
    above, below = high + (1 - high) * _UP, low * _DOWN
    win = np.concatenate([np.log(above / high), np.log(below / low)], axis=1)
    lose = np.concatenate([np.log((1 - above) / (1 - high)), np.log((1 - below) / (1 - low))], axis=1)
    watched = np.concatenate(
        [np.repeat((usual.high < 1)[:, None], len(_UP), 1), np.repeat((usual.low > 0)[:, None], len(_DOWN), 1)], axis=1
    )
    power = usual.power[:, None]
    return np.where(watched, win, -1.0) * power, np.where(watched, lose, -1.0) * power
