"""Who buys: value, habit, and departure from it."""

from vigil.clock import DAY
from vigil.features.definitions.entities import AMOUNT, amount, customer, sigmas
from vigil.features.language import EVENTS, Feature, Named, Node, feature

GROUP = "customer"

AMOUNT_SIGMAS = Named("customer.amount_sigmas", sigmas(amount, customer.mean(AMOUNT), customer.std(AMOUNT)))
"""The amount against the customer's whole past; missing before the third transaction."""

DAYS_SINCE_LAST = customer.since_last(EVENTS) / DAY


def frequency_sigmas() -> Node:
    """Return how far the last 7 days' count lies above the customer's own rate, in Poisson standard deviations."""
    days_known = (customer.since_first(EVENTS) / DAY).at_least(7)
    expected = customer.count() / days_known * 7
    return Named("customer.frequency_sigmas[7d]", (customer.count("7d") - expected) / expected.at_least(1).sqrt())


def customers(regular_spend: float, premium_spend: float, churn_days: float, outlier_sigma: float) -> list[Feature]:
    """Return the customer features; the cut-offs of lifetime spend are in currency units."""
    spend = customer.sum(AMOUNT)
    return [
        feature(
            "customer_segment",
            (spend >= regular_spend) + (spend >= premium_spend),
            group=GROUP,
            unit=f"0 new, 1 regular from {regular_spend:g}, 2 premium from {premium_spend:g}",
            reason="lifetime spend before this transaction",
        ),
        feature(
            "is_churn_risk",
            DAYS_SINCE_LAST > churn_days,
            group=GROUP,
            unit="flag",
            reason=f"back after more than {churn_days:g} days without a purchase",
        ),
        feature(
            "is_order_value_outlier",
            AMOUNT_SIGMAS.at_least(AMOUNT_SIGMAS * -1) > outlier_sigma,
            group=GROUP,
            unit="flag",
            reason=f"more than {outlier_sigma:g} standard deviations from the customer's lifetime mean",
        ),
        feature(
            "customer_amount_sigmas",
            AMOUNT_SIGMAS,
            group=GROUP,
            unit="standard deviations",
            reason="the amount against the customer's whole past",
        ),
        feature(
            "customer_frequency_sigmas_7d",
            frequency_sigmas(),
            group=GROUP,
            unit="standard deviations",
            reason="purchase-frequency anomaly: the week against the customer's own rate",
        ),
    ]
