"""The books of the stockrooms: levels, movements and restocks as events.

For every site and product: level = previous level + restocks + movements, exactly.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from vigil.clock import MINUTE, SECOND
from vigil.simulate.calendars import Ints
from vigil.simulate.chain import World
from vigil.simulate.incident_config import StockOut
from vigil.simulate.ledger import NONE, Ledger
from vigil.simulate.plans import Plan
from vigil.simulate.stockroom import Conditions, Flows, Units, flow
from vigil.simulate.streams import key_of, uniform

Cells = tuple[npt.NDArray[np.intp], ...]
"""Site in its block, day and product of some cells."""

REASONS = ("sale", "return", "waste", "transfer", "correction")


@dataclass(frozen=True)
class Bookings:
    """Events of one kind about stock; arrays are per event."""

    time: Ints
    site: Ints
    product: Ints
    number: Ints
    """Unique within the kind: makes the id."""
    quantity: Ints
    """Units moved, delivered or on hand."""
    detail: Ints
    """Reorder level of a level, number of the reason of a movement."""

    @classmethod
    def concatenate(cls, parts: "list[Bookings]") -> "Bookings":
        """Return the events of all parts in turn."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def take(self, rows: Ints) -> "Bookings":
        """Return the events at the given positions."""
        return Bookings(*(getattr(self, field.name)[rows] for field in fields(self)))


@dataclass(frozen=True)
class StockBook:
    """All that is known about stock."""

    levels: Bookings
    movements: Bookings
    restocks: Bookings


