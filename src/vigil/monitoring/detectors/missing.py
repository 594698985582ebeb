"""Missing values as a test of their own: no statistic of the present values shows that a feed has gone silent."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vigil.monitoring.detectors.laws import Floats, share_chance
from vigil.monitoring.detectors.shape import is_missing
from vigil.monitoring.port import Columns


@dataclass(frozen=True, eq=False)
class MissingShares:
    """Where the values of a reference are missing."""

    known: Mapping[str, NDArray[np.bool_]]
    """By column."""

    def chances(self, window: Columns, weights: Floats | None) -> dict[str, float]:
        """Return for each column the chance of so many missing values; `weights` weigh the reference's rows."""
        missing = {name: int(np.isnan(values).sum()) for name, values in window.numbers.items()}
        missing |= {name: int(is_missing(entries).sum()) for name, entries in window.categories.items()}
        return {name: self._chance(known, missing[name], len(window), weights) for name, known in self.known.items()}

    def _chance(self, known: NDArray[np.bool_], missing: int, rows: int, weights: Floats | None) -> float:
        if not missing and not known.any():
            return 1.0
        if weights is None:
            return share_chance((missing, rows), (float(known.sum()), float(len(known))))
        total = weights.sum()
        worth = float(total**2 / (weights**2).sum())
        return share_chance((missing, rows), (float(weights[known].sum() / total) * worth, worth))


def missing_shares(reference: Columns) -> MissingShares:
    """Return where the values of each column are missing."""
    numbers = {name: np.isnan(values) for name, values in reference.numbers.items()}
    return MissingShares({**numbers, **{name: is_missing(values) for name, values in reference.categories.items()}})
