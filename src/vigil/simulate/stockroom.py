"""The stockrooms, day by day: what sales take out, what suppliers bring, what is lost. No level is ever negative."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vigil.simulate.calendars import Floats, Ints
from vigil.simulate.chain import World
from vigil.simulate.streams import stream

COUNT_EVERY_DAYS = 28

Units = npt.NDArray[np.int32]
"""(sites, days, products) of a block of sites."""


@dataclass(frozen=True)
class _Policy:
    """When a block of sites orders, and how much; arrays are (sites, products)."""

    reorder_level: Ints
    batch: Ints
    pack: Ints


@dataclass(frozen=True)
class _Luck:
    """A block's draws, uniform in [0, 1)."""

    first: Floats
    """(sites, products)"""
    lead: npt.NDArray[np.float32]
    """(sites, days, products), as the next two"""
    waste: npt.NDArray[np.float32]
    shrinkage: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Conditions:
    """What the outside world does to a block of sites."""

    sold: Units
    returned: Units
    open_day: npt.NDArray[np.bool_]
    """(sites, days)"""
    blocked: npt.NDArray[np.bool_]
    """(sites, days, products): written off, and nothing is delivered"""


@dataclass(frozen=True)
class Flows:
    """Everything that moved in a block of sites, in units of the product."""

    reorder_level: Ints
    """(sites, products)"""
    first: Ints
    """(sites, products) on hand before the first day"""
    delivered: Units
    written_off: Units
    transferred: Units
    sold: Units
    returned: Units
    wasted: Units
    missing: Units
    closing: Units
    """On hand after the day's last booking."""


def flow(world: World, sites: range, conditions: Conditions) -> Flows:
    """Return what moves in a block of sites, day by day."""
    policy, luck = _policy(world, sites), _luck(world, sites)
    store = _Store(world, policy, luck, conditions)
    for day in range(world.config.days):
        store.open(day)
        store.trade(day)
        store.order(day)
    return store.flows


def _policy(world: World, sites: range) -> _Policy:
    config, products = world.config, world.products
    sales = world.sites.size[sites.start : sites.stop, None] * config.demand.sales_per_site_day
    daily = sales * products.popularity * products.mean_quantity
    pack = np.broadcast_to(products.pack, daily.shape)
    wait = config.stock.lead_days + config.stock.safety_days
    reorder_level = np.ceil(daily * wait + 2 * np.sqrt(daily * wait))
    batch = pack * np.ceil((daily * config.stock.cover_days).clip(1) / pack)
    return _Policy(reorder_level.astype(np.int64), batch.astype(np.int64), pack)


def _luck(world: World, sites: range) -> _Luck:
    shape = (3, world.config.days, world.config.chain.products)
    first, daily = [], []
    for site in sites:
        draws = stream(world.config.seed, "stock", site)
        first.append(draws.random(shape[2]))
        daily.append(draws.random(shape, dtype=np.float32))
    lead, waste, shrinkage = np.stack(daily, axis=1)
    return _Luck(np.array(first), lead, waste, shrinkage)


class _Store:
    """The state of a block of sites between two bookings."""

    def __init__(self, world: World, policy: _Policy, luck: _Luck, conditions: Conditions) -> None:
        self.stock, self.policy, self.luck, self.conditions = world.config.stock, policy, luck, conditions
        shape = conditions.sold.shape
        self.on_hand = policy.reorder_level + (luck.first * policy.batch).astype(np.int64) + 1
        self.on_order = np.zeros_like(self.on_hand)
        self.arriving = np.zeros((shape[0], shape[1] + self.stock.lead_days + 1, shape[2]), dtype=np.int32)
        self.flows = Flows(
            reorder_level=policy.reorder_level,
            first=self.on_hand.copy(),
            delivered=np.zeros(shape, dtype=np.int32),
            written_off=np.zeros(shape, dtype=np.int32),
            transferred=np.zeros(shape, dtype=np.int32),
            sold=conditions.sold,
            returned=conditions.returned,
            wasted=np.zeros(shape, dtype=np.int32),
            missing=np.zeros(shape, dtype=np.int32),
            closing=np.zeros(shape, dtype=np.int32),
        )

    def open(self, day: int) -> None:
        """Take in what arrives, or put it off; write off what is spoilt; borrow what the day will lack."""
        flows, is_open = self.flows, self.conditions.open_day[:, day, None]
        blocked = self.conditions.blocked[:, day] & is_open
        receives = is_open & ~blocked
        arrived = self.arriving[:, day]
        self.arriving[:, day + 1] += np.where(receives, 0, arrived)
        flows.delivered[:, day] = np.where(receives, arrived, 0)
        flows.written_off[:, day] = np.where(blocked, self.on_hand, 0)
        self.on_order -= flows.delivered[:, day]
        self.on_hand += flows.delivered[:, day] - flows.written_off[:, day]
        lacking = (self.conditions.sold[:, day] - self.on_hand).clip(0)
        flows.transferred[:, day] = -(-lacking // self.policy.pack) * self.policy.pack
        self.on_hand += flows.transferred[:, day]

    def trade(self, day: int) -> None:
        """Sell and take back; throw away and miss a little of the rest."""
        flows, is_open = self.flows, self.conditions.open_day[:, day, None]
        blocked = self.conditions.blocked[:, day]
        self.on_hand += self.conditions.returned[:, day] - self.conditions.sold[:, day]
        spoilt = (self.on_hand * self.stock.waste_share + self.luck.waste[:, day]).astype(np.int64)
        spoilt = np.minimum(self.on_hand, np.where(blocked, self.on_hand, spoilt)) * is_open
        self.on_hand -= spoilt
        counted = (day + np.arange(self.on_hand.shape[1])) % COUNT_EVERY_DAYS == 0
        missing = (self.on_hand * self.stock.shrinkage_share + self.luck.shrinkage[:, day]).astype(np.int64)
        missing = np.minimum(self.on_hand, missing) * (is_open & counted)
        self.on_hand -= missing
        flows.wasted[:, day], flows.missing[:, day], flows.closing[:, day] = spoilt, missing, self.on_hand

    def order(self, day: int) -> None:
        """Order a batch of what has sunk to its reorder level."""
        low = self.on_hand + self.on_order <= self.policy.reorder_level
        site, product = np.nonzero(low & self.conditions.open_day[:, day, None])
        lead = 1 + (self.luck.lead[site, day, product] * self.stock.lead_days).astype(np.int64)
        batch = self.policy.batch[site, product]
        self.arriving[site, day + lead, product] += batch.astype(np.int32)
        self.on_order[site, product] += batch
