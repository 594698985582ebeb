"""What the incidents do to the ledger. Each row's fate follows from its id and the incident's name alone."""

import numpy as np
import numpy.typing as npt

from vigil.clock import DAY
from vigil.contracts.events import MAX_AMOUNT
from vigil.simulate.calendars import Floats, Ints
from vigil.simulate.chain import World
from vigil.simulate.incident_config import (
    BrokenUnit,
    CompromisedCustomer,
    CompromisedTerminal,
    LargeAmounts,
    MicroFlood,
    PopulationDrift,
    SalesDip,
    SilentFeed,
    StockOut,
)
from vigil.simulate.ledger import NONE, Ledger
from vigil.simulate.plans import Plan
from vigil.simulate.sales import MILLISECOND, entry_ids
from vigil.simulate.streams import key_of, stream, uniform

ORDER = (
    "sales_dip",
    "large_amounts",
    "compromised_terminal",
    "compromised_customer",
    "population_drift",
    "stock_out",
    "micro_flood",
)
"""Kinds that change what happens, in the order in which they act; it matters only where two of them meet."""

_ADDED = 1 << 31
"""Owners of added entries begin here; below it are the sites."""


def make_history(world: World, ledger: Ledger, plans: tuple[Plan, ...]) -> Ledger:
    """Return the ledger of what happened, incidents included, before any feed breaks; `ledger` is used up."""
    index = _Index(ledger)
    for plan in sorted((plan for plan in plans if plan.incident.kind in ORDER), key=_turn):
        _act(world, ledger, plan, index)
    _settle_refunds(ledger)
    floods = [_flood(world, plan, plan.incident) for plan in plans if isinstance(plan.incident, MicroFlood)]
    return Ledger.concatenate([ledger, *floods]) if floods else ledger


def break_feeds(ledger: Ledger, plans: tuple[Plan, ...]) -> None:
    """Change the ledger by what the incidents do on the way from the tills to us."""
    for plan in plans:
        match plan.incident:
            case SilentFeed(feeds=feeds) if "transaction" in feeds:
                _claim(ledger.withheld, _in_reach(ledger, plan), plan)
            case BrokenUnit(feed="transaction", factor=factor):
                rows = _in_reach(ledger, plan)
                wrong = (ledger.cents[rows] * factor).clip(-MAX_AMOUNT * 100, MAX_AMOUNT * 100)
                ledger.cents[rows] = np.round(wrong).astype(np.int64)
                _claim(ledger.broken, rows, plan)
            case _:
                pass


def _turn(plan: Plan) -> tuple[int, int]:
    return ORDER.index(plan.incident.kind), plan.number


def _act(world: World, ledger: Ledger, plan: Plan, index: "_Index") -> None:
    match plan.incident:
        case SalesDip(depth=depth):
            _claim(ledger.prevented, _hit(world, ledger, _sales(ledger, plan), plan, depth), plan)
        case LargeAmounts() as incident:
            rows = _hit(world, ledger, _honest_by_card(ledger, _sales(ledger, plan)), plan, incident.share)
            _enlarge(world, ledger, rows, plan, incident)
        case CompromisedTerminal(share=share):
            rows = index.of_terminal(plan.terminal)
            rows = _honest_by_card(ledger, _keep(rows, _during(ledger, rows, plan)))
            _claim(ledger.fraud, _hit(world, ledger, rows, plan, share), plan)
        case CompromisedCustomer(share=share, multiplier=multiplier):
            rows = index.of_customer(plan.customer)
            rows = _honest_by_card(ledger, _keep(rows, _during(ledger, rows, plan)))
            rows = _hit(world, ledger, rows, plan, share)
            ledger.quantity[rows] *= multiplier
            ledger.cents[rows] *= multiplier
            _claim(ledger.fraud, rows, plan)
        case PopulationDrift() as incident:
            _drift(world, ledger, _sales(ledger, plan), plan, incident)
        case StockOut():
            rows = _sales(ledger, plan)
            _claim(ledger.prevented, rows[ledger.product[rows] == plan.product], plan)
        case _:
            pass


def _settle_refunds(ledger: Ledger) -> None:
    """Make refunds follow their sales: nothing is given back that was not sold, or that a thief bought."""
    refunds = np.flatnonzero(~ledger.is_sale)
    sales = ledger.origin[refunds]
    ledger.prevented[refunds] = np.where(ledger.fraud[sales] != NONE, ledger.fraud[sales], ledger.prevented[sales])
    ledger.product[refunds] = ledger.product[sales]
    ledger.quantity[refunds] = -ledger.quantity[sales]
    ledger.cents[refunds] = -ledger.cents[sales]
    ledger.drift[refunds] = ledger.drift[sales]


def _claim(column: npt.NDArray[np.int32], rows: Ints, plan: Plan) -> None:
    """Mark the rows as the plan's, those of an earlier plan excepted."""
    column[rows] = np.where(column[rows] == NONE, plan.number, column[rows])


def _keep(rows: Ints, fit: npt.NDArray[np.bool_]) -> Ints:
    kept: Ints = rows[fit]
    return kept


def _in_reach(ledger: Ledger, plan: Plan) -> Ints:
    """Positions of what happened at the plan's site (everywhere without one) in its time."""
    rows = np.arange(len(ledger)) if plan.site == NONE else np.flatnonzero(ledger.site == plan.site)
    return _keep(rows, _during(ledger, rows, plan) & (ledger.prevented[rows] == NONE))


