"""Who is being defrauded, and where: amounts against a robust baseline, verdicts in a row.

A compromised terminal shows as frauds of ordinary amounts, one verdict after the other, until the first legitimate one;
a compromised customer as several amounts far above the baseline within days. The baseline counts an amount with at most
`high_ratio` times what was expected, so that a fraud cannot raise it by much, and leans on `typical_amount` as long
as there is little past.
"""

from vigil.clock import DAY
from vigil.features.definitions.entities import (
    AMOUNT,
    AMOUNT_QUANTUM,
    FRAUD_VERDICTS,
    LEGITIMATE_VERDICTS,
    SALE,
    VERDICTS,
    amount,
    customer,
    terminal,
)
from vigil.features.language import Feature, Measure, Named, Node, feature, field

GROUP = "risk"
LONG_AGO_DAYS = 60.0
PRIOR_COUNT = 2
"""Transactions that the typical amount counts for."""


def risk(typical_amount: float, high_ratio: float, ordinary_ratio: float) -> list[Feature]:
    """Return the risk features; `typical_amount` is in currency units, the ratios are multiples of the baseline."""
    ratio = amount / _baseline(typical_amount, high_ratio)
    high = Measure(f"over_{high_ratio:g}_times", SALE * (ratio > high_ratio))
    ordinary = Measure(f"fraud_below_{ordinary_ratio:g}_times", field("is_fraud") * (ratio < ordinary_ratio))
    return [*_customer(ratio, high), *_terminal(ordinary)]


def _baseline(typical_amount: float, high_ratio: float) -> Node:
    """Return the customer's shrunk mean amount, over amounts clipped to `high_ratio` times the shrunk plain mean."""
    prior, count = PRIOR_COUNT * typical_amount, customer.count() + PRIOR_COUNT
    plain = (customer.sum(AMOUNT) + prior) / count
    held = Measure("held_amount", SALE * amount.at_most(plain.at_least(1) * high_ratio), quantum=AMOUNT_QUANTUM)
    return Named("customer.baseline", ((customer.sum(held) + prior) / count).at_least(1))


def _customer(ratio: Node, high: Measure) -> list[Feature]:
    days = (customer.since_last(high) / DAY).at_most(LONG_AGO_DAYS)
    rows = [
        ("amount_over_baseline", ratio, "ratio", "against the customer's robust mean amount", 1.0),
        ("customer_high_count_7d", customer.sum(high, "7d"), "transactions", "several far above the baseline", 0.0),
        ("customer_high_count_14d", customer.sum(high, "14d"), "transactions", "several far above the baseline", 0.0),
        ("customer_days_since_high", days, "days", "the last amount far above the baseline", LONG_AGO_DAYS),
    ]
    return [feature(n, node, group=GROUP, unit=u, reason=why, default=d) for n, node, u, why, d in rows]


def _terminal(ordinary: Measure) -> list[Feature]:
    legitimate = (terminal.since_last(LEGITIMATE_VERDICTS) / DAY).at_most(LONG_AGO_DAYS)
    run = terminal.run_length(FRAUD_VERDICTS, LEGITIMATE_VERDICTS, "30d")
    run_days = terminal.run_age(FRAUD_VERDICTS, LEGITIMATE_VERDICTS, "30d")
    ordinary_run = terminal.run_length(ordinary, LEGITIMATE_VERDICTS, "30d")
    rows = [
        ("terminal_verdicts_30d", terminal.sum(VERDICTS, "30d"), "verdicts", "how much is known of it", 0.0),
        ("terminal_fraud_verdicts_30d", terminal.sum(FRAUD_VERDICTS, "30d"), "verdicts", "frauds found there", 0.0),
        ("terminal_days_since_legitimate", legitimate, "days", "nothing found to be in order", LONG_AGO_DAYS),
        ("terminal_fraud_run", run, "verdicts", "frauds in a row, none in order between them", 0.0),
        ("terminal_fraud_run_days", run_days, "days", "how long they have come in a row", 0.0),
        ("terminal_ordinary_fraud_run", ordinary_run, "verdicts", "in a row, and of ordinary amounts", 0.0),
    ]
    return [feature(n, node, group=GROUP, unit=u, reason=why, default=d) for n, node, u, why, d in rows]
