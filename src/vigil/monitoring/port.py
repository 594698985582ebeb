"""The port of drift detectors: ours and those of Alibi Detect fulfil it, and pass the same checks."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

ALL_COLUMNS = "*"
"""Stands for the name of a column in the test of a detector that compares all columns at once."""


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

    def take(self, rows: NDArray[np.int64]) -> "Columns":
        """Return these rows, given in ascending order; a row may be given more than once."""
        picked = rows.tolist()
        return Columns(
            numbers={name: values[rows] for name, values in self.numbers.items()},
            categories={name: [entries[row] for row in picked] for name, entries in self.categories.items()},
            time=self.time[rows],
        )

    def only(self, names: Collection[str]) -> "Columns":
        """Return the columns with these names."""
        return Columns(
            numbers={name: values for name, values in self.numbers.items() if name in names},
            categories={name: entries for name, entries in self.categories.items() if name in names},
            time=self.time,
        )


@dataclass(frozen=True)
class ColumnTest:
    """The comparison of one column with its reference."""

    column: str
    """Its name, or ALL_COLUMNS."""
    statistic: float
    """Distance between window and reference, in the unit of the detector's statistic: 0 for none."""
    p_value: float
    """Chance of such a distance without a change, before any correction for many columns."""
    missing_p_value: float
    """The same for the share of missing values, which no statistic of the present values shows."""


@runtime_checkable
class FittedDetector(Protocol):
    """A detector with its reference."""

    @property
    def name(self) -> str:
        """The name that chooses it in the settings."""
        ...

    def test(self, window: Columns) -> tuple[ColumnTest, ...]:
        """Return a test for each column of the reference; other columns, types and too few rows are refused."""
        ...


@runtime_checkable
class WeightedDetector(FittedDetector, Protocol):
    """A fitted detector that can give the rows of its reference weights, such as those of a season."""

    def test_weighted(self, window: Columns, weights: NDArray[np.float64] | None) -> tuple[ColumnTest, ...]:
        """Return the tests against a reference whose rows have these weights, at least 0 and not all 0."""
        ...


@runtime_checkable
class Detector(Protocol):
    """A way to compare a window with a reference."""

    @property
    def name(self) -> str:
        """The name that chooses it in the settings."""
        ...

    @property
    def joint(self) -> bool:
        """Whether one test, named ALL_COLUMNS, stands for all columns."""
        ...

    def fit(self, reference: Columns) -> FittedDetector:
        """Return the detector with this reference, or raise ContractError if it cannot serve as one."""
        ...


@runtime_checkable
class OnlineDetector(Protocol):
    """A detector that takes one row after another and holds its own state."""

    @property
    def name(self) -> str:
        """The name that chooses it in the settings."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the numbers that a row must have."""
        ...

    def update(self, row: Mapping[str, float]) -> bool:
        """Take a row and return whether the stream has drifted since the last reset."""
        ...

    def reset(self) -> None:
        """Forget the rows, not the reference."""
        ...