def _sales(ledger: Ledger, plan: Plan) -> Ints:
    rows = _in_reach(ledger, plan)
    return _keep(rows, ledger.is_sale[rows])


def _during(ledger: Ledger, rows: Ints, plan: Plan) -> npt.NDArray[np.bool_]:
    time = ledger.time[rows]
    return (time >= plan.start) & (time < plan.end)


def _honest_by_card(ledger: Ledger, rows: Ints) -> Ints:
    """Those of the rows that a fraud can be made of: sales by card, that happen, and are no other's fraud."""
    honest = (ledger.fraud[rows] == NONE) & (ledger.prevented[rows] == NONE)
    return _keep(rows, honest & (ledger.customer[rows] != NONE) & ledger.is_sale[rows])


def _hit(world: World, ledger: Ledger, rows: Ints, plan: Plan, share: float) -> Ints:
    return _keep(rows, _draw(world, ledger, rows, plan, "hit") < share)


def _draw(world: World, ledger: Ledger, rows: Ints, plan: Plan, purpose: str) -> Floats:
    return uniform(ledger.uid[rows], plan.key(world.config.seed, purpose))


def _enlarge(world: World, ledger: Ledger, rows: Ints, plan: Plan, incident: LargeAmounts) -> None:
    """Let thieves buy several of the dearest tenth of the products, for at least the smallest amount."""
    count = len(world.products.cents)
    dear = count - 1 - (_draw(world, ledger, rows, plan, "product") * max(1, count // 10)).astype(np.int64)
    unit = world.cents[ledger.site[rows], dear]
    wanted = incident.minimum * 100 * (1 - 0.5 * np.log(1 - _draw(world, ledger, rows, plan, "amount")))
    ledger.product[rows] = dear
    ledger.quantity[rows] = np.ceil(wanted / unit)
    ledger.cents[rows] = unit * ledger.quantity[rows]
    _claim(ledger.fraud, rows, plan)


def _drift(world: World, ledger: Ledger, rows: Ints, plan: Plan, incident: PopulationDrift) -> None:
    """Move a growing part of the purchases to the dearer half of the products, and raise all prices."""
    ramp = ((ledger.time[rows] - plan.start) / (incident.over_days * DAY)).clip(0, 1)
    moves = (_draw(world, ledger, rows, plan, "mix") < ramp * incident.mix_share) & (ledger.fraud[rows] == NONE)
    moved = rows[moves]
    ledger.product[moved] = _dearer_half(world, _draw(world, ledger, moved, plan, "product"))
    ledger.quantity[moved] = 1
    quantity = ledger.quantity[rows]
    before = world.cents[ledger.site[rows], ledger.product[rows]]
    unit = np.round(before * (1 + (incident.amount_factor - 1) * ramp)).astype(np.int64)
    ledger.cents[rows] = unit * quantity
    _claim(ledger.drift, rows[moves | (unit != before)], plan)


def _dearer_half(world: World, draw: Floats) -> Ints:
    half = len(world.products.popularity) // 2
    reach = np.cumsum(world.products.popularity[half:])
    product: Ints = half + np.searchsorted(reach, draw * reach[-1], side="right")
    return product


def _flood(world: World, plan: Plan, incident: MicroFlood) -> Ledger:
    """Return the added entries: of one card, at one till, or at one site with its customers' cards."""
    draws = stream(world.config.seed, "incident", plan.name, "flood")
    rows, tills = incident.transactions, world.config.chain.terminals_per_site
    visitors, _ = world.customers.visitors_of(plan.site)
    some_till = plan.site * tills + draws.integers(0, min(2, tills) if plan.customer != NONE else tills, rows)
    spread = draws.random(rows) ** 1.5 * (incident.largest - incident.smallest)
    return Ledger.of(
        uid=entry_ids(
            world.config.seed, _ADDED | (key_of(world.config.seed, "flood", plan.name) % _ADDED), np.arange(rows)
        ),
        time=plan.start + draws.integers(0, (plan.end - plan.start) // MILLISECOND, rows) * MILLISECOND,
        site=plan.site,
        terminal=some_till if plan.terminal == NONE else plan.terminal,
        customer=draws.choice(visitors, rows) if plan.customer == NONE else plan.customer,
        card=0,
        quantity=0,
        cents=np.round((incident.smallest + spread) * 100),
        fraud=plan.number,
    )


class _Index:
    """Finds the rows of a terminal or a customer, ascending; good as long as the ledger keeps its length."""

    def __init__(self, ledger: Ledger) -> None:
        self._columns = {"terminal": ledger.terminal, "customer": ledger.customer}
        self._sorted: dict[str, tuple[Ints, npt.NDArray[np.int32]]] = {}

    def of_terminal(self, terminal: int) -> Ints:
        return self._find("terminal", terminal)

    def of_customer(self, customer: int) -> Ints:
        return self._find("customer", customer)

    def _find(self, name: str, wanted: int) -> Ints:
        if name not in self._sorted:
            order = np.argsort(self._columns[name], kind="stable")
            self._sorted[name] = order, self._columns[name][order]
        order, in_order = self._sorted[name]
        lo, hi = np.searchsorted(in_order, np.array([wanted, wanted + 1], dtype=in_order.dtype))
        return order[lo:hi]
