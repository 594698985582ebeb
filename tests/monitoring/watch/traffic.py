"""A business with a few sites, simulated: its decisions with day, week, year, days that differ, bursts and heavy tails.

The amounts have a spread of 0.8 in logarithms (customers 0.62, the rest within a customer), a daily and a weekly
cycle, a year that moves them by 8 % up and down, and days that differ by 3 % for no reason and resemble the day before
(autocorrelation 0.5). Sites differ, customers come in bursts, and each site has a slow level of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from vigil.clock import DAY, HOUR
from vigil.monitoring.samples import ScoredBatch, Served

SERVED = Served("card_fraud", "card-fraud-00001", "1", "sha256:" + "0" * 64, "sha256:" + "1" * 64)
NAMES = (
    *("amount", "amount_over_baseline", "customer_count_24h", "customer_hours_since_last"),
    *("terminal_amount_shift", "is_night_unusual", "hour"),
)
START = 20_454 * DAY
"""2026-01-01."""
THRESHOLD = 0.35


@dataclass
class Rows:
    """n rows that a change may be applied to."""

    time: np.ndarray
    site: np.ndarray
    values: np.ndarray
    fields: dict[str, list]
    noise: np.ndarray
    """What the score has that the features have not."""
    score: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def __len__(self) -> int:
        return len(self.time)

    def column(self, name: str) -> np.ndarray:
        return self.values[:, NAMES.index(name)]


Change = Callable[[Rows, np.ndarray, np.random.Generator], None]
"""Alters the rows of a mask in place, before they are scored."""


@dataclass
class Business:
    """Draws days of rows one after another; what is hidden goes on from day to day."""

    seed: int
    per_day: int = 500
    sites: int = 8
    day_effect: float = 0.03

    def __post_init__(self) -> None:
        self.random = np.random.default_rng([7, self.seed])
        self.level = 0.0
        self.site_levels = self.random.normal(0, 0.04, self.sites)
        self.site_means = self.random.normal(0, 0.15, self.sites)
        self.day = 0

    def next_day(self) -> Rows:
        """Return the rows of the next day, in order of time."""
        random, day = self.random, self.day
        self.level = 0.5 * self.level + np.sqrt(0.75) * random.normal(0, self.day_effect)
        self.site_levels = 0.7 * self.site_levels + np.sqrt(0.51) * random.normal(0, 0.04, self.sites)
        weekend = (day % 7) in (2, 3)
        year = np.sin(2 * np.pi * day / 365)
        count = int(random.poisson(self.per_day * (1.3 if weekend else 0.88) * (1 + 0.2 * year)))
        hour = np.sort(_hours(random, count))
        site = random.integers(0, self.sites, count)
        rows = self._features(hour, site, 0.08 * year + 0.05 * weekend)
        self.day += 1
        return rows

    def _features(self, hour: np.ndarray, site: np.ndarray, drift: float) -> Rows:
        random, count = self.random, len(hour)
        customer = random.normal(0, 0.62, count)
        repeat = random.random(count) < 0.15
        for k in range(1, count):
            if repeat[k]:
                customer[k] = customer[k - 1]
        within = 0.5 * random.standard_normal(count) + self.level + 0.05 * np.sin(2 * np.pi * hour / 24)
        amount = np.exp(3.5 + customer + within + drift + self.site_means[site])
        values = np.column_stack(
            [
                amount,
                np.exp(within + drift / 4),
                random.poisson(1.5 + 2 * repeat + 0.5 * (hour > 12)).astype(float),
                random.exponential(30.0, count) * (1 - 0.8 * repeat),
                np.exp(self.site_levels[site]),
                (random.random(count) < 0.015).astype(float),
                np.floor(hour),
            ]
        )
        time = START + self.day * DAY + (hour * HOUR).astype(np.int64)
        fields = {
            "amount": [float(one) for one in amount],
            "channel": [("card", "online", "till")[k] for k in random.integers(0, 3, count)],
            "customer_id": [f"c{k}" for k in random.integers(0, 100_000, count)],
            "till": [None if k else "t" for k in random.random(count) < 0.02],
        }
        return Rows(time, site, values, fields, random.normal(0, 0.8, count))

    def days(self, count: int) -> Rows:
        """Return the rows of the next days."""
        return join([self.next_day() for _ in range(count)])


def join(parts: list[Rows]) -> Rows:
    """Return the rows of all parts."""
    arrays = {
        name: np.concatenate([getattr(one, name) for one in parts]) for name in ("time", "site", "values", "noise")
    }
    fields = {name: [entry for one in parts for entry in one.fields[name]] for name in parts[0].fields}
    return score(Rows(fields=fields, **arrays))


def score(rows: Rows, tilt: float = 0.0) -> Rows:
    """Return the rows with the score of a model that looks at amounts and counts; a tilt makes it worse."""
    with np.errstate(invalid="ignore", divide="ignore"):
        over = np.nan_to_num(np.log(np.maximum(rows.column("amount_over_baseline"), 1e-6)))
    amount = np.nan_to_num(np.log(np.maximum(np.nan_to_num(rows.column("amount"), nan=33.0), 1e-6))) - 3.5
    count = np.nan_to_num(rows.column("customer_count_24h"))
    linear = -2.7 + 1.2 * over + 0.4 * amount + 0.2 * count + 0.6 * rows.column("is_night_unusual") + rows.noise + tilt
    rows.score = 1 / (1 + np.exp(-np.clip(linear, -30, 30)))
    return rows


def _hours(random: np.random.Generator, count: int) -> np.ndarray:
    """Return hours of the day: two humps, and little at night."""
    first = random.random(count) < 0.45
    return np.where(first, random.normal(11, 2.5, count), random.normal(17.5, 2.5, count)) % 24


def reference(rows: Rows, most: int = 5000) -> pa.Table:
    """Return the table that a bundle has: some of the rows, evenly."""
    chosen = np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(int)
    columns = {name: rows.values[chosen, k].astype(np.float32) for k, name in enumerate(NAMES)}
    time = pa.array(rows.time[chosen], pa.timestamp("us", "UTC"))
    return pa.table({"event_time": time, **columns, "score": rows.score[chosen]})


def batch(rows: Rows, start: int = 0, stop: int | None = None, served: Served = SERVED) -> ScoredBatch:
    """Return rows as decisions."""
    part = slice(start, len(rows) if stop is None else min(stop, len(rows)))
    scores = rows.score[part]
    return ScoredBatch(
        served=served,
        event_ids=[f"e{time}-{k}" for k, time in enumerate(rows.time[part], start)],
        event_time=rows.time[part],
        sites=[f"site-{k}" for k in rows.site[part]],
        names=NAMES,
        values=rows.values[part].astype(np.float32),
        fields={name: entries[part] for name, entries in rows.fields.items()},
        score=scores,
        levels={"forest": np.clip(scores + 0.02, 0, 1)},
        flagged=scores >= THRESHOLD,
    )
