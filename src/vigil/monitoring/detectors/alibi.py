"""Adapters of Alibi Detect's detectors of windows, with the holes closed that it leaves.

Alibi Detect 0.13 goes blind on a column with one NaN, cuts wider rows, alarms on rare categories and accepts a single
row. Here it gets present values, checked columns and pooled categories; missing values are tested beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from vigil.errors import Bug
from vigil.monitoring.detectors.alibi_package import import_alibi, own_draws
from vigil.monitoring.detectors.categories import CategoryColumn
from vigil.monitoring.detectors.encoding import Encoder
from vigil.monitoring.detectors.laws import SMALLEST, Floats
from vigil.monitoring.detectors.missing import MissingShares, missing_shares
from vigil.monitoring.detectors.numbers import NumberColumn, Sorted
from vigil.monitoring.detectors.own import FittedColumns
from vigil.monitoring.detectors.shape import Shape, require_kind, shape_of
from vigil.monitoring.port import ALL_COLUMNS, Columns, ColumnTest, Detector, FittedDetector

_LEAST_VALUES = 2
_NO_WEIGHTS = "Alibi Detect cannot weigh a reference: draw rows by weight instead"
_TRAIN_SHARE = 0.75
"""Of the rows; folds instead alarm on one window in six without a change."""


def alibi_detector(name: str, minimum_rows: int, seed: int) -> Detector:
    """Return alibi_ks, alibi_cvm, alibi_chi2, alibi_tabular or alibi_classifier."""
    if name == "alibi_classifier":
        return AlibiClassifier(name, minimum_rows, seed)
    return AlibiColumns(name, minimum_rows)


@dataclass(frozen=True)
class AlibiColumns:
    """KSDrift, CVMDrift, ChiSquareDrift or TabularDrift."""

    name: str
    minimum_rows: int
    joint: bool = False

    def fit(self, reference: Columns) -> FittedDetector:
        """Return the detector with this reference, or raise ContractError if it cannot serve as one."""
        shape = shape_of(reference, self.minimum_rows)
        if self.name == "alibi_chi2":
            require_kind(reference, self.name, "categories")
        elif self.name != "alibi_tabular":
            require_kind(reference, self.name, "numbers")
        package = import_alibi()
        distance = AlibiDistance(package, self.name)
        numbers = {
            name: NumberColumn.of(distance, np.array(values, dtype=np.float64))
            for name, values in reference.numbers.items()
        }
        categories = {
            name: AlibiCategories(package, self.name, CategoryColumn.of(entries))
            for name, entries in reference.categories.items()
        }
        return FittedColumns(self.name, shape, numbers, categories, missing_shares(reference))


@dataclass(frozen=True)
class AlibiDistance:
    """The statistic of a detector of Alibi Detect for one column of numbers."""

    package: ModuleType
    name: str

    def measure(self, reference: Sorted, window: Floats, weights: Floats | None) -> tuple[float, float]:
        """Return statistic and chance; `window` is in ascending order, neither side is empty."""
        if weights is not None:
            raise Bug(_NO_WEIGHTS)
        known = reference.values
        if min(len(known), len(window)) < _LEAST_VALUES or known[0] == known[-1] == window[0] == window[-1]:
            return 0.0, 1.0
        if self.name == "alibi_tabular":
            return _predict(self.package.TabularDrift(known[:, None], categories_per_feature={}), window)
        kind = self.package.KSDrift if self.name == "alibi_ks" else self.package.CVMDrift
        return _predict(kind(known[:, None]), window)


@dataclass(frozen=True, eq=False)
class AlibiCategories:
    """ChiSquareDrift or TabularDrift for one column of categories."""

    package: ModuleType
    name: str
    column: CategoryColumn

    def compare(self, values: Sequence[str | None], weights: Floats | None) -> tuple[float, float]:
        """Return statistic and chance of the present values, rare ones pooled."""
        if weights is not None:
            raise Bug(_NO_WEIGHTS)
        counts = self.column.pool(values, None)
        if counts is None or np.count_nonzero(counts.window + counts.reference) < 2:
            return 0.0, 1.0
        codes = np.arange(len(counts.window), dtype=np.float64)
        known, given = (np.repeat(codes, side.astype(np.int64)) for side in (counts.reference, counts.window))
        kind = self.package.TabularDrift if self.name == "alibi_tabular" else self.package.ChiSquareDrift
        return _predict(kind(known[:, None], categories_per_feature={0: len(codes)}), given)


def _predict(detector: Any, window: Floats) -> tuple[float, float]:  # noqa: ANN401 - untyped package
    answer = detector.predict(window[:, None], drift_type="feature")["data"]
    return float(answer["distance"][0]), max(SMALLEST, float(answer["p_val"][0]))


@dataclass(frozen=True)
class AlibiClassifier:
    """ClassifierDrift: a logistic regression that tells the window from the reference shows a change of any kind."""

    name: str
    minimum_rows: int
    seed: int
    joint: bool = True

    def fit(self, reference: Columns) -> FittedDetector:
        """Return the detector with this reference, or raise ContractError if it cannot serve as one."""
        shape = shape_of(reference, self.minimum_rows)
        encoder = Encoder.of(reference)
        package = import_alibi()
        from sklearn.linear_model import LogisticRegression

        detector = package.ClassifierDrift(
            encoder.encode(reference),
            model=LogisticRegression(C=0.1, solver="newton-cholesky"),
            backend="sklearn",
            train_size=_TRAIN_SHARE,
        )
        return FittedClassifier(self.name, shape, encoder, detector, missing_shares(reference), self.seed)


@dataclass(frozen=True, eq=False)
class FittedClassifier:
    """The classifier with its reference."""

    name: str
    shape: Shape
    encoder: Encoder
    detector: Any
    missing: MissingShares
    seed: int

    def test(self, window: Columns) -> tuple[ColumnTest, ...]:
        """Return one test for all columns; other columns, types and too few rows are refused."""
        self.shape.check(window, "window")
        encoded = self.encoder.encode(window)
        with own_draws(np.random.RandomState(self.seed)):
            answer = self.detector.predict(encoded, return_probs=False, return_model=False)["data"]
        chances = self.missing.chances(window, None)
        lowest = min(1.0, min(chances.values()) * len(chances))
        chance = max(SMALLEST, float(answer["p_val"]))
        return (ColumnTest(ALL_COLUMNS, float(answer["distance"]), chance, lowest),)
