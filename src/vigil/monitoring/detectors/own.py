"""Vigil's own detectors: vectorised, free, and able to weigh the rows of their reference."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vigil.monitoring.detectors.categories import CategoryColumn
from vigil.monitoring.detectors.laws import Floats, share_chance
from vigil.monitoring.detectors.numbers import CramerVonMises, Distance, KolmogorovSmirnov, NumberColumn
from vigil.monitoring.detectors.shape import Shape, is_missing, require_kind, shape_of
from vigil.monitoring.port import Columns, ColumnTest

MINIMUM_ROWS = 20
"""Rows of a window or a reference without which nothing is said."""


@dataclass(frozen=True, eq=False)
class MissingShares:
    """The share of missing values of each column of a reference."""

    missing: Mapping[str, NDArray[np.bool_]]

    def chance(self, column: str, missing: int, rows: int, weights: Floats | None) -> float:
        """Return the chance of so many missing values among the rows of a window."""
        known = self.missing[column]
        if not missing and not known.any():
            return 1.0
        if weights is None:
            return share_chance((missing, rows), (float(known.sum()), float(len(known))))
        worth = float(weights.sum() ** 2 / (weights**2).sum())
        return share_chance((missing, rows), (float(weights[known].sum() / weights.sum()) * worth, worth))


def missing_shares(reference: Columns) -> MissingShares:
    """Return where values of the reference are missing."""
    numbers = {name: np.isnan(values) for name, values in reference.numbers.items()}
    return MissingShares({**numbers, **{name: is_missing(values) for name, values in reference.categories.items()}})


@dataclass(frozen=True, eq=False)
class FittedOwn:
    """Tests of all columns of a reference."""

    name: str
    shape: Shape
    numbers: Mapping[str, NumberColumn]
    categories: Mapping[str, CategoryColumn]
    missing: MissingShares

    def test(self, window: Columns) -> tuple[ColumnTest, ...]:
        """Return a test for each column of the reference; other columns, types and too few rows are refused."""
        return self.test_weighted(window, None)

    def test_weighted(self, window: Columns, weights: Floats | None) -> tuple[ColumnTest, ...]:
        """Return the tests against a reference whose rows have these weights, at least 0 and not all 0."""
        self.shape.check(window, "window")
        found = []
        for name, column in self.numbers.items():
            values = np.asarray(window.numbers[name], dtype=np.float64)
            found.append((name, *column.compare(values, weights), int(np.isnan(values).sum())))
        for name, entries in self.categories.items():
            given = window.categories[name]
            found.append((name, *entries.compare(given, weights), sum(value is None for value in given)))
        return tuple(
            ColumnTest(name, statistic, chance, self.missing.chance(name, missing, len(window), weights))
            for name, statistic, chance, missing in found
        )


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
