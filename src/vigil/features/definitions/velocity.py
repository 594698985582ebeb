"""Low-amount velocity: a flood of micro-transactions stays below every threshold on the single amount."""

from vigil.features.definitions.entities import card, customer, low_amounts, site, terminal
from vigil.features.language import Feature, feature

GROUP = "velocity"
WINDOWS = ("1h", "24h", "7d")


def velocity(low_amount: float) -> list[Feature]:
    """Return counts and sums of amounts below `low_amount` (currency units) by customer, card, terminal, and site."""
    count, total = low_amounts(low_amount)
    features = []
    for entity in (customer, card, terminal, site):
        for window in WINDOWS:
            reason = f"micro-transactions (below {low_amount:g}) of the {entity.name}"
            name = f"{entity.name}_low_%s_{window}"
            features += [
                feature(name % "count", entity.sum(count, window), group=GROUP, unit="transactions", reason=reason),
                feature(name % "amount", entity.sum(total, window), group=GROUP, unit="currency", reason=reason),
            ]
    return features
