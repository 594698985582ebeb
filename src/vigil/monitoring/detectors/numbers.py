"""Numbers compared with a reference: Kolmogorov-Smirnov and Cramer-von Mises, sound where a value repeats.

Both laws assume that no value repeats; with 90 % zeros they never alarm. So values that hold a large share of the
reference (atoms) are counted, the other values are compared by the law, and the smaller chance decides.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from vigil.monitoring.detectors.laws import (
    Floats,
    chi2_chance,
    cvm_chance,
    cvm_standardised,
    ks_chance,
    share_chance,
    smallest_of,
)

ATOM_SHARE = 0.2
"""A value with at least this share of the reference is an atom."""

_MINIMUM = 5
"""Values on each side without which the values beside the atoms are not compared."""


@dataclass(frozen=True, eq=False)
class Sorted:
    """Reference values in ascending order; `weights` are None where all weigh the same."""

    values: Floats
    rows: NDArray[np.int64]
    """Row of the reference for each value."""
    upper: NDArray[np.int64]
    """Number of values that are not greater, for each value."""

    @classmethod
    def of(cls, values: Floats, rows: NDArray[np.int64]) -> Self:
        """Return `values`, which stand in `rows` of the reference, in ascending order."""
        order = np.argsort(values, kind="stable")
        ascending = values[order]
        return cls(ascending, rows[order], np.searchsorted(ascending, ascending, side="right"))

    def cumulated(self, weights: Floats | None) -> tuple[Floats | None, float]:
        """Return the share of the k smallest values for k from 0 (None: k / n), and how many rows they are worth."""
        if weights is None:
            return None, float(len(self.values))
        chosen = weights[self.rows]
        total = chosen.sum()
        if total <= 0.0:
            return None, 0.0
        shares = np.concatenate([[0.0], np.cumsum(chosen)]) / total
        return shares, float(total**2 / (chosen**2).sum())

    def at(self, counts: NDArray[np.int64], shares: Floats | None) -> Floats:
        """Return the share of the reference below for counts of values below."""
        return counts / len(self.values) if shares is None else shares[counts]


class Distance(Protocol):
    """A statistic over two empirical distributions, and its law."""

    def measure(self, reference: Sorted, window: Floats, weights: Floats | None) -> tuple[float, float]:
        """Return statistic and chance; `window` is in ascending order, neither side is empty."""
        ...


class KolmogorovSmirnov:
    """The largest difference of the two distribution functions."""

    def measure(self, reference: Sorted, window: Floats, weights: Floats | None) -> tuple[float, float]:
        """Return the distance and its chance."""
        shares, worth = reference.cumulated(weights)
        if worth <= 0.0:
            return 0.0, 1.0
        rows = len(window)
        last = np.append(window[1:] != window[:-1], True)
        points, counts = window[last], np.flatnonzero(last) + 1
        upper = reference.at(np.searchsorted(reference.values, points, side="right"), shares)
        lower = reference.at(np.searchsorted(reference.values, points, side="left"), shares)
        above = np.abs(counts / rows - upper)
        below = np.abs(np.append(0, counts[:-1]) / rows - lower)
        distance = float(max(above.max(), below.max()))
        return distance, ks_chance(distance, rows * worth / (rows + worth))


class CramerVonMises:
    """The mean squared difference of the two distribution functions, times nm / (n + m)."""

    def measure(self, reference: Sorted, window: Floats, weights: Floats | None) -> tuple[float, float]:
        """Return the statistic and its chance."""
        shares, worth = reference.cumulated(weights)
        if worth <= 0.0:
            return 0.0, 1.0
        rows = len(window)
        here = reference.at(np.searchsorted(reference.values, window, side="right"), shares)
        own = np.searchsorted(window, window, side="right") / rows
        there = reference.at(reference.upper, shares)
        other = np.searchsorted(window, reference.values, side="right") / rows
        mass = 1.0 / len(reference.values) if shares is None else np.diff(shares)
        squares = ((own - here) ** 2).sum() + worth * (mass * (there - other) ** 2).sum()
        statistic = float(squares * rows * worth / (rows + worth) ** 2)
        return statistic, cvm_chance(cvm_standardised(statistic, rows, worth))


@dataclass(frozen=True, eq=False)
class NumberColumn:
    """One column of numbers with its reference."""

    distance: Distance
    present: Sorted
    atoms: Floats
    """Ascending."""
    rest: Sorted
    """Values that are no atoms; the same as `present` where there are none."""

    NOTHING: ClassVar = (0.0, 1.0)
    """Statistic and chance where there is nothing to compare."""

    @classmethod
    def of(cls, distance: Distance, values: Floats) -> Self:
        """Return the column with these reference values."""
        rows = np.flatnonzero(~np.isnan(values))
        present = Sorted.of(values[rows], rows)
        distinct, counts = np.unique(present.values, return_counts=True)
        atoms = distinct[counts >= ATOM_SHARE * max(len(rows), 1)]
        if not len(atoms):
            return cls(distance, present, atoms, present)
        other = rows[~np.isin(values[rows], atoms)]
        return cls(distance, present, atoms, Sorted.of(values[other], other))

    def compare(self, values: Floats, weights: Floats | None) -> tuple[float, float]:
        """Return statistic and chance of the present values; `weights` weigh the rows of the reference."""
        window = np.sort(values[~np.isnan(values)])
        if not len(window) or not len(self.present.values):
            return self.NOTHING
        statistic, chance = self.distance.measure(self.present, window, weights)
        return statistic, chance if not len(self.atoms) else self._split_chance(window, weights)

    def _split_chance(self, window: Floats, weights: Floats | None) -> float:
        low = np.searchsorted(window, self.atoms, side="left")
        hits = np.searchsorted(window, self.atoms, side="right") - low
        counts = np.append(hits, len(window) - hits.sum()).astype(np.float64)
        chances = [self._atoms_chance(counts, weights)]
        if min(counts[-1], len(self.rest.values)) >= _MINIMUM:
            others = window[~np.isin(window, self.atoms)]
            chances.append(self.distance.measure(self.rest, others, weights)[1])
        return smallest_of(chances)

    def _atoms_chance(self, counts: Floats, weights: Floats | None) -> float:
        shares, worth = self.present.cumulated(weights)
        low = self.present.at(np.searchsorted(self.present.values, self.atoms, side="left"), shares)
        high = self.present.at(np.searchsorted(self.present.values, self.atoms, side="right"), shares)
        known = np.append(high - low, 1.0 - (high - low).sum()).clip(0.0) * worth
        if len(counts) == 2 or min(counts.min(), known.min()) < _MINIMUM:
            cells = range(len(counts) - (len(counts) == 2))
            rows = counts.sum()
            return smallest_of([share_chance((counts[k], rows), (known[k], worth)) for k in cells])
        return chi2_chance(counts, known)[1]
