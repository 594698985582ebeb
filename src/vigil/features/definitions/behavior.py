"""Fifteen features of behaviour."""

from vigil.clock import DAY, HOUR
from vigil.features.definitions.entities import (
    AMOUNT,
    FRAUD_VERDICTS,
    NIGHT_SALES,
    REFUNDS,
    amount,
    card,
    customer,
    is_night,
    sigmas,
    terminal,
)
from vigil.features.language import EVENTS, Feature, feature

GROUP = "behavior"


def behavior() -> list[Feature]:
    """Return the fifteen, of pace, amount, and habit."""
    return [*_pace(), *_amounts(), *_habits()]


def _pace() -> list[Feature]:
    burst = customer.count("24h") / (customer.count("30d") / 30)
    rows = [
        ("customer_hours_since_last", customer.since_last(EVENTS) / HOUR, "hours", "two payments too soon", 720.0),
        ("terminal_hours_since_last", terminal.since_last(EVENTS) / HOUR, "hours", "an unusual queue", 720.0),
        ("customer_count_1h", customer.count("1h"), "transactions", "a burst within the hour", 0.0),
        ("terminal_count_1h", terminal.count("1h"), "transactions", "a till that is worked through", 0.0),
        ("card_count_24h", card.count("24h"), "transactions", "one card of several is abused", 0.0),
        ("customer_burst", burst, "ratio", "the last day against the customer's daily rate over 30 days", 0.0),
    ]
    return [feature(n, node, group=GROUP, unit=u, reason=why, default=d) for n, node, u, why, d in rows]


def _amounts() -> list[Feature]:
    terminal_sigmas = sigmas(amount, terminal.mean(AMOUNT, "30d"), terminal.std(AMOUNT, "30d"))
    shift = terminal.mean(AMOUNT, "7d") / terminal.mean(AMOUNT, "30d")
    last, largest = customer.last(AMOUNT), customer.max(AMOUNT, "30d")
    rows = [
        ("amount_over_last", amount / last, "ratio", "a jump from the customer's previous amount", 1.0),
        ("amount_over_max_30d", amount / largest, "ratio", "beyond all that the customer spent at once", 1.0),
        ("terminal_amount_sigmas_30d", terminal_sigmas, "standard deviations", "unusual for this terminal", 0.0),
        ("terminal_amount_shift", shift, "ratio", "the terminal's week against its 30 days", 1.0),
    ]
    return [feature(n, node, group=GROUP, unit=u, reason=why, default=d) for n, node, u, why, d in rows]


def _habits() -> list[Feature]:
    night_share = customer.sum(NIGHT_SALES, "30d") / customer.count("30d")
    refunds = customer.sum(REFUNDS, "30d") / customer.count("30d")
    rows = [
        ("is_night_unusual", is_night * (1 - night_share.fallback(0)), "0-1", "at night, by one who never is", 0.0),
        ("customer_refund_share_30d", refunds, "share", "refund abuse", 0.0),
        ("customer_days_known", customer.since_first(EVENTS) / DAY, "days", "how much the past can tell", 0.0),
        ("terminal_days_known", terminal.since_first(EVENTS) / DAY, "days", "a new till has no habits", 0.0),
        (
            "customer_fraud_verdicts_30d",
            customer.sum(FRAUD_VERDICTS, "30d"),
            "verdicts",
            "the customer was defrauded lately",
            0.0,
        ),
    ]
    return [feature(n, node, group=GROUP, unit=u, reason=why, default=d) for n, node, u, why, d in rows]
