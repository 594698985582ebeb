"""Small event logs in which everything rare is frequent: ties, borders of windows, missing keys, half cents."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import pyarrow as pa
from hypothesis import settings
from hypothesis import strategies as st

from vigil.contracts.events import EVENTS, Event, Restock, StockLevel, StockMovement, Transaction, Verdict, to_table
from vigil.features.compiler import compile_features
from vigil.features.definitions import FeatureConfig, define
from vigil.features.fields import KINDS

CONFIG = FeatureConfig()
PROGRAM = compile_features(define(CONFIG))

START = datetime(2024, 1, 31, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

_DAYS = (0, 0, 0, 0, 1, 1, 6, 7, 29, 30, 31, 89, 90, 91)
_SECONDS = (0, 1, 299, 300, 301, 3_599, 3_600, 3_900, 7_200, 25_199, 25_200, 43_200, 86_399)
_AMOUNTS = (-150.0, 0.0, 0.01, 0.235, 1.045, 5.0, 9.99, 10.0, 100.0, 250.75, 499.99, 5_000.0)
_UNITS = (0.0, 0.5, 1.0, 3.125, 40.0, 100.0)
_GROUPS = {"s1": "g1", "s2": "g1", "s3": "g2", "s4": None, None: None}
"""A site has one group: `site_days` counts a day for the group of the site's first sale."""


def deterministic(examples: int) -> settings:
    """Return settings under which every run tries the same examples."""
    return settings(derandomize=True, deadline=None, max_examples=examples, database=None)


moments = st.builds(
    lambda day, second: START + timedelta(days=day, seconds=second), st.sampled_from(_DAYS), st.sampled_from(_SECONDS)
)
_zones = st.sampled_from((0, 60, -300, 330))
_customers = st.sampled_from(("c1", "c2", None))
_cards = st.sampled_from(("k1", "k2", None))
_terminals = st.sampled_from(("m1", "m2", None))
_sites = st.sampled_from(tuple(_GROUPS))
_shops = st.sampled_from(("s1", "s2"))
_products = st.sampled_from(("p1", "p2"))


def _sale(site: str | None, **values: object) -> Transaction:
    return Transaction(site_id=site, site_group=_GROUPS[site], **values)  # type: ignore[arg-type]


_ids = st.just("?")
transactions = st.builds(
    _sale,
    site=_sites,
    event_id=_ids,
    event_time=moments,
    utc_offset_minutes=_zones,
    amount=st.sampled_from(_AMOUNTS),
    customer_id=_customers,
    card_id=_cards,
    terminal_id=_terminals,
    product_id=st.one_of(st.none(), _products),
    quantity=st.sampled_from((None, 1.0)),
)
_place = {"event_id": _ids, "event_time": moments, "site_id": _shops, "product_id": _products}
others = st.one_of(
    st.builds(
        Verdict,
        event_id=_ids,
        event_time=moments,
        transaction_id=st.just("t"),
        is_fraud=st.booleans(),
        source=st.just("analyst"),
        amount=st.sampled_from((None, *_AMOUNTS)),
        customer_id=_customers,
        terminal_id=_terminals,
    ),
    st.builds(
        StockLevel,
        **_place,
        on_hand=st.sampled_from((-1.0, *_UNITS)),
        reorder_level=st.sampled_from((None, *_UNITS)),
    ),
    st.builds(StockMovement, **_place, quantity=st.sampled_from((-2.5, *_UNITS)), reason=st.just("sale")),
    st.builds(Restock, **_place, supplier_id=st.sampled_from(("u1", "u2")), quantity=st.sampled_from(_UNITS[1:])),
)


@st.composite
def logs(draw: st.DrawFn, most: int = 25) -> list[Event]:
    """Return events in log order; their ids are unique and say nothing of their order."""
    drafts = draw(st.lists(st.one_of(transactions, transactions, others), max_size=most))
    numbers = draw(st.permutations(range(len(drafts))))
    events = [draft.model_copy(update={"event_id": f"e{n:02}"}) for draft, n in zip(drafts, numbers, strict=True)]
    return in_log_order(events)


def in_log_order(events: Iterable[Event]) -> list[Event]:
    """Return the events by time, then kind, then id."""
    return sorted(events, key=lambda event: (event.event_time, KINDS.index(event.kind), event.event_id))


def tables_of(events: Sequence[Event]) -> dict[str, pa.Table]:
    """Return a table for each kind of event, the absent kinds included, with rows in the order given."""
    return {kind: to_table(EVENTS[kind], [event for event in events if event.kind == kind]) for kind in KINDS}


def sale(number: int, minutes: float, amount: float = 10.0, **values: object) -> Transaction:
    """Return a transaction of customer c1 at terminal m1, `minutes` after the start."""
    keys = {"customer_id": "c1", "card_id": "k1", "terminal_id": "m1", "site_id": "s1", "site_group": "g1", **values}
    return Transaction(event_id=f"t{number:03}", event_time=START + minutes * MINUTE, amount=amount, **keys)
