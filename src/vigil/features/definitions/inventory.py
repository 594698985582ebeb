"""Stock and suppliers, as of the transaction, for its product at its site."""

from vigil.clock import DAY
from vigil.features.definitions.entities import MOVED, ON_HAND, REORDER_LEVEL, RESTOCKS, site_product, supplier
from vigil.features.language import Feature, feature

GROUP = "inventory"

NEVER_DAYS = 365.0
"""Days since a restock where none is known."""


def inventory() -> list[Feature]:
    """Return the inventory features."""
    return [
        feature(
            "is_stock_low",
            site_product.last(ON_HAND) <= site_product.last(REORDER_LEVEL),
            group=GROUP,
            unit="flag",
            reason="stock at or below the reorder level",
        ),
        feature(
            "days_since_restock",
            site_product.since_last(RESTOCKS) / DAY,
            group=GROUP,
            unit="days",
            reason="a delivery that is overdue",
            default=NEVER_DAYS,
        ),
        feature(
            "stock_movement_per_day_30d",
            site_product.sum(MOVED, "30d") / 30,
            group=GROUP,
            unit="units per day",
            reason="how fast the product moves, in and out",
        ),
        feature(
            "supplier_restock_count_90d",
            supplier.count("90d", of=RESTOCKS),
            group=GROUP,
            unit="deliveries",
            reason="how active the product's last supplier is",
        ),
    ]
