"""Chances that hold where neighbouring rows resemble each other, by a block bootstrap of the reference.

Rows of a stream are not independent: on a slow column Kolmogorov-Smirnov alarms on every window. So windows are drawn
from the reference in blocks of neighbouring rows, each is tested against the rest of the reference, and a window's
chance is its rank among what was found without any change, continued beyond the largest by an exponential tail.
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from vigil.errors import ContractError
from vigil.monitoring.calibration_blocks import block_lengths, draw_windows
from vigil.monitoring.detectors.laws import SMALLEST
from vigil.monitoring.port import ALL_COLUMNS, Columns, ColumnTest, Detector, WeightedDetector
from vigil.monitoring.reference import MatchedDetector, Reference, match_seasons
from vigil.monitoring.seasons import Floats

DRAWS, SLOW_DRAWS = 300, 60
"""Windows drawn: by detectors that can weigh their reference, and by those that are fitted again for each."""

_BODY = 0.8
"""Share of the draws below the tail."""


@dataclass(frozen=True, eq=False)
class NullLaw:
    """What a test finds without a change, in the unit -log(chance)."""

    drawn: Floats
    """Ascending."""
    start: float
    """Of the tail."""
    start_chance: float
    scale: float
    widening: float
    """By how much findings are shortened before they are looked up."""

    @classmethod
    def of(cls, chances: Floats, blocks: float) -> Self:
        """Return the law of these uncalibrated chances, drawn from a reference of so many independent blocks."""
        drawn = np.sort(-np.log(np.maximum(chances, SMALLEST)))
        start = float(drawn[int(_BODY * len(drawn))])
        excess = drawn[drawn > start] - start
        # never lighter than the detector's own law; wider by the error of a mean of so few
        scale = max(1.0, float(excess.mean()) * (1.0 + 1.0 / math.sqrt(len(excess)))) if len(excess) else 1.0
        return cls(drawn, start, _rank_chance(drawn, start), scale, 1.0 + 1.0 / math.sqrt(blocks))

    def chance(self, chance: float) -> float:
        """Return the calibrated chance."""
        found = -math.log(max(chance, SMALLEST)) / self.widening
        if found <= self.start:
            return _rank_chance(self.drawn, found)
        return max(SMALLEST, self.start_chance * math.exp((self.start - found) / self.scale))


def _rank_chance(drawn: Floats, found: float) -> float:
    at_least = len(drawn) - int(np.searchsorted(drawn, found, side="left"))
    return (1 + at_least) / (1 + len(drawn))


@dataclass(frozen=True, eq=False)
class CalibratedDetector:
    """A detector matched by season whose chances hold for windows of about `window_rows` rows."""

    name: str
    matched: MatchedDetector
    window_rows: int
    values: Mapping[str, NullLaw]
    """By column."""
    missing: Mapping[str, NullLaw]

    def test(self, window: Columns) -> tuple[ColumnTest, ...]:
        """Return a test for each column of the reference; other columns, types and too few rows are refused."""
        return tuple(
            ColumnTest(
                column=test.column,
                statistic=test.statistic,
                p_value=self.values[test.column].chance(test.p_value),
                missing_p_value=self.missing[test.column].chance(test.missing_p_value),
            )
            for test in self.matched.test(window)
        )


def calibrate(
    detector: Detector, reference: Reference, window_rows: int, seed: int, draws: int | None = None
) -> CalibratedDetector:
    """Return the detector with chances that hold for windows of neighbouring rows; the same seed gives the same ones.

    A reference that holds every k-th row of its time shows only what lasts longer than k rows.
    """
    matched = match_seasons(detector, reference)
    if 2 * window_rows > len(reference):
        raise ContractError(
            f"windows of {window_rows} rows need a reference of {2 * window_rows}, it has {len(reference)}: "
            "take smaller windows or more rows"
        )
    count = draws or (DRAWS if isinstance(matched.fitted, WeightedDetector) else SLOW_DRAWS)
    values: dict[str, NullLaw] = {}
    missing: dict[str, NullLaw] = {}
    for length, names in _groups(detector, reference, window_rows).items():
        part = Reference(reference.columns.only(names), reference.season, reference.match)
        found = _draw(match_seasons(detector, part), window_rows, length, np.random.default_rng([seed, length]), count)
        for column, chances in found.items():
            values[column], missing[column] = (NullLaw.of(row, len(reference) / length) for row in chances)
    return CalibratedDetector(detector.name, matched, window_rows, values, missing)


def _groups(detector: Detector, reference: Reference, window_rows: int) -> dict[int, set[str]]:
    """Return the names of the columns by the length of the blocks that they are drawn in."""
    lengths = block_lengths(reference.columns, reference.match, window_rows)
    if detector.joint:
        return {max(lengths.values()): set(lengths)}
    groups = defaultdict(set)
    for name, length in lengths.items():
        groups[length].add(name)
    return dict(groups)


def _draw(
    matched: MatchedDetector, window_rows: int, length: int, generator: np.random.Generator, count: int
) -> dict[str, Floats]:
    """Return chances of values (row 0) and missing values (row 1) of windows without a change, by column."""
    names = [*matched.reference.columns.numbers, *matched.reference.columns.categories]
    names = [ALL_COLUMNS] if matched.detector.joint else names
    found = {name: np.empty((2, count)) for name in names}
    windows = draw_windows(len(matched.reference), window_rows, length, count, generator)
    for k, rows in enumerate(windows):
        for test in matched.test_apart(matched.reference.columns.take(rows), rows):
            found[test.column][:, k] = test.p_value, test.missing_p_value
    return found
