"""The fifteen features of the published card-fraud protocol (Fraud Detection Handbook, chapter 3).

Windows are ours: in grains, and of the past only. The delay of the terminal's labels is in the data: a verdict is an
event at the time when it became known.
"""

from vigil.features.definitions.entities import (
    AMOUNT,
    FRAUD_VERDICTS,
    VERDICTS,
    customer,
    is_night,
    is_weekend,
    terminal,
)
from vigil.features.language import Feature, feature, field

WINDOWS = ("24h", "7d", "30d")
GROUP = "protocol"


def protocol() -> list[Feature]:
    """Return the fifteen definitions."""
    features = [
        feature("amount", field("amount"), group=GROUP, unit="currency", reason="large amounts are rare"),
        feature("is_weekend", is_weekend, group=GROUP, unit="flag", reason="habits differ between week and weekend"),
        feature("is_night", is_night, group=GROUP, unit="flag", reason="few customers pay at night"),
    ]
    for window in WINDOWS:
        features += _customer(window) + _terminal(window)
    return features


def _customer(window: str) -> list[Feature]:
    return [
        feature(
            f"customer_count_{window}",
            customer.count(window),
            group=GROUP,
            unit="transactions",
            reason="a stolen card is used more often",
        ),
        feature(
            f"customer_amount_mean_{window}",
            customer.mean(AMOUNT, window),
            group=GROUP,
            unit="currency",
            reason="what the customer usually spends",
        ),
    ]


def _terminal(window: str) -> list[Feature]:
    return [
        feature(
            f"terminal_count_{window}",
            terminal.count(window),
            group=GROUP,
            unit="transactions",
            reason="how busy the terminal is",
        ),
        feature(
            f"terminal_risk_{window}",
            terminal.sum(FRAUD_VERDICTS, window) / terminal.sum(VERDICTS, window),
            group=GROUP,
            unit="share",
            reason="share of frauds among the terminal's verdicts: a compromised terminal goes on",
        ),
    ]
