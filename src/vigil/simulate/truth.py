"""The ground truth: what was made to go wrong, where and when, and every event that it touched."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from vigil.clock import from_micros
from vigil.simulate.chain import World
from vigil.simulate.incident_config import MicroFlood
from vigil.simulate.ledger import NONE, Ledger
from vigil.simulate.plans import Plan, card_name, customer_name, product_name, site_name, terminal_name
from vigil.simulate.readings import Readings
from vigil.simulate.streams import Ids, id_strings
from vigil.simulate.tables import PREFIXES, Codes, encoded, strings

EFFECTS = ("changed", "labelled", "added", "withheld", "prevented")
"""Arrived otherwise; arrived as it was, but is fraud; would not be there; did not arrive; did not happen."""

AFFECTED_SCHEMA = pa.schema(
    [
        pa.field("incident", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("effect", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("kind", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("event_id", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True)
class IncidentTruth:
    """One incident at one entity, as it came about."""

    name: str
    kind: str
    is_fraud: bool
    entity: str
    """What it struck: chain, site, terminal, card, customer or product."""
    entity_id: str | None
    site_id: str | None
    metric: str | None
    start: str
    """ISO 8601, in UTC."""
    end: str
    """ISO 8601, in UTC; excluded."""
    affected: dict[str, int]
    """Number of events by effect."""
    parameters: dict[str, Any]

    @property
    def events(self) -> int:
        """Number of events that it touched in any way."""
        return sum(self.affected.values())


def affected_events(ledger: Ledger, readings: Readings, plans: tuple[Plan, ...]) -> pa.Table:
    """Return every event that an incident touched, by incident, effect, kind of event and event id."""
    happened, arrived = ledger.happened, ledger.happened & (ledger.withheld == NONE)
    own_effect = np.array([EFFECTS.index(plan.incident.effect) for plan in plans] + [NONE])
    parts = [
        _part("transaction", ledger.uid, np.where(arrived, ledger.fraud, NONE), own_effect),
        _part("transaction", ledger.uid, np.where(arrived, ledger.drift, NONE), own_effect),
        _part("transaction", ledger.uid, np.where(arrived, ledger.broken, NONE), own_effect),
        _part("transaction", ledger.uid, np.where(happened, ledger.withheld, NONE), own_effect),
        _part("transaction", ledger.uid, ledger.prevented, np.full(len(own_effect), EFFECTS.index("prevented"))),
        _part("site_reading", readings.uid, readings.withheld, own_effect),
        _part("site_reading", readings.uid, np.where(readings.withheld == NONE, readings.broken, NONE), own_effect),
    ]
    names = strings(plan.name for plan in plans)
    tables = [_affected(names, *part) for part in parts]
    return pa.concat_tables(tables).unify_dictionaries().combine_chunks()


def _part(kind: str, uid: Ids, incident: Codes, effects: Codes) -> tuple[str, Ids, Codes, Codes]:
    rows = np.flatnonzero(incident != NONE)
    rows = rows[np.lexsort((uid[rows], incident[rows]))]
    return kind, uid[rows], incident[rows], effects[incident[rows]]


def _affected(names: pa.StringArray, kind: str, uid: Ids, incident: Codes, effect: Codes) -> pa.Table:
    columns = [
        encoded(incident, names),
        encoded(effect, strings(EFFECTS)),
        encoded(np.full(len(uid), list(PREFIXES).index(kind)), strings(PREFIXES)),
        id_strings(PREFIXES[kind], uid),
    ]
    return pa.Table.from_arrays(columns, schema=AFFECTED_SCHEMA)


def incident_truths(world: World, plans: tuple[Plan, ...], affected: pa.Table) -> tuple[IncidentTruth, ...]:
    """Return the truth of every planned incident, given the events that they touched."""
    counted = affected.group_by(["incident", "effect"]).aggregate([([], "count_all")]).to_pylist()
    counts: dict[str, Counter[str]] = {plan.name: Counter() for plan in plans}
    for row in counted:
        counts[row["incident"]][row["effect"]] += row["count_all"]
    return tuple(_truth(world, plan, dict(sorted(counts[plan.name].items()))) for plan in plans)


def _truth(world: World, plan: Plan, counts: dict[str, int]) -> IncidentTruth:
    entity, entity_id = _entity(world, plan)
    return IncidentTruth(
        name=plan.name,
        kind=plan.incident.kind,
        is_fraud=plan.incident.is_fraud,
        entity=entity,
        entity_id=entity_id,
        site_id=None if plan.site == NONE else site_name(plan.site),
        metric=plan.metric,
        start=from_micros(plan.start).isoformat(),
        end=from_micros(plan.end).isoformat(),
        affected=counts,
        parameters=plan.incident.model_dump(mode="json", exclude={"name", "kind", "count"}, exclude_none=True),
    )


def _entity(world: World, plan: Plan) -> tuple[str, str | None]:
    if plan.terminal != NONE:
        return "terminal", terminal_name(plan.terminal, world.config.chain.terminals_per_site)
    if plan.customer != NONE and isinstance(plan.incident, MicroFlood):
        return "card", card_name(plan.customer, 0)
    if plan.customer != NONE:
        return "customer", customer_name(plan.customer)
    if plan.product != NONE:
        return "product", product_name(plan.product)
    return ("chain", None) if plan.site == NONE else ("site", site_name(plan.site))
