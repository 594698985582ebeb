"""The ordinary days: what every site sells, to whom, and what is brought back. No incident is known here."""

import numpy as np
import numpy.typing as npt

from vigil.clock import HOUR
from vigil.simulate.calendars import Calendar, Floats, Ints
from vigil.simulate.chain import DAYPARTS, MAX_QUANTITY, World
from vigil.simulate.ledger import NONE, Ledger
from vigil.simulate.streams import Ids, key_of, mix, stream, uniform

LOYALTY = 0.5
"""Correlation of the prices that a customer pays with the customer's spend level."""

MILLISECOND = 1_000

FIRST_REFUND = 1 << 31
"""Number of an owner's first refund: its sales are counted from 0."""


def entry_ids(seed: int, owner: int, numbers: Ints) -> Ids:
    """Return an id for each of an owner's (a site's or an incident's) entries; owners and numbers fit 32 bits."""
    return mix((np.uint64(owner) << np.uint64(32)) | numbers.astype(np.uint64), key_of(seed, "entries"))


def hourly_rates(world: World, site: int) -> Floats:
    """(hours,): expected sales of a site, its good and bad days included."""
    calendar, demand = world.calendar(site), world.config.demand
    noise = stream(world.config.seed, "days", site).normal(1.0, demand.day_noise, world.config.days)
    rates: Floats = calendar.rate * noise.clip(0.3)[calendar.day] * demand.sales_per_site_day * world.sites.size[site]
    return rates


def site_ledger(world: World, site: int) -> Ledger:
    """Return the ordinary sales and refunds of one site."""
    config, calendar = world.config, world.calendar(site)
    draws = stream(config.seed, "sales", site)
    counts = draws.poisson(hourly_rates(world, site))
    rows = int(counts.sum())
    slot = np.repeat(np.arange(len(counts)), counts)
    customer = _customers(world, site, slot, draws)
    product, quantity = _baskets(world, customer, draws)
    sales = Ledger.of(
        uid=entry_ids(config.seed, site, np.arange(rows)),
        time=_moments(calendar, slot, draws.random(rows)),
        site=np.full(rows, site),
        terminal=_terminals(world, site, draws.random(rows)),
        customer=customer,
        card=_cards(world, customer, draws.random(rows)),
        product=product,
        quantity=quantity,
        cents=world.cents[site, product] * quantity,
    )
    return Ledger.concatenate([sales, _refunds(world, site, sales)])


def hourly_sales(calendar: Calendar, ledger: Ledger) -> Ints:
    """(hours,): number of sales in the ledger of one site."""
    return np.bincount(calendar.slot(ledger.time[ledger.is_sale]), minlength=len(calendar.start))


def _moments(calendar: Calendar, slot: Ints, draw: Floats) -> Ints:
    """Place each sale within its hour, more of them where the neighboring hour is busier."""
    slope = calendar.slope[slot]
    slope = np.where(np.abs(slope) < 1e-6, 1e-6, slope)
    share = (slope - 1 + np.sqrt((1 - slope) ** 2 + 4 * slope * draw)) / (2 * slope)
    milliseconds = (share.clip(0, 1 - 1e-9) * (HOUR // MILLISECOND)).astype(np.int64)
    moments: Ints = calendar.start[slot] + milliseconds * MILLISECOND
    return moments


def _customers(world: World, site: int, slot: Ints, draws: np.random.Generator) -> Ints:
    """One visitor of the site per sale, by habit; NONE where it is cash, or where no customer of that day was found."""
    calendar = world.calendar(site)
    part = np.searchsorted(DAYPARTS, calendar.hour[slot], side="right")
    customer = _visitors(world, site, part, draws.random(len(slot)))
    for _ in range(2):
        again = np.flatnonzero(~_is_active(world, customer, calendar.day[slot]))
        customer[again] = _visitors(world, site, part[again], draws.random(len(again)))
    cash = draws.random(len(slot)) < world.config.demand.anonymous_share
    return np.where(cash | ~_is_active(world, customer, calendar.day[slot]), NONE, customer)


def _visitors(world: World, site: int, part: Ints, draw: Floats) -> Ints:
    """One visitor for each sale, whose part of the day and whose random number are given."""
    visitors, weight = world.customers.visitors_of(site)
    chosen = np.empty(len(part), dtype=np.int64)
    for number in range(len(DAYPARTS) + 1):
        mine = part == number
        reach = np.cumsum(weight * world.customers.habit[visitors, number])
        chosen[mine] = visitors[np.searchsorted(reach, draw[mine] * reach[-1], side="right")]
    return chosen


def _is_active(world: World, customer: Ints, day: Ints) -> npt.NDArray[np.bool_]:
    return (world.customers.joined[customer] <= day) & (day < world.customers.left[customer])


def _baskets(world: World, customer: Ints, draws: np.random.Generator) -> tuple[Ints, Ints]:
    """Draw a product and a quantity for each sale: customers of a higher level buy dearer goods."""
    products, rows = world.products, len(customer)
    level = np.where(customer == NONE, draws.standard_normal(rows), world.customers.level[customer])
    score = LOYALTY * level + np.sqrt(1 - LOYALTY**2) * draws.standard_normal(rows)
    product = np.searchsorted(products.cuts, score, side="right")
    more = np.log(1 - draws.random(rows)) / np.log(products.repeat[product])
    return product, 1 + more.astype(np.int64).clip(0, MAX_QUANTITY - 1)


def _terminals(world: World, site: int, draw: Floats) -> Ints:
    """Draw tills: those near the door are used most."""
    tills = world.config.chain.terminals_per_site
    return site * tills + (draw**1.3 * tills).astype(np.int64)


def _cards(world: World, customer: Ints, draw: Floats) -> Ints:
    return np.where(customer == NONE, NONE, (world.customers.cards[customer] > 1) & (draw > 0.8))


def _refunds(world: World, site: int, sales: Ledger) -> Ledger:
    """Bring some sales back, to any till, on a later day when the site is open."""
    config, calendar = world.config, world.calendar(site)
    origin = np.flatnonzero(uniform(sales.uid, key_of(config.seed, "refund")) < config.demand.refund_share)
    sold = sales.uid[origin]
    days = 1 + (-6 * np.log(1 - uniform(sold, key_of(config.seed, "refund day")))).astype(np.int64).clip(0, 29)
    wanted = calendar.day[calendar.slot(sales.time[origin])] + days
    day = np.append(calendar.next_open, config.days)[wanted.clip(0, config.days)]
    kept = day < config.days
    origin, sold, day = origin[kept], sold[kept], day[kept]
    opening = (calendar.closes - calendar.opens)[day]
    moment = (uniform(sold, key_of(config.seed, "refund time")) * opening).astype(np.int64)
    tills = uniform(sold, key_of(config.seed, "refund till"))
    return Ledger.of(
        uid=entry_ids(config.seed, site, origin + FIRST_REFUND),
        time=calendar.opens[day] + moment // MILLISECOND * MILLISECOND,
        site=np.full(len(origin), site),
        terminal=_terminals(world, site, tills),
        customer=sales.customer[origin],
        card=sales.card[origin],
        product=sales.product[origin],
        quantity=-sales.quantity[origin],
        cents=-sales.cents[origin],
        origin=origin,
    )
