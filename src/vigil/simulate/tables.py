"""From plain arrays to tables of the contracts: names for numbers, sorted by time and id."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vigil.clock import DAY
from vigil.contracts.events import (
    Event,
    Restock,
    SiteReading,
    StockLevel,
    StockMovement,
    Transaction,
    Verdict,
    arrow_schema,
)
from vigil.simulate.calendars import Ints
from vigil.simulate.chain import World
from vigil.simulate.incident_config import KINDS
from vigil.simulate.ledger import NONE, Ledger
from vigil.simulate.plans import Plan, card_name, customer_name, product_name, site_name, terminal_name
from vigil.simulate.readings import Readings
from vigil.simulate.stock import REASONS, Bookings
from vigil.simulate.streams import Ids, id_strings, key_of, mix

UNITS = {"transactions": "count", "visitors": "count", "energy": "kWh"}
"""Of every metric but sales, which are in the configured currency."""

PREFIXES = {
    "transaction": "t",
    "stock_level": "l",
    "stock_movement": "m",
    "restock": "r",
    "site_reading": "h",
    "verdict": "v",
}
"""First letter of the ids of each kind."""

Codes = npt.NDArray[np.signedinteger[Any]]


class Names:
    """The ids of every entity, once, as the values of dictionary columns."""

    def __init__(self, world: World) -> None:
        chain, sites = world.config.chain, range(world.config.chain.sites)
        customers, tills = range(len(world.customers.home)), range(len(sites) * chain.terminals_per_site)
        self.sites = strings(map(site_name, sites))
        self.groups = strings(group.name for group in chain.groups)
        self.terminals = strings(terminal_name(till, chain.terminals_per_site) for till in tills)
        self.customers = strings(map(customer_name, customers))
        self.cards = strings(card_name(customer, card) for customer in customers for card in (0, 1))
        self.products = strings(map(product_name, range(chain.products)))
        self.suppliers = strings(f"V{supplier + 1:03d}" for supplier in range(chain.suppliers))


def strings(names: Iterable[str]) -> pa.StringArray:
    """Return the names as an array."""
    return pa.array(list(names), type=pa.string())


def encoded(codes: Codes, names: pa.StringArray) -> pa.DictionaryArray:
    """Return the names that the codes stand for; NONE is null."""
    missing = codes == NONE
    indices = pa.array(codes.astype(np.int32, copy=False), mask=missing if missing.any() else None)
    return pa.DictionaryArray.from_arrays(indices, names)


def in_order(time: Ints, uid: Ids) -> Ints:
    """Return the positions sorted by time, then id."""
    order: Ints = np.argsort(time, kind="stable")
    same = np.diff(time[order]) == 0
    tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
    among = order[tied]
    order[tied] = among[np.lexsort((uid[among], time[among]))]
    return order


def transactions(world: World, names: Names, ledger: Ledger) -> tuple[pa.Table, Ints]:
    """Return the transactions that arrived, and their positions in the ledger."""
    rows = np.flatnonzero(ledger.happened & (ledger.withheld == NONE))
    rows = rows[in_order(ledger.time[rows], ledger.uid[rows])]
    site, customer, product = ledger.site[rows], ledger.customer[rows], ledger.product[rows]
    quantity = ledger.quantity[rows].astype(np.float64)
    columns = {
        **_when(world, "transaction", ledger.uid[rows], ledger.time[rows], site),
        "amount": pa.array(ledger.cents[rows] / 100),
        "customer_id": encoded(customer, names.customers),
        "card_id": encoded(np.where(customer == NONE, NONE, customer * 2 + ledger.card[rows]), names.cards),
        "terminal_id": encoded(ledger.terminal[rows], names.terminals),
        "site_id": encoded(site, names.sites),
        "site_group": encoded(world.sites.group[site], names.groups),
        "product_id": encoded(product, names.products),
        "quantity": pa.array(quantity, mask=product == NONE),
    }
    return _table(Transaction, columns), rows


def verdicts(world: World, ledger: Ledger, judged: tuple[pa.Table, Ints], plans: tuple[Plan, ...]) -> pa.Table:
    """Return a verdict on each transaction, given their table and their positions in the ledger."""
    table, rows = judged
    is_fraud, uid = ledger.fraud[rows] != NONE, ledger.uid[rows]
    time = ledger.time[rows] + int(world.config.verdict_delay_days * DAY)
    cause = np.where(ledger.broken[rows] != NONE, ledger.broken[rows], ledger.drift[rows])
    cause = np.where(is_fraud, ledger.fraud[rows], cause)
    kinds = list(KINDS)
    kind_of = np.array([kinds.index(plan.incident.kind) for plan in plans] + [NONE])
    columns = {
        **_when(world, "verdict", uid, time, ledger.site[rows]),
        "transaction_id": table["event_id"],
        "is_fraud": pa.array(is_fraud),
        "source": encoded(is_fraud.astype(np.int32), strings(("settlement", "chargeback"))),
        "category": encoded(kind_of[cause], strings(kinds)),
        **{name: table[name] for name in ("amount", "customer_id", "card_id", "terminal_id", "site_id")},
    }
    return _table(Verdict, columns)


def stock_levels(world: World, names: Names, booked: Bookings) -> pa.Table:
    """Return the levels, with the reorder level of each."""
    events, columns = _stock_event(world, names, "stock_level", booked)
    columns["on_hand"] = pa.array(events.quantity.astype(np.float64))
    columns["reorder_level"] = pa.array(events.detail.astype(np.float64))
    return _table(StockLevel, columns)


def stock_movements(world: World, names: Names, booked: Bookings) -> pa.Table:
    """Return the movements, restocks excepted."""
    events, columns = _stock_event(world, names, "stock_movement", booked)
    columns["quantity"] = pa.array(events.quantity.astype(np.float64))
    columns["reason"] = encoded(events.detail, strings(REASONS))
    return _table(StockMovement, columns)


def restocks(world: World, names: Names, booked: Bookings) -> pa.Table:
    """Return the deliveries."""
    events, columns = _stock_event(world, names, "restock", booked)
    columns["supplier_id"] = encoded(world.products.supplier[events.product], names.suppliers)
    columns["quantity"] = pa.array(events.quantity.astype(np.float64))
    return _table(Restock, columns)


def site_readings(world: World, names: Names, readings: Readings) -> pa.Table:
    """Return the readings that arrived."""
    metrics = world.config.readings.metrics
    rows = np.flatnonzero(readings.withheld == NONE)
    rows = rows[in_order(readings.time[rows], readings.uid[rows])]
    metric = readings.metric[rows]
    units = [UNITS.get(name, world.config.currency) for name in metrics]
    known = sorted(set(units))
    columns = {
        **_when(world, "site_reading", readings.uid[rows], readings.time[rows], readings.site[rows]),
        "site_id": encoded(readings.site[rows], names.sites),
        "metric": encoded(metric, strings(metrics)),
        "value": pa.array(readings.value[rows]),
        "unit": encoded(np.array([known.index(unit) for unit in units])[metric], strings(known)),
    }
    return _table(SiteReading, columns)


def _stock_event(world: World, names: Names, kind: str, booked: Bookings) -> tuple[Bookings, dict[str, pa.Array]]:
    """Return the events in order, and the columns that all kinds of stock event share."""
    uid = mix(booked.number.astype(np.uint64), key_of(world.config.seed, kind))
    order = in_order(booked.time, uid)
    events = booked.take(order)
    columns = _when(world, kind, uid[order], events.time, events.site)
    columns |= {"site_id": encoded(events.site, names.sites), "product_id": encoded(events.product, names.products)}
    return events, columns


def _when(world: World, kind: str, uid: Ids, time: Ints, site: Codes) -> dict[str, pa.Array]:
    """Return the columns that all events share."""
    return {
        "event_id": id_strings(PREFIXES[kind], uid),
        "event_time": pa.array(time).cast(pa.timestamp("us", tz="UTC")),
        "utc_offset_minutes": pa.array(world.local.offset(world.sites.group[site], time)),
    }


def _table(model: type[Event], columns: dict[str, pa.Array]) -> pa.Table:
    schema = arrow_schema(model)
    return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)
