"""From configured incidents to planned ones: which entity, from when to when. Nothing has happened yet."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from vigil.clock import DAY, HOUR
from vigil.errors import ContractError
from vigil.simulate.chain import World
from vigil.simulate.config import SimulationConfig
from vigil.simulate.incident_config import (
    KINDS,
    BrokenUnit,
    CompromisedCustomer,
    CompromisedTerminal,
    Incident,
    LargeAmounts,
    MicroFlood,
    PopulationDrift,
    SilentFeed,
    StockOut,
)
from vigil.simulate.ledger import NONE
from vigil.simulate.streams import key_of, stream


@dataclass(frozen=True)
class Plan:
    """One incident at one entity: from `start` until before `end` (microseconds); entities are indices or NONE."""

    number: int
    name: str
    incident: Incident
    start: int
    end: int
    site: int = NONE
    terminal: int = NONE
    customer: int = NONE
    product: int = NONE
    metric: str | None = None

    def key(self, seed: int, purpose: str) -> int:
        """Return the key of the incident's draws for one purpose."""
        return key_of(seed, "incident", self.name, purpose)


def site_name(site: int) -> str:
    """Return the id of a site by its number."""
    return f"S{site + 1:04d}"


def terminal_name(terminal: int, per_site: int) -> str:
    """Return the id of a terminal by its number in the chain."""
    return f"{site_name(terminal // per_site)}-T{terminal % per_site + 1:02d}"


def customer_name(customer: int) -> str:
    """Return the id of a customer by its number."""
    return f"C{customer + 1:07d}"


def card_name(customer: int, card: int) -> str:
    """Return the id of a customer's first (0) or second (1) card."""
    return f"K{customer + 1:07d}-{card + 1}"


def product_name(product: int) -> str:
    """Return the id of a product by its number."""
    return f"P{product + 1:04d}"


def plan_incidents(world: World) -> tuple[Plan, ...]:
    """Return a plan for each entity of each incident, or raise ContractError naming the incident that cannot be."""
    plans: list[Plan] = []
    ordinal = dict.fromkeys(KINDS, 0)
    for name, incident in world.config.named_incidents():
        for number in range(incident.count):
            own = name if incident.count == 1 else f"{name}.{number + 1}"
            plans.append(_plan(world, own, incident, (len(plans), ordinal[incident.kind])))
            ordinal[incident.kind] += 1
    return tuple(plans)


def _plan(world: World, name: str, incident: Incident, numbers: tuple[int, int]) -> Plan:
    draws = stream(world.config.seed, "incident", name)
    site = _choose_site(world, name, incident, numbers[1])
    day = _choose_day(world.config, incident, draws)
    plan = Plan(numbers[0], name, incident, *_span(world, site, day, incident), site=site)
    return _complete(world, plan, draws)


