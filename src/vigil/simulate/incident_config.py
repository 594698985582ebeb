"""What can be made to go wrong, and how much: one model for each kind of incident."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(gt=0, le=1)]
Days = Annotated[float, Field(gt=0)]


class Incident(BaseModel):
    """What all incidents share. Whatever is left out (start, entity) is chosen by the seed and by `name` alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    is_fraud: ClassVar[bool] = False
    effect: ClassVar[str]

    kind: str
    name: str | None = Field(default=None, pattern=r"^[a-z0-9_-]{1,64}$", description="unique; default <kind>-<number>")
    count: int = Field(default=1, ge=1, le=10_000, description="how many entities suffer it, each at its own time")
    start_day: int | None = Field(default=None, ge=0, description="first day, counted from the simulation's first")
    site: str | None = Field(default=None, description="the site, such as S0003")

    @property
    def length_days(self) -> float | None:
        """How long it lasts; None is until the end of the simulation."""
        days: float | None = getattr(self, "days", None)
        return days


class LargeAmounts(Incident):
    """Stolen cards buy a lot of what is expensive, anywhere, until the end."""

    kind: Literal["large_amounts"] = "large_amounts"
    is_fraud: ClassVar[bool] = True
    effect: ClassVar[str] = "changed"
    count: Literal[1] = 1
    start_day: int | None = Field(default=0, ge=0)
    share: Share = Field(default=0.002, description="of all sales by card")
    minimum: float = Field(default=180.0, gt=0, le=10_000, description="smallest amount, in currency units")
    days: Days | None = Field(default=None, description="None is until the end")


class CompromisedTerminal(Incident):
    """A tampered till: many of its card sales are fraud, though each looks like any other."""

    kind: Literal["compromised_terminal"] = "compromised_terminal"
    is_fraud: ClassVar[bool] = True
    effect: ClassVar[str] = "labelled"
    share: Share = Field(default=0.5, description="of the till's sales by card")
    days: Days = 28
    terminal: str | None = Field(default=None, description="the till, such as S0003-T02")


class CompromisedCustomer(Incident):
    """Somebody else shops with a customer's card, and buys several times as much."""

    kind: Literal["compromised_customer"] = "compromised_customer"
    is_fraud: ClassVar[bool] = True
    effect: ClassVar[str] = "changed"
    share: Share = Field(default=0.7, description="of the customer's purchases")
    multiplier: int = Field(default=4, ge=2, le=20, description="of quantity and amount")
    days: Days = 14
    customer: str | None = Field(default=None, description="the customer, such as C0000123")


class MicroFlood(Incident):
    """Thousands of small amounts within hours, each below every threshold."""

    kind: Literal["micro_flood"] = "micro_flood"
    is_fraud: ClassVar[bool] = True
    effect: ClassVar[str] = "added"
    through: Literal["card", "terminal", "site"] = Field(
        default="card", description="one card at one site, many cards at one till, or many cards at all tills of a site"
    )
    transactions: int = Field(default=2_000, ge=1, le=1_000_000, description="how many, for each entity")
    hours: float = Field(default=12, gt=0, le=24, description="from opening time on, until closing time at the latest")
    smallest: float = Field(default=0.10, ge=0.01, description="currency units")
    largest: float = Field(default=3.00, le=1_000, description="currency units")

    @property
    def length_days(self) -> float:
        """At most a day."""
        return 1

    @model_validator(mode="after")
    def _amounts_are_in_order(self) -> Self:
        if self.smallest > self.largest:
            raise ValueError(f"smallest is {self.smallest:g}, which is more than largest, {self.largest:g}")
        return self


class SilentFeed(Incident):
    """What a site sends does not arrive. It happened all the same: stock and the other feeds show it."""

    kind: Literal["silent_feed"] = "silent_feed"
    effect: ClassVar[str] = "withheld"
    feeds: tuple[Literal["transaction", "site_reading"], ...] = Field(
        default=("transaction", "site_reading"), min_length=1, description="the kinds of event that do not arrive"
    )
    metric: str | None = Field(default=None, description="of the readings; None is all metrics")
    start_hour: int = Field(default=10, ge=0, le=23, description="local hour at which it begins")
    hours: float = Field(default=30, gt=0)

    @property
    def length_days(self) -> float:
        """The hours, and the part of the first day before them."""
        return (self.start_hour + self.hours) / 24


class StockOut(Incident):
    """The stock of a product is written off before opening, and nothing is delivered until the end: no sales."""

    kind: Literal["stock_out"] = "stock_out"
    effect: ClassVar[str] = "prevented"
    days: int = Field(default=8, ge=1, description="whole local days")
    product: str | None = Field(default=None, description="the product, such as P0007; default one that sells well")


class SalesDip(Incident):
    """A site loses a part of its sales."""

    kind: Literal["sales_dip"] = "sales_dip"
    effect: ClassVar[str] = "prevented"
    days: Days = 7
    depth: Share = Field(default=0.5, description="share of the sales that do not happen")
    footfall: bool = Field(default=True, description="fewer visitors too; False is a trouble at the tills")


class PopulationDrift(Incident):
    """All customers gradually buy dearer goods at higher prices: nothing is wrong, the world has moved."""

    kind: Literal["population_drift"] = "population_drift"
    effect: ClassVar[str] = "changed"
    count: Literal[1] = 1
    amount_factor: float = Field(default=1.15, gt=0, le=3, description="of prices, when the drift is complete")
    mix_share: float = Field(default=0.2, ge=0, le=1, description="of purchases that move to the dearer half")
    over_days: Days = Field(default=30, description="from nothing to complete, linearly")


class BrokenUnit(Incident):
    """A site suddenly reports cents for units: amounts (up to the contract's largest) or readings are too large."""

    kind: Literal["broken_unit"] = "broken_unit"
    effect: ClassVar[str] = "changed"
    feed: Literal["transaction", "site_reading"] = "transaction"
    metric: str = Field(default="sales", description="of the readings, where they are what breaks")
    factor: float = Field(default=100.0, gt=0, le=1_000)
    days: Days | None = Field(default=10, description="until somebody repairs it; None is until the end")


AnyIncident = Annotated[
    LargeAmounts
    | CompromisedTerminal
    | CompromisedCustomer
    | MicroFlood
    | SilentFeed
    | StockOut
    | SalesDip
    | PopulationDrift
    | BrokenUnit,
    Field(discriminator="kind"),
]

KINDS: dict[str, type[Incident]] = {
    "large_amounts": LargeAmounts,
    "compromised_terminal": CompromisedTerminal,
    "compromised_customer": CompromisedCustomer,
    "micro_flood": MicroFlood,
    "silent_feed": SilentFeed,
    "stock_out": StockOut,
    "sales_dip": SalesDip,
    "population_drift": PopulationDrift,
    "broken_unit": BrokenUnit,
}
"""Every kind of incident by its name."""
