"""Evidence that the mean of a column has moved: one sequential detector for each of S columns, updated together.

Under the null hypothesis a window's mean is noise around two hidden levels: one that belongs to the days (it decays
within a few days) and one that wanders slowly (the error of the reference, the season of the year). A filter follows
both, and its innovations are independent. A change at an unknown moment by an unknown size leaves a known signature in
them. So each candidate moment has an e-process: the likelihood ratio of that signature, mixed over normally distributed
sizes. The sum of the e-processes, each weighted by the time in years that it stands for, is an e-detector: it reaches x
on average no sooner than after x years without a change.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vigil.monitoring.watch.packing import pack, unpack

FloatArray = NDArray[np.float64]

YEAR_DAYS = 365.25
SIZES = (0.15, 0.6, 2.0)
"""Standard deviations of the sizes of a change, mixed with equal weight."""
_LEVELS, _SHORTEST = 9, 12


@dataclass(frozen=True, eq=False)
class Noise:
    """What is usual of S columns in standard deviations; each array has shape (S,)."""

    row: FloatArray
    """Variance of one row."""
    day: FloatArray
    """Variance of the level of days."""
    start: FloatArray
    """Variance of the slow level at the start."""
    memory: FloatArray
    """Days after which a level of days is forgotten e-fold: days in a row resemble each other."""
    wander: FloatArray
    """Variance by which the slow level grows in a day."""


class Levels:
    """The detectors of S columns."""

    def __init__(self, noise: Noise) -> None:
        self.noise = noise
        size = len(noise.row)
        self.slow, self.fast = np.zeros(size), np.zeros(size)
        self.cover = np.zeros((3, size))
        """Variance of the slow level, covariance, variance of the level of days."""
        self.cover[0], self.cover[2] = noise.start, noise.day
        self.steps = 0
        self.born = np.zeros(0, dtype=np.int64)
        self.dies = np.zeros(0, dtype=np.int64)
        self.weight = np.zeros(0)
        self.began = np.zeros(0, dtype=np.int64)
        self.absorbed = np.zeros((2, 0, size))
        self.moved, self.known = np.zeros((0, size)), np.zeros((0, size))
        self._seen: FloatArray | None = None

    def update(self, mean: FloatArray, count: FloatArray, days: float, began: int) -> FloatArray:
        """Return the logarithm of each e-detector, in years, after a window that ends `days` after the last one."""
        decay = np.exp(-days / self.noise.memory)
        self._predict(decay, days)
        variance = self.cover[0] + 2 * self.cover[1] + self.cover[2] + self.noise.row / np.maximum(count, 1)
        seen = count > 0
        surprise = np.where(seen, mean - self.slow - self.fast, 0.0)
        gains = np.stack([self.cover[0] + self.cover[1], self.cover[1] + self.cover[2]]) / variance * seen
        self._follow_candidates(surprise, variance, gains, decay, (days, began))
        self.slow += gains[0] * surprise
        self.fast += gains[1] * surprise
        self._learn(gains, variance)
        self.steps += 1
        self._seen = None
        return self.log_years()

    def log_years(self) -> FloatArray:
        """Return the logarithm of each e-detector."""
        if not len(self.weight):
            return np.full(len(self.slow), -np.inf)
        logs = self._logs()
        top = logs.max(axis=0)
        total: FloatArray = top + np.log(np.exp(logs - top).sum(axis=0))
        return total

    def since(self) -> NDArray[np.int64]:
        """Return for each column the start of the window at which a change explains most, in microseconds."""
        if not len(self.weight):
            return np.zeros(len(self.slow), dtype=np.int64)
        began: NDArray[np.int64] = self.began[self._best()]
        return began

    def shift(self) -> FloatArray:
        """Return the likeliest size of the change in each column, in standard deviations."""
        if not len(self.weight):
            return np.zeros(len(self.slow))
        best, columns = self._best(), np.arange(len(self.slow))
        size: FloatArray = self.moved[best, columns] / np.maximum(self.known[best, columns], 1e-12)
        return size

    def wandered(self) -> FloatArray:
        """Return how far each slow level is from the reference, less three of its errors, 0 at least."""
        far: FloatArray = np.abs(self.slow) - 3 * np.sqrt(np.maximum(self.cover[0], 0.0))
        return np.maximum(far, 0.0)

    def restart(self) -> None:
        """Forget all candidates: what was told is over."""
        self._keep(np.zeros(len(self.weight), dtype=np.bool_))
        self._seen = None

    def _predict(self, decay: FloatArray, days: float) -> None:
        self.fast *= decay
        self.cover[0] += self.noise.wander * days
        self.cover[1] *= decay
        self.cover[2] = decay**2 * self.cover[2] + self.noise.day * (1 - decay**2)

    def _follow_candidates(
        self, surprise: FloatArray, variance: FloatArray, gains: FloatArray, decay: FloatArray, when: tuple[float, int]
    ) -> None:
        self._keep(self.dies > self.steps)
        self._add(*when)
        self.absorbed[1] *= decay
        visible = 1.0 - self.absorbed[0] - self.absorbed[1]
        seen = gains[0] + gains[1] > 0
        self.moved += np.where(seen, visible * (surprise / variance), 0.0)
        self.known += np.where(seen, visible**2 / variance, 0.0)
        self.absorbed += gains[:, None, :] * visible

    def _learn(self, gains: FloatArray, variance: FloatArray) -> None:
        self.cover[0] -= gains[0] ** 2 * variance
        self.cover[1] -= gains[0] * gains[1] * variance
        self.cover[2] -= gains[1] ** 2 * variance

    def _add(self, days: float, began: int) -> None:
        """Add a candidate; every second one lives twice as long, so that few of them cover every age."""
        rank = min(_trailing_zeros(self.steps + 1), _LEVELS - 1)
        share = 2.0**rank * 2 / (_LEVELS + 1)
        size = len(self.slow)
        self.born = np.append(self.born, self.steps)
        self.dies = np.append(self.dies, self.steps + (_SHORTEST << rank))
        self.weight = np.append(self.weight, max(days, 1e-6) / YEAR_DAYS * share)
        self.began = np.append(self.began, began)
        self.absorbed = np.concatenate([self.absorbed, np.zeros((2, 1, size))], axis=1)
        self.moved = np.concatenate([self.moved, np.zeros((1, size))])
        self.known = np.concatenate([self.known, np.zeros((1, size))])

    def _keep(self, kept: NDArray[np.bool_]) -> None:
        self.born, self.dies, self.weight = self.born[kept], self.dies[kept], self.weight[kept]
        self.began, self.absorbed = self.began[kept], self.absorbed[:, kept]
        self.moved, self.known = self.moved[kept], self.known[kept]

    def _logs(self) -> FloatArray:
        """Return the logarithm of each weighted e-process, (candidates, S); computed once for a window."""
        if self._seen is None:
            self._seen = self._compute_logs()
        return self._seen

    def _best(self) -> NDArray[np.int64]:
        best: NDArray[np.int64] = np.argmax(self._logs() - np.log(self.weight)[:, None], axis=0).astype(np.int64)
        return best

    def _compute_logs(self) -> FloatArray:
        square = self.moved**2
        parts = [square / (2 * (self.known + size**-2)) - 0.5 * np.log1p(size**2 * self.known) for size in SIZES]
        top = np.maximum(np.maximum(parts[0], parts[1]), parts[2])
        mixed = top + np.log(sum(np.exp(part - top) for part in parts) / len(SIZES))
        logs: FloatArray = mixed + np.log(self.weight)[:, None]
        return logs

    def snapshot(self) -> dict[str, Any]:
        """Return the state as a JSON document."""
        return {name: pack(getattr(self, name)) for name in _STATE} | {"steps": self.steps}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        for name in _STATE:
            setattr(self, name, unpack(state[name]))
        self.steps, self._seen = int(state["steps"]), None


_STATE = ("slow", "fast", "cover", "born", "dies", "weight", "began", "absorbed", "moved", "known")


def _trailing_zeros(number: int) -> int:
    return (number & -number).bit_length() - 1