def _choose_site(world: World, name: str, incident: Incident, ordinal: int) -> int:
    """Return the configured site, else one by kind and ordinal: different kinds strike different sites."""
    sites = world.config.chain.sites
    match incident:
        case CompromisedTerminal(terminal=str(terminal)):
            return _terminal(world, name, terminal) // world.config.chain.terminals_per_site
        case CompromisedCustomer(customer=str(customer)):
            return int(world.customers.home[_customer(world, name, customer)])
        case Incident(site=str(site)):
            return _number(name, "site", site, map(site_name, range(sites)))
        case _:
            slot = list(KINDS).index(incident.kind) + ordinal * len(KINDS)
            order = stream(world.config.seed, "incident sites").permutation(sites)
            return int(order[(slot + slot // sites) % sites])


def _terminal(world: World, name: str, terminal: str) -> int:
    per_site = world.config.chain.terminals_per_site
    known = (terminal_name(till, per_site) for till in range(world.config.chain.sites * per_site))
    return _number(name, "terminal", terminal, known)


def _customer(world: World, name: str, customer: str) -> int:
    return _number(name, "customer", customer, map(customer_name, range(len(world.customers.home))))


def _number(name: str, field: str, wanted: str, names: Iterable[str]) -> int:
    known = list(names)
    if wanted not in known:
        raise ContractError(f"incident {name!r}: there is no {field} {wanted!r}, only {known[0]} to {known[-1]}")
    return known.index(wanted)


def _choose_day(config: SimulationConfig, incident: Incident, draws: np.random.Generator) -> int:
    """Return the configured day, else one that leaves the first fifth untroubled, as far as the length allows."""
    if incident.start_day is not None:
        return incident.start_day
    latest = config.days - int(np.ceil(incident.length_days or 0))
    if incident.length_days is None:
        latest = config.days // 2
    return min(int(draws.integers(min(config.days // 5, latest), latest + 1)), config.days - 1)


def _span(world: World, site: int, day: int, incident: Incident) -> tuple[int, int]:
    midnight = world.calendar(site).midnight
    length = world.config.days - day if incident.length_days is None else incident.length_days
    last = world.calendar(site).start[-1] + HOUR
    whole = day + int(length)
    end = (midnight[whole] if whole < len(midnight) else last) + int(length % 1 * DAY)
    return int(midnight[day]), int(min(end, last))


def _complete(world: World, plan: Plan, draws: np.random.Generator) -> Plan:
    """Fill in what the incident's kind needs beyond site and time."""
    match plan.incident:
        case LargeAmounts(site=None) | PopulationDrift(site=None):
            last = max(int(calendar.start[-1]) + HOUR for calendar in world.calendars)
            return replace(plan, site=NONE, end=last if plan.incident.length_days is None else plan.end)
        case CompromisedTerminal(terminal=str(terminal)):
            return replace(plan, terminal=_terminal(world, plan.name, terminal))
        case CompromisedTerminal():
            return replace(plan, terminal=_any_till(world, plan, draws))
        case CompromisedCustomer(customer=str(customer)):
            return replace(plan, customer=_customer(world, plan.name, customer), site=NONE)
        case CompromisedCustomer():
            return replace(plan, customer=_regular(world, plan, draws), site=NONE)
        case MicroFlood() as incident:
            return _flood(world, plan, incident, draws)
        case SilentFeed() as incident:
            start = plan.start + incident.start_hour * HOUR
            metric = _known_metric(world, plan.name, incident.metric)
            return replace(plan, start=start, end=start + int(incident.hours * HOUR), metric=metric)
        case StockOut() as incident:
            return replace(plan, product=_product(world, plan.name, incident.product, draws))
        case BrokenUnit(feed="transaction"):
            return replace(plan, metric="amount")
        case BrokenUnit() as incident:
            return replace(plan, metric=_known_metric(world, plan.name, incident.metric))
        case _:
            return plan


def _any_till(world: World, plan: Plan, draws: np.random.Generator) -> int:
    per_site = world.config.chain.terminals_per_site
    return plan.site * per_site + int(draws.integers(per_site))


def _regular(world: World, plan: Plan, draws: np.random.Generator) -> int:
    """Choose a visitor of the site who is a customer throughout; frequent ones more likely."""
    visitors, weight = world.customers.visitors_of(plan.site)
    first, last = world.day_of(np.array([plan.site] * 2), np.array([plan.start, plan.end - 1]))
    stays = (world.customers.joined[visitors] <= first) & (world.customers.left[visitors] > last)
    chance = np.where(stays, weight, weight * 1e-9)
    return int(draws.choice(visitors, p=chance / chance.sum()))


def _flood(world: World, plan: Plan, incident: MicroFlood, draws: np.random.Generator) -> Plan:
    """Begin when the site opens, on the day or the next one that is open."""
    calendar = world.calendar(plan.site)
    first = int(world.day_of(np.array([plan.site]), np.array([plan.start]))[0])
    day = int(calendar.next_open[first])
    if day >= world.config.days:
        raise ContractError(f"incident {plan.name!r}: the site is closed from day {first} on: start it earlier")
    start = int(calendar.opens[day])
    plan = replace(plan, start=start, end=min(start + int(incident.hours * HOUR), int(calendar.closes[day])))
    if incident.through == "card":
        return replace(plan, customer=_regular(world, plan, draws))
    return replace(plan, terminal=_any_till(world, plan, draws)) if incident.through == "terminal" else plan


def _product(world: World, name: str, wanted: str | None, draws: np.random.Generator) -> int:
    """Choose the configured product, else one of the best-selling twentieth."""
    if wanted is not None:
        return _number(name, "product", wanted, map(product_name, range(world.config.chain.products)))
    best = np.argsort(-world.products.popularity, kind="stable")
    return int(best[draws.integers(max(1, len(best) // 20))])


def _known_metric(world: World, name: str, metric: str | None) -> str | None:
    known = world.config.readings.metrics
    if metric is not None and metric not in known:
        raise ContractError(f"incident {name!r}: there is no metric {metric!r}, only {', '.join(known)}")
    return metric
