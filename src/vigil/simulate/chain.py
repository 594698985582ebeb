"""The business itself: its sites, customers, products and suppliers, before anything happens."""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from vigil.simulate.calendars import Calendar, Floats, Ints, LocalTime, group_calendar, local_time
from vigil.simulate.config import SimulationConfig
from vigil.simulate.streams import stream

DAYPARTS = (11, 14, 18)
"""Local hours at which morning, midday, afternoon and evening meet: customers have their habits among these four."""

MAX_QUANTITY = 12


@dataclass(frozen=True)
class Sites:
    """Arrays are per site."""

    group: npt.NDArray[np.int64]
    size: Floats
    """Sales relative to the average site."""
    price_level: Floats


@dataclass(frozen=True)
class Customers:
    """Arrays are per customer; the last three are per pair of a customer and a site that is visited."""

    home: Ints
    level: Floats
    """Spend level: standard normal, higher buys dearer goods."""
    habit: Floats
    """(customers, 4): preference for each part of the day"""
    joined: Ints
    """First local day as a customer."""
    left: Ints
    """First local day no longer a customer."""
    cards: Ints
    visited_site: Ints
    """Sorted."""
    visitor: Ints
    weight: Floats
    """Relative frequency of the visits."""

    def visitors_of(self, site: int) -> tuple[Ints, Floats]:
        """Return the customers who visit `site`, and how often relative to each other."""
        lo, hi = np.searchsorted(self.visited_site, [site, site + 1])
        return self.visitor[lo:hi], self.weight[lo:hi]


@dataclass(frozen=True)
class Products:
    """Arrays are per product, in the order of their prices."""

    cents: Ints
    popularity: Floats
    """Share of the sales."""
    repeat: Floats
    """Probability that one more unit is bought."""
    cuts: Floats
    """(products - 1,) the normal scores at which one product ends and the next, dearer one begins"""
    supplier: Ints
    pack: Ints
    """Units; deliveries are whole packs."""

    @property
    def mean_quantity(self) -> Floats:
        """Expected units in one sale."""
        return (1 - self.repeat**MAX_QUANTITY) / (1 - self.repeat)


@dataclass(frozen=True)
class World:
    """What a configuration describes, drawn out."""

    config: SimulationConfig
    local: LocalTime
    calendars: tuple[Calendar, ...]
    """One for each group."""
    sites: Sites
    customers: Customers
    products: Products
    cents: Ints
    """(sites, products) price of a unit"""

    def calendar(self, site: int) -> Calendar:
        """Return the calendar of a site."""
        return self.calendars[int(self.sites.group[site])]

    def day_of(self, site: Ints, time: Ints) -> Ints:
        """Return the local day, counted from the first, of each moment at a site."""
        day = np.zeros(len(time), dtype=np.int64)
        groups = self.sites.group[site]
        for number, calendar in enumerate(self.calendars):
            mine = groups == number
            day[mine] = calendar.day[calendar.slot(time[mine])]
        return day


def build_world(config: SimulationConfig) -> World:
    """Return the business that `config` describes."""
    local = local_time(config)
    calendars = tuple(
        group_calendar(config, group, local.minutes[number], local.origin)
        for number, group in enumerate(config.chain.groups)
    )
    sites, products = _sites(config), _products(config)
    cents = np.maximum(1, np.round(sites.price_level[:, None] * products.cents)).astype(np.int64)
    return World(config, local, calendars, sites, _customers(config, sites), products, cents)


def _sites(config: SimulationConfig) -> Sites:
    count = config.chain.sites
    draws = np.array([stream(config.seed, "site", site).standard_normal(2) for site in range(count)])
    size = np.exp(0.3 * draws[:, 0] - 0.045)
    return Sites(np.arange(count) % len(config.chain.groups), size, 1 + 0.03 * draws[:, 1].clip(-3, 3))


def _products(config: SimulationConfig) -> Products:
    """Dear goods sell less often and one at a time; some goods cost cents; prices end on 9 as prices do."""
    count = config.chain.products
    draws = stream(config.seed, "products")
    price = np.exp(draws.normal(2.65, 0.95, count)).clip(0.5, 400)
    price[: 1 + count // 25] = draws.uniform(0.15, 1.0, 1 + count // 25)
    price.sort()
    cents = np.round(price * 10).astype(np.int64) * 10 - 1
    popularity = np.exp(draws.normal(0, 0.8, count)) * price**-0.25
    popularity /= popularity.sum()
    inverse = NormalDist().inv_cdf
    cuts = np.array([inverse(float(share)) for share in np.cumsum(popularity)[:-1].clip(1e-12, 1 - 1e-12)])
    pack = np.where(price < 5, 24, np.where(price < 20, 12, np.where(price < 60, 6, 2)))
    supplier = draws.integers(0, config.chain.suppliers, count)
    return Products(cents, popularity, (0.9 / price**0.4).clip(0.05, 0.55), cuts, supplier, pack)


def _customers(config: SimulationConfig, sites: Sites) -> Customers:
    parts = [_customers_of(config, sites, site) for site in range(config.chain.sites)]
    home, level, joined, left, cards = (np.concatenate([part[name] for part in parts]) for name in _PER_CUSTOMER)
    habit = np.concatenate([part["habit"] for part in parts])
    places = np.concatenate([part["places"] for part in parts])
    weights = np.concatenate([part["weights"] for part in parts])
    everyone = np.broadcast_to(np.arange(len(home))[:, None], places.shape)
    order = np.argsort(places, axis=None, kind="stable")
    visited, visitor, weight = places.ravel()[order], everyone.ravel()[order], weights.ravel()[order]
    return Customers(home, level, habit, joined, left, cards, visited, visitor, weight)


_PER_CUSTOMER = ("home", "level", "joined", "left", "cards")


def _customers_of(config: SimulationConfig, sites: Sites, site: int) -> dict[str, npt.NDArray[np.generic]]:
    """Draw the customers whose home is `site`: most visit one more site of its group, and now and then any other."""
    count, days = config.chain.customers_per_site, config.days
    draws = stream(config.seed, "customers", site)
    similar = np.flatnonzero(sites.group == sites.group[site])
    frequency = np.exp(draws.normal(0, 0.7, count))
    places = np.column_stack(
        [np.full(count, site), draws.choice(similar, count), draws.integers(0, config.chain.sites, count)]
    )
    joined = np.where(draws.random(count) < 0.15, draws.integers(0, days, count), 0)
    left = np.where(draws.random(count) < 0.10, draws.integers(0, days, count) + 1, days)
    return {
        "home": np.full(count, site),
        "level": draws.standard_normal(count),
        "habit": draws.dirichlet([1.2, 1.2, 1.2, 1.2], count) + 0.05,
        "joined": joined,
        "left": np.maximum(left, joined + 1),
        "cards": 1 + (draws.random(count) < 0.2),
        "places": places,
        "weights": frequency[:, None] * np.array([0.8, 0.16, 0.04]),
    }
