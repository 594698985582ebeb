"""The entities, the measures and the calendar that the definitions share."""

from vigil.features.language import Entity, Measure, Node, field

AMOUNT_QUANTUM = 0.01
QUANTITY_QUANTUM = 0.001

SALE = field("is_transaction")
"""1 for a transaction, missing for every other kind of event."""

amount = field("amount")
hour = field("hour")
weekday = field("weekday")
is_weekend = weekday >= 5
is_night = hour <= 6
"""Midnight to seven o'clock, local time, as in the published protocol."""

AMOUNT = Measure("amount", SALE * amount, quantum=AMOUNT_QUANTUM)
REFUNDS = Measure("refunds", SALE * (amount < 0))
NIGHT_SALES = Measure("night_sales", SALE * is_night)
VERDICTS = Measure("verdicts", field("is_verdict"))
FRAUD_VERDICTS = Measure("fraud_verdicts", field("is_fraud"))
LEGITIMATE_VERDICTS = Measure("legitimate_verdicts", 1 - field("is_fraud"))

ON_HAND = Measure("on_hand", field("on_hand"), quantum=QUANTITY_QUANTUM)
REORDER_LEVEL = Measure("reorder_level", field("reorder_level"), quantum=QUANTITY_QUANTUM)
RESTOCKS = Measure("restocks", field("is_restock"))
MOVED = Measure(
    "moved",
    field("is_stock_movement") * field("quantity").at_least(field("quantity") * -1),
    quantum=QUANTITY_QUANTUM,
)
"""Units that moved, in either direction."""

customer = Entity("customer", ("customer_id",))
card = Entity("card", ("card_id",))
terminal = Entity("terminal", ("terminal_id",))
site = Entity("site", ("site_id",))
site_group = Entity("site_group", ("site_group",))
site_product = Entity("site_product", ("site_id", "product_id"))
supplier = Entity(
    "supplier",
    ("supplier_id",),
    lookup=site_product.last(Measure("supplier_code", field("supplier_code"))),
)
"""Deliveries name their supplier; a transaction is led to the one that delivered its product to its site last."""

SITE_DAYS = Measure("site_days", SALE * site.count("today").equals(0))
"""1 for a site's first transaction of a day: its sum over a group of sites counts the days on which they sold."""


def low_amounts(cutoff: float) -> tuple[Measure, Measure]:
    """Return count and sum of the amounts above zero and below `cutoff`."""
    is_low = SALE * (amount > 0) * (amount < cutoff)
    name = f"low_{cutoff:g}"
    return Measure(f"{name}_count", is_low), Measure(f"{name}_amount", is_low * amount, quantum=AMOUNT_QUANTUM)


def sigmas(value: Node, mean: Node, std: Node) -> Node:
    """Return how many standard deviations `value` lies above the mean; a spread below one cent counts as one cent."""
    return (value - mean) / std.at_least(AMOUNT_QUANTUM)
