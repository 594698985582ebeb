"""Mixed columns as one matrix of numbers, for detectors that look at all columns at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from vigil.monitoring.detectors.laws import Floats
from vigil.monitoring.port import Columns

_LEAST_SHARE = 0.01
"""Categories with fewer rows of the reference share one column."""

_FAR = 10.0
"""Numbers are cut at so many quartile ranges from the median: one huge value must not hide the others."""


@dataclass(frozen=True, eq=False)
class Encoder:
    """Scales of the numbers and categories of a reference."""

    numbers: Mapping[str, tuple[float, float]]
    """Median and quartile range by column."""
    categories: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, reference: Columns) -> Self:
        """Return the encoder of this reference's scales and categories."""
        return cls(
            {name: _scale(values) for name, values in reference.numbers.items()},
            {name: _usual(entries) for name, entries in reference.categories.items()},
        )

    def encode(self, rows: Columns) -> Floats:
        """Return one row of numbers for each row: scaled values, missing ones as the median and marked as missing."""
        parts = []
        for name, (middle, width) in self.numbers.items():
            scaled = (np.asarray(rows.numbers[name], dtype=np.float64) - middle) / width
            gone = np.isnan(scaled)
            parts += [np.where(gone, 0.0, scaled.clip(-_FAR, _FAR)), gone.astype(np.float64)]
        for name, usual in self.categories.items():
            entries = np.array([str(entry) for entry in rows.categories[name]])
            one_hot = [(entries == category).astype(np.float64) for category in usual]
            gone = np.fromiter((entry is None for entry in rows.categories[name]), np.bool_, len(rows))
            parts += [*one_hot, gone.astype(np.float64)]
        return np.stack(parts, axis=1)


def _scale(values: Floats) -> tuple[float, float]:
    present = np.asarray(values, dtype=np.float64)[~np.isnan(values)]
    if not len(present):
        return 0.0, 1.0
    low, middle, high = np.quantile(present, [0.25, 0.5, 0.75])
    width = float(high - low) or float(present.std()) or 1.0
    return float(middle), width


def _usual(entries: Sequence[str | None]) -> tuple[str, ...]:
    present = [entry for entry in entries if entry is not None]
    names, counts = np.unique(np.array(present, dtype=np.str_), return_counts=True)
    return tuple(names[counts >= _LEAST_SHARE * len(entries)].tolist())