def book_stock(world: World, ledger: Ledger, plans: tuple[Plan, ...], cells_per_block: int = 2_000_000) -> StockBook:
    """Return what the ledger and the stock-outs make of every site's stock.

    Sites are worked on in blocks of about so many cells (a product on a day at a site); their size changes nothing.
    """
    demand, count = _Demand(world, ledger), world.config.chain.sites
    step = max(1, cells_per_block // (world.config.days * world.config.chain.products))
    books = []
    for lo in range(0, count, step):
        sites = range(lo, min(lo + step, count))
        conditions = Conditions(*demand.of(sites), _open_days(world, sites), _blocked(world, sites, plans))
        books.append(_book(world, sites, flow(world, sites, conditions)))
    return StockBook(
        *(Bookings.concatenate([getattr(book, part.name) for book in books]) for part in fields(StockBook))
    )


class _Demand:
    """What the ledger takes from stock and brings back."""

    def __init__(self, world: World, ledger: Ledger) -> None:
        rows = np.flatnonzero((ledger.product != NONE) & ledger.happened)
        site = ledger.site[rows].astype(np.int64)
        self.days, self.products = world.config.days, world.config.chain.products
        cell = (site * self.days + world.day_of(site, ledger.time[rows])) * self.products + ledger.product[rows]
        order = np.argsort(site, kind="stable")
        self.site, self.cell, self.quantity = site[order], cell[order], ledger.quantity[rows][order]

    def of(self, sites: range) -> tuple[Units, Units]:
        """Return units sold and units returned at a block of sites."""
        lo, hi = np.searchsorted(self.site, [sites.start, sites.stop])
        shape = (len(sites), self.days, self.products)
        cell, quantity = self.cell[lo:hi] - sites.start * self.days * self.products, self.quantity[lo:hi]
        sold, returned = (
            np.bincount(cell, weights=part, minlength=int(np.prod(shape))).astype(np.int32).reshape(shape)
            for part in (quantity.clip(0), (-quantity).clip(0))
        )
        return sold, returned


def _open_days(world: World, sites: range) -> npt.NDArray[np.bool_]:
    return np.stack([world.calendar(site).open_day for site in sites])


def _blocked(world: World, sites: range, plans: tuple[Plan, ...]) -> npt.NDArray[np.bool_]:
    blocked = np.zeros((len(sites), world.config.days, world.config.chain.products), dtype=np.bool_)
    for plan in plans:
        if isinstance(plan.incident, StockOut) and plan.site in sites:
            midnight = world.calendar(plan.site).midnight
            blocked[plan.site - sites.start, (midnight >= plan.start) & (midnight < plan.end), plan.product] = True
    return blocked


def _book(world: World, sites: range, flows: Flows) -> StockBook:
    """Turn flows into events. Deliveries come first, before opening; the day's sales are booked at closing."""
    desk = _Desk(world, sites)
    movements = [
        desk.book(-flows.written_off, before_opening=90, detail=REASONS.index("waste"), serial=5),
        desk.book(flows.transferred, before_opening=60, detail=REASONS.index("transfer"), serial=3),
        desk.book(-flows.sold, after_closing=0, detail=REASONS.index("sale"), serial=0),
        desk.book(flows.returned, after_closing=1, detail=REASONS.index("return"), serial=1),
        desk.book(-flows.wasted, after_closing=2, detail=REASONS.index("waste"), serial=2),
        desk.book(-flows.missing, after_closing=3, detail=REASONS.index("correction"), serial=4),
    ]
    restocks = desk.book(flows.delivered, before_opening=120, detail=NONE, serial=0)
    late = (uniform(restocks.number.astype(np.uint64), key_of(world.config.seed, "delivery")) * 1_500).astype(np.int64)
    levels = Bookings.concatenate(desk.levels(flows))
    return StockBook(levels, Bookings.concatenate(movements), replace(restocks, time=restocks.time + late * SECOND))


class _Desk:
    """Turns the cells of a block of sites into events."""

    def __init__(self, world: World, sites: range) -> None:
        self.first_site, self.products = sites.start, world.config.chain.products
        self.opens = np.stack([world.calendar(site).opens for site in sites])
        self.closes = np.stack([world.calendar(site).closes for site in sites])
        self.midnight = np.stack([world.calendar(site).midnight for site in sites])

    def book(
        self, quantity: Units, *, detail: int, serial: int, before_opening: int | None = None, after_closing: int = 0
    ) -> Bookings:
        """Return an event for each quantity that is not zero, so many minutes before opening or after closing."""
        cells = np.nonzero(quantity)
        if before_opening is None:
            time = self.closes[cells[:2]] + after_closing * MINUTE
        else:
            time = self.opens[cells[:2]] - before_opening * MINUTE
        return self._events(cells, time, quantity[cells], np.full(len(time), detail), serial)

    def levels(self, flows: Flows) -> list[Bookings]:
        """Return the first levels, those after write-offs (nothing is left), and those after each day with a change."""
        site, product = np.nonzero(flows.first >= 0)
        start = (site, np.zeros_like(site), product)
        empty = np.nonzero(flows.written_off)
        changed = np.nonzero(_changed(flows))
        nothing = np.zeros(len(empty[0]))
        reorder = np.broadcast_to(flows.reorder_level[:, None], flows.closing.shape)
        return [
            self._events(start, self.midnight[start[:2]], flows.first[site, product], reorder[start], 2),
            self._events(empty, self.opens[empty[:2]] - 85 * MINUTE, nothing, reorder[empty], 1),
            self._events(changed, self.closes[changed[:2]] + 5 * MINUTE, flows.closing[changed], reorder[changed], 0),
        ]

    def _events(self, cells: Cells, time: Ints, quantity: npt.NDArray[Any], detail: Ints, serial: int) -> Bookings:
        site, day, product = cells
        site = site + self.first_site
        number = ((site * self.closes.shape[1] + day) * self.products + product) * 8 + serial
        return Bookings(time, site, product, number, quantity.astype(np.int64), detail)


def _changed(flows: Flows) -> npt.NDArray[np.bool_]:
    moved = (flows.delivered, flows.written_off, flows.transferred, flows.sold, flows.returned, flows.wasted)
    changed: npt.NDArray[np.bool_] = flows.missing != 0
    for units in moved:
        changed |= units != 0
    return changed
