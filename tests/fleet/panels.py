"""Panels of simulated sites: opening hours, weekly rhythm, season, trend, and noise with a memory; seeded."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from vigil.clock import DAY, HOUR, to_micros
from vigil.fleet.panel import Panel, Readings, Series

START = to_micros(datetime(2025, 1, 6, tzinfo=UTC))
"""A Monday."""
GROUPS = (
    (8, 20, (0.9, 0.9, 0.95, 1.0, 1.25, 1.4, 0.0)),
    (6, 22, (1.1, 1.1, 1.1, 1.1, 1.15, 0.8, 0.65)),
    (10, 20, (0.75, 0.75, 0.8, 0.95, 1.3, 1.8, 0.9)),
    (0, 24, (1.0, 1.0, 1.0, 1.0, 1.0, 1.1, 1.1)),
)


@dataclass(frozen=True)
class Wanted:
    sites: int = 8
    days: int = 120
    seed: int = 0
    noise: float = 0.12
    memory: float = 0.5
    trend_a_year: float = 0.06
    season: float = 0.1
    count: bool = True
    size: float = 4.0
    """Logarithm of the usual values of a site in its middle hour."""


def values_of(wanted: Wanted) -> NDArray[np.float64]:
    """Return hourly values, (sites, hours)."""
    draws = np.random.default_rng(wanted.seed)
    hours = np.arange(wanted.days * 24)
    day, hour, weekday = hours // 24, hours % 24, (hours // 24) % 7
    found = np.empty((wanted.sites, len(hours)))
    for site in range(wanted.sites):
        opens, closes, week = GROUPS[site % len(GROUPS)]
        middle, width = (opens + closes) / 2 + draws.normal(0, 0.7), (closes - opens) / 3.5
        shape = np.exp(-0.5 * ((hour - middle) / width) ** 2) + 0.15
        factors = np.array(week) * np.exp(draws.normal(0, 0.07, 7))
        shape = np.where((hour >= opens) & (hour < closes), shape, 0.0) * factors[weekday]
        year = 1 + wanted.season * np.cos(2 * np.pi * (day / 365.25 - draws.uniform()))
        trend = (1 + wanted.trend_a_year * draws.normal()) ** (day / 365.25)
        noise = draws.normal(0, wanted.noise, len(hours))
        for one in range(1, len(noise)):
            noise[one] += wanted.memory * noise[one - 1]
        rate = np.exp(draws.normal(wanted.size, 0.8)) * shape * year * trend * np.exp(noise)
        found[site] = draws.poisson(rate) if wanted.count else rate
    return found


def panel_of(values: NDArray[np.float64], metric: str = "sales", first: int = 0, start: int = START) -> Panel:
    """Return a panel of hourly values, (sites, hours); NaN is missing."""
    return Panel(readings_of_values(values, metric, first, start))


def readings_of_values(
    values: NDArray[np.float64], metric: str = "sales", first: int = 0, start: int = START
) -> Readings:
    """Return readings in the order of time; the first column is `first` hours after `start`."""
    sites, hours = values.shape
    index = np.tile(np.arange(sites, dtype=np.int32), hours)
    times = np.repeat(start + (first + np.arange(hours)) * HOUR, sites)
    flat = values.T.reshape(-1)
    there = np.isfinite(flat)
    series = tuple(Series(f"S{site:04d}", metric) for site in range(sites))
    return Readings(series, index[there], times[there], flat[there])


WEEK = 7 * DAY
