"""What the sites report every hour: sums of the ledger, a count of the visitors, and a meter."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vigil.clock import HOUR
from vigil.simulate.calendars import Floats, Ints
from vigil.simulate.chain import World
from vigil.simulate.config import Metric
from vigil.simulate.incident_config import BrokenUnit, SalesDip, SilentFeed
from vigil.simulate.ledger import NONE, Ledger
from vigil.simulate.plans import Plan
from vigil.simulate.sales import hourly_rates
from vigil.simulate.streams import Ids, key_of, mix, stream


@dataclass(frozen=True)
class Readings:
    """Arrays are per reading; `withheld` and `broken` are numbers of incidents, or NONE."""

    uid: Ids
    time: Ints
    """End of the hour that is reported."""
    site: npt.NDArray[np.int32]
    metric: npt.NDArray[np.int32]
    """Index in the configuration's metrics."""
    value: Floats
    withheld: npt.NDArray[np.int32]
    broken: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Tills:
    """What the tills of one site count in each hour; arrays are (hours,)."""

    cents: Ints
    """Sales less refunds."""
    entries: Ints
    """Sales and refunds."""
    untroubled: Ints
    """Sales as they would have been without any incident."""


def read_sites(world: World, ledger: Ledger, untroubled: list[Ints], plans: tuple[Plan, ...]) -> Readings:
    """Return every site's readings; `untroubled` are its hourly sales without any incident."""
    tills = _till_counts(world, ledger, untroubled)
    metrics = world.config.readings.metrics
    blocks = [
        _block(world, site, (number, _values(world, site, metric, counts, plans)))
        for site, counts in enumerate(tills)
        for number, metric in enumerate(metrics)
    ]
    uid, time, site, metric, value = (np.concatenate(columns) for columns in zip(*blocks, strict=True))
    readings = Readings(uid, time, site, metric, value, _none(len(uid)), _none(len(uid)))
    for plan in plans:
        _break(world, readings, plan)
    return readings


def _till_counts(world: World, ledger: Ledger, untroubled: list[Ints]) -> list[Tills]:
    rows = np.flatnonzero(ledger.happened)
    site, time, cents = ledger.site[rows], ledger.time[rows], ledger.cents[rows]
    first = np.array([world.calendar(number).start[0] for number in range(len(untroubled))])
    bounds = np.cumsum([0] + [len(counts) for counts in untroubled])
    cell = bounds[site] + (time - first[site]) // HOUR
    total = np.bincount(cell, weights=cents, minlength=bounds[-1]).round().astype(np.int64)
    entries = np.bincount(cell, minlength=bounds[-1])
    return [
        Tills(total[lo:hi], entries[lo:hi], counts)
        for lo, hi, counts in zip(bounds[:-1], bounds[1:], untroubled, strict=True)
    ]


def _values(world: World, site: int, metric: Metric, tills: Tills, plans: tuple[Plan, ...]) -> Floats:
    match metric:
        case "sales":
            return tills.cents / 100
        case "transactions":
            return tills.entries.astype(np.float64)
        case "visitors":
            return _visitors(world, site, tills, plans)
        case "energy":
            return _energy(world, site)


def _visitors(world: World, site: int, tills: Tills, plans: tuple[Plan, ...]) -> Floats:
    """Those who buy on an untroubled day, and those who only look; fewer while a dip keeps them away."""
    draws = stream(world.config.seed, "visitors", site)
    only_looking = hourly_rates(world, site) * (1 / world.config.readings.conversion - 1)
    visitors = tills.untroubled + draws.poisson(only_looking)
    start = world.calendar(site).start
    for plan in plans:
        if isinstance(plan.incident, SalesDip) and plan.site == site and plan.incident.footfall:
            away = (start >= plan.start) & (start < plan.end)
            visitors = np.where(away, np.round(visitors * (1 - plan.incident.depth)), visitors)
    return visitors.astype(np.float64)


def _energy(world: World, site: int) -> Floats:
    """Kilowatt hours: a base load, lights and machines while it is open, cooling and heating by season and hour."""
    calendar, draws = world.calendar(site), stream(world.config.seed, "energy", site)
    size = 12 * world.sites.size[site]
    of_year = (world.config.start.timetuple().tm_yday + calendar.day) / 365.25
    climate = 0.25 * np.cos(4 * np.pi * (of_year - 0.04)) + 0.15 * np.cos(2 * np.pi * (calendar.hour - 15) / 24)
    opening = np.convolve(calendar.is_open, [0.25, 0.5, 0.25], mode="same")
    load = size * (0.4 + opening * (1 + climate))
    return np.asarray((load * draws.normal(1, 0.05, len(load)).clip(0.5)).round(2))


def _block(world: World, site: int, values: tuple[int, Floats]) -> tuple[npt.NDArray[np.generic], ...]:
    """Columns of one site's readings of one metric, given by its number."""
    metric, value = values
    start = world.calendar(site).start
    owner = np.uint64(site * 16 + metric) << np.uint64(32)
    uid = mix(owner | np.arange(len(start), dtype=np.uint64), key_of(world.config.seed, "readings"))
    here = np.full(len(start), site, dtype=np.int32)
    return uid, start + HOUR, here, np.full(len(start), metric, dtype=np.int32), value


def _none(rows: int) -> npt.NDArray[np.int32]:
    return np.full(rows, NONE, dtype=np.int32)


def _break(world: World, readings: Readings, plan: Plan) -> None:
    match plan.incident:
        case SilentFeed(feeds=feeds) if "site_reading" in feeds:
            readings.withheld[_in_reach(world, readings, plan)] = plan.number
        case BrokenUnit(feed="site_reading", factor=factor):
            rows = _in_reach(world, readings, plan)
            readings.value[rows] = (readings.value[rows] * factor).round(2)
            readings.broken[rows[readings.value[rows] != 0]] = plan.number
        case _:
            pass


def _in_reach(world: World, readings: Readings, plan: Plan) -> Ints:
    reached = (readings.site == plan.site) & (readings.time >= plan.start) & (readings.time < plan.end)
    if plan.metric is not None:
        reached &= readings.metric == [*map(str, world.config.readings.metrics)].index(plan.metric)
    return np.flatnonzero(reached)
