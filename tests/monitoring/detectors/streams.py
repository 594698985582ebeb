"""Streams without a change on which naive detectors alarm: slow ones, and a site with days and weeks."""

import numpy as np

from vigil.monitoring.port import Columns

HOUR = 3_600_000_000
DAY = 24 * HOUR
MINUTE = 60_000_000


def slow_rows(generator: np.random.Generator, rows: int, columns: int, memory: float) -> Columns:
    """Columns of a first-order autoregression with unit variance, a row a minute."""
    noise = generator.normal(size=(rows + 200, columns)) * np.sqrt(1.0 - memory**2)
    values = np.empty_like(noise)
    values[0] = noise[0]
    for k in range(1, len(noise)):
        values[k] = memory * values[k - 1] + noise[k]
    kept = values[200:]
    return Columns({f"x{k}": kept[:, k].copy() for k in range(columns)}, {}, np.arange(rows, dtype=np.int64) * MINUTE)


def part(rows: Columns, start: int, stop: int) -> Columns:
    return rows.take(np.arange(start, stop))


def site_rows(generator: np.random.Generator, first_day: int, days: int, scale: float = 1.0) -> Columns:
    """Sales of a site: busy and dear at noon and at weekends, some 500 a day, with the calendar among the columns."""
    shares = np.exp(1.2 * np.sin((np.arange(24) - 9) / 24 * 2 * np.pi))
    shares /= shares.sum()
    times = []
    for day in range(first_day, first_day + days):
        rows = generator.poisson(650 if (day + 3) % 7 >= 5 else 450)
        hours = generator.choice(24, size=rows, p=shares)
        times.append(np.sort(day * DAY + hours * HOUR + generator.integers(0, HOUR, rows)))
    time = np.concatenate(times)
    hour, weekday = time % DAY // HOUR, (time // DAY + 3) % 7
    middle = 3.0 + 0.5 * np.sin(hour / 24 * 2 * np.pi) + 0.3 * (weekday >= 5)
    numbers = {
        "amount": generator.lognormal(middle, 0.8) * scale,
        "items": generator.poisson(1.0 + 48.0 * shares[hour]).astype(np.float64),
        "hour": hour.astype(np.float64),
        "weekday": weekday.astype(np.float64),
        "night": (hour <= 6).astype(np.float64),
    }
    return Columns(numbers, {"shift": np.where(hour < 12, "early", "late").tolist()}, time)
