"""All detectors, and rows that each of them can compare."""

from collections.abc import Sequence
from typing import get_args

import numpy as np
import pytest

from vigil.monitoring.detectors import DetectorSettings, make_detector
from vigil.monitoring.detectors.settings import DetectorName
from vigil.monitoring.port import Columns, ColumnTest, Detector

NAMES: tuple[DetectorName, ...] = get_args(DetectorName)
ONLY_NUMBERS = {"ks", "cvm", "alibi_ks", "alibi_cvm"}
ONLY_CATEGORIES = {"chi2", "alibi_chi2"}
CHANNELS, SHARES = ("till", "web", "app", "phone"), (0.4, 0.3, 0.2, 0.1)


def marked(names: Sequence[str] = NAMES) -> list[object]:
    """The names as parameters; those of Alibi Detect run in one process, since its import takes seconds."""
    group = pytest.mark.xdist_group("alibi")
    return [pytest.param(name, marks=group if name.startswith("alibi_") else ()) for name in names]


def made(name: str) -> Detector:
    return make_detector(DetectorSettings.model_validate({"name": name}))


def usual_rows(name: str, count: int, seed: int) -> Columns:
    """Rows without any change, of the kinds that the detector compares."""
    generator = np.random.default_rng(seed)
    numbers = {
        "amount": generator.lognormal(3.0, 1.0, count),
        "age": generator.normal(40.0, 10.0, count),
        "zeros": np.where(generator.random(count) < 0.9, 0.0, generator.exponential(5.0, count)),
    }
    categories = {
        "channel": generator.choice(CHANNELS, count, p=SHARES).tolist(),
        "town": [f"town {k}" for k in generator.zipf(1.5, count) % 50],
    }
    return Columns(
        {} if name in ONLY_CATEGORIES else numbers,
        {} if name in ONLY_NUMBERS else categories,
        np.arange(count, dtype=np.int64) * 1_000_000,
    )


def with_numbers(rows: Columns, **numbers: np.ndarray) -> Columns:
    return Columns({**rows.numbers, **numbers}, rows.categories, rows.time)


def with_categories(rows: Columns, **categories: Sequence[str | None]) -> Columns:
    return Columns(rows.numbers, {**rows.categories, **categories}, rows.time)


def shifted(rows: Columns) -> tuple[Columns, str]:
    """Rows with a change of one column, and its name."""
    if "amount" in rows.numbers:
        return with_numbers(rows, amount=rows.numbers["amount"] * 3.0), "amount"
    moved = ["phone" if entry == "till" else entry for entry in rows.categories["channel"]]
    return with_categories(rows, channel=moved), "channel"


def with_gaps(rows: Columns, column: str, every: int) -> Columns:
    """Rows in which every k-th value of the column is missing."""
    if column in rows.numbers:
        values = rows.numbers[column].copy()
        values[::every] = np.nan
        return with_numbers(rows, **{column: values})
    entries = [None if k % every == 0 else entry for k, entry in enumerate(rows.categories[column])]
    return with_categories(rows, **{column: entries})


def chance(tests: Sequence[ColumnTest], column: str) -> float:
    """The chance of the column's values, or of all columns where the detector compares them at once."""
    return of(tests, column).p_value


def of(tests: Sequence[ColumnTest], column: str) -> ColumnTest:
    return next(test for test in tests if test.column in (column, "*"))
