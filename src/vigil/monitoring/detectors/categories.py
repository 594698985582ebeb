"""Categories compared with a reference by chi-square, with rare ones pooled and unseen ones counted."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from vigil.monitoring.detectors.laws import Floats, chi2_chance, share_chance, smallest_of

LEAST_EXPECTED = 5.0
"""Rows of a window expected of a category, and rows of it in the reference, without which it counts as rare."""


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
        found = Counter(values)
        found.pop(None, None)
        window = np.array([found.pop(name, 0) for name in self.codes], dtype=np.float64)
        unseen = float(sum(found.values()))
        rows = window.sum() + unseen
        reference, worth = self._counts(weights)
        if rows <= 0.0 or worth <= 0.0:
            return 0.0, 1.0
        rare = np.minimum(rows, worth) * reference / worth < LEAST_EXPECTED
        pooled = window[rare].sum() + unseen
        usual = (np.append(window[~rare], pooled), np.append(reference[~rare], reference[rare].sum()))
        statistic, chance = chi2_chance(*_merge_last(*usual))
        if not unseen:
            return statistic, chance
        return statistic, smallest_of([chance, share_chance((unseen, rows), (0.0, worth))])

    def _counts(self, weights: Floats | None) -> tuple[Floats, float]:
        cells = len(self.codes) + 1
        if weights is None:
            unweighted: Floats = np.bincount(self.reference, minlength=cells)[:-1].astype(np.float64)
            return unweighted, float(unweighted.sum())
        counts = np.bincount(self.reference, weights=weights, minlength=cells)[:-1]
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
