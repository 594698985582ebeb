"""Vigil's own detectors: vectorised, free, and able to weigh the rows of their reference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vigil.monitoring.detectors.categories import CategoryColumn
from vigil.monitoring.detectors.laws import Floats
from vigil.monitoring.detectors.missing import MissingShares, missing_shares
from vigil.monitoring.detectors.numbers import CramerVonMises, Distance, KolmogorovSmirnov, NumberColumn
from vigil.monitoring.detectors.shape import Shape, require_kind, shape_of
from vigil.monitoring.port import Columns, ColumnTest

MINIMUM_ROWS = 20
"""Rows of a window or a reference without which nothing is said."""


class ComparesCategories(Protocol):
    """One column of categories with its reference."""

    def compare(self, values: Sequence[str | None], weights: Floats | None) -> tuple[float, float]:
        """Return statistic and chance of the present values; `weights` weigh the rows of the reference."""
        ...


@dataclass(frozen=True, eq=False)
class FittedColumns:
    """Tests of all columns of a reference."""

    name: str
    shape: Shape
    numbers: Mapping[str, NumberColumn]
    categories: Mapping[str, ComparesCategories]
    missing: MissingShares

    def test(self, window: Columns) -> tuple[ColumnTest, ...]:
        """Return a test for each column of the reference; other columns, types and too few rows are refused."""
        return self._tests(window, None)

    def _tests(self, window: Columns, weights: Floats | None) -> tuple[ColumnTest, ...]:
        self.shape.check(window, "window")
        found = {
            name: column.compare(np.asarray(window.numbers[name], dtype=np.float64), weights)
            for name, column in self.numbers.items()
        }
        found |= {name: column.compare(window.categories[name], weights) for name, column in self.categories.items()}
        missing = self.missing.chances(window, weights)
        return tuple(ColumnTest(name, *found[name], missing[name]) for name in self.shape.names)


class FittedOwn(FittedColumns):
    """The same, and able to weigh the rows of the reference."""

    def test_weighted(self, window: Columns, weights: Floats | None) -> tuple[ColumnTest, ...]:
        """Return the tests against a reference whose rows have these weights, at least 0 and not all 0."""
        return self._tests(window, weights)


@dataclass(frozen=True)
class Own:
    """A detector for numbers, for categories, or for both."""

    name: str
    numbers: Distance | None = None
    categories: bool = False
    minimum_rows: int = MINIMUM_ROWS
    joint: bool = False

    def fit(self, reference: Columns) -> FittedOwn:
        """Return the detector with this reference, or raise ContractError if it cannot serve as one."""
        shape = shape_of(reference, self.minimum_rows)
        if self.numbers is None:
            require_kind(reference, self.name, "categories")
        if not self.categories:
            require_kind(reference, self.name, "numbers")
        return FittedOwn(
            name=self.name,
            shape=shape,
            numbers={name: self._number(values) for name, values in reference.numbers.items()},
            categories={name: CategoryColumn.of(values) for name, values in reference.categories.items()},
            missing=missing_shares(reference),
        )

    def _number(self, values: Floats) -> NumberColumn:
        return NumberColumn.of(self.numbers or KolmogorovSmirnov(), np.array(values, dtype=np.float64))


def own_detector(name: str, minimum_rows: int = MINIMUM_ROWS) -> Own:
    """Return ks, cvm, chi2, tabular (Kolmogorov-Smirnov and chi-square) or tabular_cvm."""
    ks, cvm = KolmogorovSmirnov(), CramerVonMises()
    parts: dict[str, tuple[Distance | None, bool]] = {
        "ks": (ks, False),
        "cvm": (cvm, False),
        "chi2": (None, True),
        "tabular": (ks, True),
        "tabular_cvm": (cvm, True),
    }
    distance, categories = parts[name]
    return Own(name, distance, categories, minimum_rows)
