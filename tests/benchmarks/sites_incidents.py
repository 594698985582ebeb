"""Incidents of a recorded seed put into real series: how many are caught, and how many are raised on the clean twin."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vigil.clock import DAY, to_micros
from vigil.fleet.fit import fit_fleet
from vigil.fleet.incidents import incidents_of
from vigil.fleet.model import Fleet
from vigil.fleet.panel import Panel, Readings, Series
from vigil.fleet.score import score
from vigil.fleet.settings import FleetSettings
from vigil.settings import load_settings

SEED = 20261126
"""Not that of the work on the detector, which was tried with 7."""
MONTH = 30.4 * DAY
Values = NDArray[np.float64]
Draw = np.random.Generator


@dataclass(frozen=True, eq=False)
class Problem:
    """Series on a regular grid, (series, steps), NaN where nothing was reported; the test begins at `split`."""

    name: str
    series: tuple[Series, ...]
    values: Values
    split: int
    start: int
    settings: FleetSettings
    lengths: Mapping[str, tuple[int, int]]
    """Least and most steps of each kind of incident."""

    def readings(self, values: Values, first: int) -> Readings:
        """Return the readings of columns of the grid, in the order of time."""
        count, steps = values.shape
        index = np.tile(np.arange(count, dtype=np.int32), steps)
        times = np.repeat(self.start + (first + np.arange(steps)) * self.settings.step, count)
        flat = values.T.reshape(-1)
        there = np.isfinite(flat)
        return Readings(self.series, index[there], times[there], flat[there])

    @property
    def sites(self) -> int:
        """How many sites there are."""
        return len({one.site for one in self.series})


def buildings() -> Problem:
    """Return the hourly load of 17 buildings: nine months to learn from, three to be tested on."""
    table = pq.read_table(_data() / "buildings" / "fontana_2022.parquet").to_pandas()
    wide = table.pivot_table(index="building", columns="step", values="non_shiftable_load")
    series = tuple(Series(name, "load") for name in wide.index)
    lengths = {
        "spike": (1, 4),
        "dip": (12, 24),
        "stuck": (12, 36),
        "shift": (96, 168),
        "silence": (6, 24),
        "unit": (6, 36),
    }
    start = to_micros(datetime(2022, 8, 1, tzinfo=UTC))
    return Problem(
        "buildings", series, wide.to_numpy(), 274 * 24, start, FleetSettings(budget=0.3), lengths | {"unit": (6, 36)}
    )


def orange_juice() -> Problem:
    """Return the weekly sales of 11 brands in 83 stores, each pair a site: 90 weeks to learn from, 31 to test."""
    table = pq.read_table(_data() / "orange_juice" / "sales.parquet").to_pandas()
    table["units"] = np.exp(table["logmove"])
    wide = table.pivot_table(index=["store", "brand"], columns="week", values="units")
    wide = wide.reindex(columns=range(40, 161))
    series = tuple(Series(f"store-{store}-brand-{brand}", "units") for store, brand in wide.index)
    lengths = {"spike": (1, 2), "dip": (2, 4), "stuck": (4, 6), "shift": (6, 10), "silence": (3, 6), "unit": (1, 3)}
    settings = FleetSettings(step_seconds=7 * 86400, budget=1.0, site_days=182)
    start = 7 * DAY * (to_micros(datetime(1990, 6, 14, tzinfo=UTC)) // (7 * DAY))
    return Problem("orange_juice", series, wide.to_numpy(), 90, start, settings, lengths)


def _data() -> Path:
    return load_settings().data


def _spike(values: Values, draws: Draw, high: float) -> None:
    values += draws.uniform(2.0, 4.0) * high


def _dip(values: Values, draws: Draw, _high: float) -> None:
    values *= draws.uniform(0.0, 0.1)


def _stuck(values: Values, _draws: Draw, _high: float) -> None:
    values[:] = values[0]


def _shift(values: Values, draws: Draw, _high: float) -> None:
    values *= draws.uniform(2.0, 3.0)


def _silence(values: Values, _draws: Draw, _high: float) -> None:
    values[:] = np.nan


def _unit(values: Values, draws: Draw, _high: float) -> None:
    values *= draws.choice([100.0, 1000.0])


CHANGES: Mapping[str, Callable[[Values, Draw, float], None]] = {
    "spike": _spike,
    "dip": _dip,
    "stuck": _stuck,
    "shift": _shift,
    "silence": _silence,
    "unit": _unit,
}


@dataclass(frozen=True)
class Outcome:
    """Of one data set: the share that was caught by kind, and incidents on the clean twin per site and month."""

    caught: Mapping[str, float]
    false_site_month: float

    @property
    def caught_percent(self) -> float:
        """Of all kinds together."""
        return 100 * float(np.mean(list(self.caught.values())))


def study(problem: Problem, turns: int = 3) -> Outcome:
    """Return what is caught and what is raised falsely; each incident is alone in a fresh copy of its series."""
    fleet = fit_fleet(Panel(problem.readings(problem.values[:, : problem.split], 0)), problem.settings)
    clean = problem.values[:, problem.split :]
    findings = score(fleet, fleet.start_state(), problem.readings(clean, problem.split), _end(problem))
    gap = problem.settings.window * problem.settings.step
    months = clean.shape[1] * problem.settings.step / MONTH
    false = len(incidents_of(findings, gap)) / problem.sites / months
    caught: dict[str, list[bool]] = {kind: [] for kind in CHANGES}
    for turn in range(turns):
        for kind in CHANGES:
            caught[kind] += list(_caught(problem, fleet, clean, kind, turn))
    return Outcome({kind: float(np.mean(hits)) for kind, hits in caught.items()}, false)


def _end(problem: Problem) -> int:
    return problem.start + problem.values.shape[1] * problem.settings.step


def _caught(problem: Problem, fleet: Fleet, clean: Values, kind: str, turn: int) -> Iterator[bool]:
    """Inject one incident into every series and tell of each whether something was flagged while it lasted."""
    draws = np.random.default_rng((SEED, turn, list(CHANGES).index(kind)))
    changed, spans = clean.copy(), []
    low, high = problem.lengths[kind]
    for row in changed:
        length = int(draws.integers(low, high + 1))
        place = int(draws.integers(0, len(row) - length - 1))
        part = row[place : place + length]
        if np.isfinite(part).all() and part.sum() > 0:
            CHANGES[kind](part, draws, float(np.nanquantile(row, 0.99)))
            spans.append((place, place + length))
        else:
            spans.append((0, 0))
    findings = score(fleet, fleet.start_state(), problem.readings(changed, problem.split), _end(problem))
    step = (findings.times - problem.start) // problem.settings.step - problem.split
    number = {series: row for row, series in enumerate(problem.series)}
    owner = np.array([number[one] for one in findings.series])[findings.index]
    hit = np.zeros(changed.shape, dtype=bool)
    hit[owner[findings.flagged], step[findings.flagged]] = True
    for row, (start, end) in enumerate(spans):
        if end > start:
            yield bool(hit[row, start : min(end + 1, hit.shape[1])].any())
