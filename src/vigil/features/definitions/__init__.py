"""The definitions of the features, one module per group, and the choice among them."""

from pydantic import BaseModel, ConfigDict, Field

from vigil.errors import ContractError
from vigil.features.definitions.behavior import behavior
from vigil.features.definitions.business import business
from vigil.features.definitions.calendar import calendar
from vigil.features.definitions.customers import customers
from vigil.features.definitions.inventory import inventory
from vigil.features.definitions.protocol import protocol
from vigil.features.definitions.risk import risk
from vigil.features.definitions.sales import sales
from vigil.features.definitions.velocity import velocity
from vigil.features.language import Feature

GROUPS = ("calendar", "sales", "inventory", "customer", "behavior", "velocity", "protocol", "risk", "business")


class FeatureConfig(BaseModel):
    """Which features a use case has, and their cut-offs. Amounts are in currency units."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    groups: tuple[str, ...] = Field(default=GROUPS, description="groups of the catalogue")
    low_amount: float = Field(default=10.0, gt=0, description="a transaction below this is a micro-transaction")
    regular_spend: float = Field(default=500.0, gt=0, description="lifetime spend from which a customer is regular")
    premium_spend: float = Field(default=5000.0, gt=0, description="lifetime spend from which a customer is premium")
    churn_days: float = Field(default=90.0, gt=0, description="days without a purchase that put a customer at risk")
    typical_amount: float = Field(default=50.0, gt=0, description="what a customer without a past is expected to spend")
    high_ratio: float = Field(default=3.0, gt=1, description="multiple of the expected amount that makes it high")
    ordinary_ratio: float = Field(default=2.0, gt=1, description="multiple below which a fraud's amount is ordinary")
    high_value_sigma: float = Field(default=2.0, gt=0, description="standard deviations that make a high value")
    outlier_sigma: float = Field(default=3.0, gt=0, description="standard deviations that make an outlier")


def define(config: FeatureConfig) -> list[Feature]:
    """Return the features of the chosen groups in the order of the catalogue.

    A feature that two groups share is there once. ContractError names an unknown group, and a name that two groups use
    for different formulas.
    """
    unknown = sorted(set(config.groups) - set(GROUPS))
    if unknown:
        raise ContractError(f"unknown feature group {unknown[0]!r}: one of {', '.join(GROUPS)}")
    by_group = {
        "calendar": calendar(),
        "sales": sales(config.high_value_sigma),
        "inventory": inventory(),
        "customer": customers(config.regular_spend, config.premium_spend, config.churn_days, config.outlier_sigma),
        "behavior": behavior(),
        "velocity": velocity(config.low_amount),
        "protocol": protocol(),
        "risk": risk(config.typical_amount, config.high_ratio, config.ordinary_ratio),
        "business": business(config.high_value_sigma, config.churn_days),
    }
    chosen: dict[str, Feature] = {}
    for group in (name for name in GROUPS if name in config.groups):
        for candidate in by_group[group]:
            known = chosen.setdefault(candidate.name, candidate)
            if str(known.node) != str(candidate.node) or known.default != candidate.default:
                raise ContractError(f"{candidate.name} is defined differently in {known.group} and {group}")
    return list(chosen.values())
