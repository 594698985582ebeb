"""The port of drift detectors: ours and those of Alibi Detect fulfil it, and pass the same checks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Columns:
    """Rows to compare, column by column; NaN (numbers) and None (categories) stand for a missing value."""

    numbers: Mapping[str, NDArray[np.float64]]
    """(n,) each."""
    categories: Mapping[str, Sequence[str | None]]
    """n entries each."""
    time: NDArray[np.int64]
    """(n,), microseconds since 1970 in UTC, not falling."""

    def __len__(self) -> int:
        return len(self.time)


@dataclass(frozen=True)
class ColumnTest:
    """The comparison of one column with its reference."""

    column: str
    statistic: float
    """Distance between window and reference, in the unit of the detector's statistic: 0 for none."""
    p_value: float
    """Chance of such a distance without a change, before any correction for many columns."""
    missing_p_value: float
    """The same for the share of missing values, which no statistic of the present values shows."""


@runtime_checkable
class FittedDetector(Protocol):
    """A detector with its reference."""

    name: str

    def test(self, window: Columns) -> tuple[ColumnTest, ...]:
        """Return a test for each column of the reference; other columns, types and too few rows are refused."""
        ...


@runtime_checkable
class Detector(Protocol):
    """A way to compare a window with a reference."""

    name: str

    def fit(self, reference: Columns) -> FittedDetector:
        """Return the detector with this reference, or raise ContractError if it cannot serve as one."""
        ...
