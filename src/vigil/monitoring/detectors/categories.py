"""Categories compared with a reference by chi-square, with rare ones pooled and unseen ones counted."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from vigil.monitoring.detectors.laws import Floats, chi2_chance, share_chance, smallest_of

LEAST_EXPECTED = 5.0
"""Rows of a window expected of a category, and rows of it in the reference, without which it counts as rare."""


@dataclass(frozen=True, eq=False)
class PooledCounts:
    """Rows by category, the last cell for all rare ones."""

    window: Floats
    reference: Floats
    unseen: float
    """Rows of the window whose category the reference lacks; they count as rare."""


@dataclass(frozen=True, eq=False)
class CategoryColumn:
    """One column of categories with its reference."""

    codes: dict[str, int]
    """By category."""
    reference: NDArray[np.int64]
    """Code of each row; missing values have the code len(codes)."""

    @classmethod
    def of(cls, values: Sequence[str | None]) -> Self:
        """Return the column with these reference values."""
        codes = {name: code for code, name in enumerate(sorted({value for value in values if value is not None}))}
        missing = len(codes)
        coded = (missing if value is None else codes[value] for value in values)
        return cls(codes, np.fromiter(coded, np.int64, len(values)))

    def compare(self, values: Sequence[str | None], weights: Floats | None) -> tuple[float, float]:
        """Return chi-square and its chance of the present values; `weights` weigh the rows of the reference."""
        counts = self.pool(values, weights)
        if counts is None:
            return 0.0, 1.0
        statistic, chance = chi2_chance(counts.window, counts.reference)
        if not counts.unseen:
            return statistic, chance
        rows, worth = float(counts.window.sum()), float(counts.reference.sum())
        new = share_chance((counts.unseen, rows), (self.singles * worth, worth))
        return statistic, smallest_of([chance, new])

    def pool(self, values: Sequence[str | None], weights: Floats | None) -> "PooledCounts | None":
        """Return the counts of the present values, or None if one side has none."""
        found = Counter(values)
        found.pop(None, None)
        window = np.array([found.pop(name, 0) for name in self.codes], dtype=np.float64)
        unseen = float(sum(found.values()))
        reference, worth = self._counts(weights)
        rows = float(window.sum()) + unseen
        if rows <= 0.0 or worth <= 0.0:
            return None
        rare = min(rows, worth) * reference / worth < LEAST_EXPECTED
        known = np.append(reference[~rare], reference[rare].sum())
        return PooledCounts(*_merge_last(np.append(window[~rare], window[rare].sum() + unseen), known), unseen)

    @cached_property
    def singles(self) -> float:
        """Share of the rows whose category no other row has: as many of new rows are expected to be unseen."""
        counts = np.bincount(self.reference, minlength=len(self.codes) + 1)[:-1]
        return float((counts == 1).sum() / max(1, counts.sum()))

    def _counts(self, weights: Floats | None) -> tuple[Floats, float]:
        cells = len(self.codes) + 1
        if weights is None:
            unweighted = np.bincount(self.reference, minlength=cells)[:-1]
            return unweighted.astype(np.float64), float(unweighted.sum())
        counts: Floats = np.bincount(self.reference, weights=weights, minlength=cells)[:-1].astype(np.float64)
        present = weights[self.reference < cells - 1]
        total, squares = present.sum(), (present**2).sum()
        if total <= 0.0:
            return counts, 0.0
        worth = total**2 / squares
        return counts / total * worth, float(worth)


def _merge_last(window: Floats, reference: Floats) -> tuple[Floats, Floats]:
    """Return the counts with the last cell (all rare ones) merged into the smallest other if it is rare itself."""
    total = window.sum() + reference.sum()
    share = (window[-1] + reference[-1]) / total
    if len(window) < 3 or share * min(window.sum(), reference.sum()) >= LEAST_EXPECTED:
        return window, reference
    smallest = int(np.argmin(reference[:-1]))
    for counts in (window, reference):
        counts[smallest] += counts[-1]
    return window[:-1], reference[:-1]
