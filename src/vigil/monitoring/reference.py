"""What a model's windows are compared with: rows that were usual, matched to the season of each window."""

import io
from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vigil.errors import ContractError
from vigil.features.schema import FeatureSchema
from vigil.monitoring.port import Columns, ColumnTest, Detector, FittedDetector, WeightedDetector
from vigil.monitoring.seasons import Floats, Ints, Season, SeasonMatch, covered_season
from vigil.registry.bundle import Bundle

ROWS, SCHEMA = "reference/rows.parquet", "feature_schema.json"
"""Parts of a bundle."""

SCORE = "score"
"""The column of the model's score."""

_TIME, _CALENDAR = "event_time", "calendar"

_OF_THE_TIME = ("is_weekend", "is_night")
"""Features of other groups that follow from the event's time as well."""


@dataclass(frozen=True, eq=False)
class Reference:
    """Usual rows in the order of their time."""

    columns: Columns
    season: Season
    """By which windows are matched."""
    match: SeasonMatch

    def __len__(self) -> int:
        return len(self.columns)

    @classmethod
    def from_rows(cls, rows: Columns, *, season: Season | None = None, ignore: Collection[str] = ()) -> Self:
        """Return a reference of these rows, by the finest season that they cover unless `season` says which.

        `ignore` names columns that say nothing beside the time, such as the month, of which no reference has seen all.
        """
        if len(rows) and np.any(np.diff(rows.time) < 0):
            raise ContractError("the reference's rows are not in the order of their time: sort them")
        kept = rows.only({*rows.numbers, *rows.categories} - set(ignore))
        chosen = covered_season(rows.time) if season is None else season
        return cls(kept, chosen, SeasonMatch.of(rows.time, chosen))

    @classmethod
    def from_bundle(cls, bundle: Bundle) -> Self:
        """Return the reference that a model was sealed with: its features and `score`, without the calendar's.

        Those follow from the event's time: they cannot drift, but leave the reference every month.
        """
        table = pq.read_table(io.BytesIO(bundle.read(ROWS)))
        schema = FeatureSchema.model_validate(bundle.json(SCHEMA))
        order = np.argsort(_times(table[_TIME]), kind="stable")
        numbers = {
            name: table[name].to_numpy().astype(np.float64)[order] for name in table.column_names if name != _TIME
        }
        if missing := [name for name in (*schema.names, SCORE) if name not in numbers]:
            raise ContractError(f"{ROWS} of bundle {bundle.hash} has no column {missing[0]}: train the model again")
        rows = Columns(numbers, {}, _times(table[_TIME])[order])
        return cls.from_rows(rows, ignore={*schema.groups.get(_CALENDAR, ()), *_OF_THE_TIME})


def _times(column: pa.ChunkedArray) -> Ints:
    times: Ints = column.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
    return times


@dataclass(frozen=True, eq=False)
class MatchedDetector:
    """A detector whose reference takes on the season of each window."""

    name: str
    detector: Detector
    reference: Reference
    fitted: FittedDetector

    def test(self, window: Columns) -> tuple[ColumnTest, ...]:
        """Return a test for each column of the reference; other columns, types and too few rows are refused."""
        return self.test_apart(window, None)

    def test_apart(self, window: Columns, excluded: Ints | None) -> tuple[ColumnTest, ...]:
        """Return the tests against the reference without its rows `excluded`, which the window was drawn from."""
        if self.reference.season is Season.NONE and excluded is None:
            return self.fitted.test(window)
        allowed: NDArray[np.bool_] | None = None
        if excluded is not None:
            allowed = np.ones(len(self.reference), dtype=np.bool_)
            allowed[excluded] = False
        weights = self.reference.match.weights(window.time, allowed)
        if isinstance(self.fitted, WeightedDetector):
            return self.fitted.test_weighted(window, weights)
        return self.detector.fit(self.reference.columns.take(_drawn(weights))).test(window)


def match_seasons(detector: Detector, reference: Reference) -> MatchedDetector:
    """Return the detector fitted to a reference that takes on the season of each window."""
    return MatchedDetector(detector.name, detector, reference, detector.fit(reference.columns))


def _drawn(weights: Floats) -> Ints:
    """Return rows drawn by weight at even steps, as many as the weighted rows are worth."""
    worth = max(1, round(weights.sum() ** 2 / (weights**2).sum()))
    steps = (np.arange(worth) + 0.5) / worth * weights.sum()
    rows: Ints = np.searchsorted(np.cumsum(weights), steps).astype(np.int64)
    return rows
