"""The parts of the business score, each in [0, 1]; -1 says that the part is missing for this transaction."""

from vigil.features.definitions.customers import AMOUNT_SIGMAS, DAYS_SINCE_LAST, frequency_sigmas
from vigil.features.definitions.entities import AMOUNT, ON_HAND, REORDER_LEVEL, amount, customer, sigmas, site_product
from vigil.features.language import Feature, Node, feature

GROUP = "business"
MISSING_PART = -1.0
FULL_SIGMAS = 6.0
"""Standard deviations at which a part that counts them is full."""


def business(sigma: float, churn_days: float) -> list[Feature]:
    """Return the five parts: high value, low stock, customer behaviour, churn risk, statistical outlier."""
    high_value = sigmas(amount, customer.mean(AMOUNT, "30d"), customer.std(AMOUNT, "30d")) / (2 * sigma)
    on_hand, reorder = site_product.last(ON_HAND), site_product.last(REORDER_LEVEL)
    parts: list[tuple[str, Node, str]] = [
        ("high_value", high_value, f"amount above the customer's 30-day mean; full at {2 * sigma:g} sigmas"),
        ("low_stock", 1 - on_hand / (reorder * 2), "half at the reorder level, full with nothing on hand"),
        ("customer_behavior", frequency_sigmas() / FULL_SIGMAS, "more purchases than the customer's own rate"),
        ("churn", DAYS_SINCE_LAST / churn_days, f"time since the last purchase; full at {churn_days:g} days"),
        ("outlier", AMOUNT_SIGMAS.at_least(AMOUNT_SIGMAS * -1) / FULL_SIGMAS, "distance from the lifetime mean"),
    ]
    return [
        feature(f"business_{name}", node.clip(0, 1), group=GROUP, unit="0-1", reason=reason, default=MISSING_PART)
        for name, node, reason in parts
    ]
