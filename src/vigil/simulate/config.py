"""The configuration of a simulation: every knob, the presets, and YAML files that override them."""

import zoneinfo
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from vigil.errors import ContractError
from vigil.simulate.incident_config import KINDS, AnyIncident, Incident

Share = Annotated[float, Field(ge=0, le=1)]
Metric = Literal["sales", "transactions", "visitors", "energy"]


def _known_zone(name: str) -> str:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r} is not a time zone of this machine (pip install tzdata brings them all)") from None
    return name


def _in_order(hours: tuple[int, int]) -> tuple[int, int]:
    opens, closes = hours
    if not 3 <= opens < closes <= 24:
        raise ValueError(f"{opens} to {closes} are not opening hours: from 3 at the earliest to 24 at the latest")
    return hours


MAX_SALES = 20_000_000
"""Everything is made in memory, at about 900 bytes a sale."""

Hours = Annotated[tuple[int, int], AfterValidator(_in_order)]
TimeZone = Annotated[str, AfterValidator(_known_zone)]
Positive = Annotated[float, Field(gt=0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Peak(_Part):
    """A part of the day when people shop: a bell around `hour`."""

    hour: float = Field(ge=0, le=24, description="local time")
    width: float = Field(gt=0, le=24, description="standard deviation in hours")
    weight: float = Field(default=1.0, gt=0)


class Group(_Part):
    """Sites that are alike: their hours, their time zone and their rhythm."""

    name: str = Field(min_length=1, max_length=64)
    time_zone: TimeZone = "Europe/Berlin"
    weekday_hours: Hours = (8, 20)
    saturday_hours: Hours | None = Field(default=(9, 18), description="None is closed")
    sunday_hours: Hours | None = Field(default=None, description="of holidays too; None is closed")
    weekday_factors: tuple[Positive, Positive, Positive, Positive, Positive, Positive, Positive] = Field(
        default=(0.9, 0.9, 0.95, 1.0, 1.25, 1.4, 0.8), description="relative sales, Monday to Sunday"
    )
    peaks: tuple[Peak, ...] = Field(default=(Peak(hour=12.5, width=1.6), Peak(hour=17.5, width=1.8)), min_length=1)


def _default_groups() -> tuple[Group, ...]:
    commuters = (
        Peak(hour=8, width=1.1, weight=1.3),
        Peak(hour=12.5, width=1.3),
        Peak(hour=17.8, width=1.4, weight=1.5),
    )
    return (
        Group(name="city"),
        Group(
            name="mall",
            weekday_hours=(10, 20),
            saturday_hours=(10, 20),
            weekday_factors=(0.75, 0.75, 0.8, 0.95, 1.3, 1.8, 0.8),
            peaks=(Peak(hour=16, width=2.6),),
        ),
        Group(
            name="station",
            time_zone="Europe/London",
            weekday_hours=(6, 22),
            saturday_hours=(7, 22),
            sunday_hours=(8, 21),
            weekday_factors=(1.1, 1.1, 1.1, 1.1, 1.15, 0.8, 0.65),
            peaks=commuters,
        ),
        Group(
            name="suburb",
            time_zone="America/New_York",
            weekday_hours=(8, 21),
            saturday_hours=(8, 21),
            sunday_hours=(10, 18),
            weekday_factors=(0.85, 0.85, 0.9, 0.95, 1.15, 1.35, 0.95),
            peaks=(Peak(hour=10.5, width=1.8, weight=0.8), Peak(hour=17, width=2.0)),
        ),
    )


def _distinct(groups: tuple[Group, ...]) -> tuple[Group, ...]:
    if len({group.name for group in groups}) < len(groups):
        raise ValueError("two groups have the same name")
    return groups


class Chain(_Part):
    """The business: how many of what."""

    sites: int = Field(default=12, ge=1, le=20_000, description="assigned to the groups in turn")
    terminals_per_site: int = Field(default=4, ge=1, le=99)
    customers_per_site: int = Field(default=350, ge=1, le=1_000_000, description="whose home the site is")
    products: int = Field(default=120, ge=2, le=9_999, description="every site sells all of them")
    suppliers: int = Field(default=10, ge=1, le=999)
    groups: Annotated[tuple[Group, ...], AfterValidator(_distinct)] = Field(
        default_factory=_default_groups, min_length=1
    )


class Demand(_Part):
    """How much is bought, and when."""

    sales_per_site_day: float = Field(default=70.0, gt=0, le=1_000_000, description="of an average site, on average")
    trend_per_year: float = Field(default=0.05, gt=-1, le=10, description="growth; 0.05 is 5 %")
    yearly_amplitude: Share = Field(default=0.10, description="of the yearly wave, which is highest in early July")
    december_peak: float = Field(default=0.5, ge=0, le=10, description="what the weeks before 22 December add")
    day_noise: float = Field(default=0.08, ge=0, le=1, description="standard deviation of a site's day, relative")
    holidays: tuple[Annotated[str, Field(pattern=r"^\d\d-\d\d$")], ...] = Field(
        default=("01-01", "05-01", "12-25", "12-26"), description="month and day; sites keep their Sunday hours"
    )
    holiday_eve_factor: float = Field(default=1.25, gt=0, le=10, description="of the day before a holiday")
    refund_share: Share = Field(default=0.015, description="of the sales that are brought back later")
    anonymous_share: Share = Field(default=0.12, description="of the sales without customer and card: cash")


class Stock(_Part):
    """How the sites order, and what they lose."""

    cover_days: float = Field(default=12, gt=0, le=365, description="of average sales in one delivery")
    safety_days: float = Field(default=3, ge=0, le=365, description="of average sales in the reorder level")
    lead_days: int = Field(default=3, ge=1, le=60, description="of the slowest supplier, from order to delivery")
    waste_share: Share = Field(default=0.0005, description="of the stock that is thrown away each day")
    shrinkage_share: Share = Field(default=0.004, description="of the stock found missing at each count, every 28 days")


def _without_repetition(metrics: tuple[Metric, ...]) -> tuple[Metric, ...]:
    return tuple(dict.fromkeys(metrics))


class Readings(_Part):
    """What each site reports every hour, around the clock."""

    metrics: Annotated[tuple[Metric, ...], AfterValidator(_without_repetition)] = Field(
        default=("sales", "transactions", "visitors", "energy"), min_length=1
    )
    conversion: float = Field(default=0.4, gt=0, le=1, description="share of the visitors who buy")


class SimulationConfig(_Part):
    """Everything that determines a simulation: the same configuration gives the same bytes."""

    seed: int = Field(default=42, ge=0, lt=2**63)
    start: date = Field(default=date(2025, 2, 3), description="first local day")
    days: int = Field(default=120, ge=1, le=7_300)
    currency: str = Field(default="EUR", min_length=1, max_length=16, description="unit of the reading `sales`")
    verdict_delay_days: float = Field(default=7, ge=0, le=365, description="from a transaction to its verdict")
    chain: Chain = Chain()
    demand: Demand = Demand()
    stock: Stock = Stock()
    readings: Readings = Readings()
    incidents: tuple[AnyIncident, ...] = ()

    @model_validator(mode="after")
    def _names_are_unique_and_incidents_fit(self) -> Self:
        named = self.named_incidents()
        repeated = [name for name, times in Counter(name for name, _ in named).items() if times > 1]
        if repeated:
            raise ValueError(f"two incidents are named {repeated[0]!r}: names must differ")
        for name, incident in named:
            needed = (incident.start_day or 0) + (incident.length_days or 1)
            if needed > self.days:
                raise ValueError(
                    f"incident {name!r} needs {needed:g} days, but the simulation has {self.days}: "
                    "raise `days`, or shorten or drop the incident"
                )
        return self

    @model_validator(mode="after")
    def _fits_in_memory(self) -> Self:
        expected = self.chain.sites * self.days * self.demand.sales_per_site_day
        if expected > MAX_SALES:
            raise ValueError(
                f"{expected:,.0f} sales are expected, at most {MAX_SALES:,} fit: simulate parts of the chain under "
                "different seeds"
            )
        return self

    def named_incidents(self) -> list[tuple[str, Incident]]:
        """Return each incident with its name, in the order of the configuration."""
        seen: Counter[str] = Counter()
        named: list[tuple[str, Incident]] = []
        for incident in self.incidents:
            seen[incident.kind] += 1
            named.append((incident.name or f"{incident.kind}-{seen[incident.kind]}", incident))
        return named


_SMALL_INCIDENTS: tuple[dict[str, Any], ...] = (
    {"kind": "large_amounts"},
    {"kind": "compromised_terminal", "count": 3},
    {"kind": "compromised_customer", "count": 50},
    {"kind": "micro_flood", "transactions": 1_500},
    {"kind": "silent_feed"},
    {"kind": "silent_feed", "feeds": ["site_reading"], "metric": "visitors", "hours": 72},
    {"kind": "stock_out"},
    {"kind": "sales_dip"},
    {"kind": "population_drift"},
    {"kind": "broken_unit"},
    {"kind": "broken_unit", "feed": "site_reading"},
)

_RETAIL_INCIDENTS: tuple[dict[str, Any], ...] = (
    {"kind": "large_amounts", "share": 0.003},
    {"kind": "compromised_terminal", "count": 12, "days": 14},
    {"kind": "compromised_customer", "count": 120},
    *_SMALL_INCIDENTS[3:],
)

_MILLION_INCIDENTS: tuple[dict[str, Any], ...] = (
    {"kind": "large_amounts"},
    {"kind": "compromised_terminal", "count": 20},
    {"kind": "compromised_customer", "count": 400},
    {"kind": "micro_flood", "transactions": 3_000},
    {"kind": "micro_flood", "transactions": 3_000, "through": "terminal"},
    {"kind": "micro_flood", "transactions": 3_000, "through": "site"},
    *_SMALL_INCIDENTS[4:6],
    {"kind": "stock_out", "count": 5},
    {"kind": "sales_dip", "count": 3},
    *_SMALL_INCIDENTS[8:],
)

PRESETS: dict[str, dict[str, Any]] = {
    "small": {"incidents": list(_SMALL_INCIDENTS)},
    "retail": {
        "chain": {"sites": 24, "customers_per_site": 200},
        "demand": {"sales_per_site_day": 60.0},
        "incidents": list(_RETAIL_INCIDENTS),
    },
    "million": {
        "days": 180,
        "chain": {"sites": 50, "products": 150, "customers_per_site": 500},
        "demand": {"sales_per_site_day": 110.0},
        "incidents": list(_MILLION_INCIDENTS),
    },
    "quiet": {},
}
"""`small`: about 100,000 transactions; `retail`: about 190,000, with frauds enough to train a model and to judge it;
`million`: about a million; `quiet`: as small, and nothing goes wrong.

About 0.8 % of the transactions of `small` are fraud, and 1.4 % more are its one flood; of `million` 1.1 % and 0.8 %.
"""


def preset(name: str, overrides: dict[str, Any] | None = None) -> SimulationConfig:
    """Return a preset with nested overrides (lists are replaced as a whole), or raise ContractError naming the key.

    >>> preset("small", {"days": 90, "chain": {"sites": 4}}).chain.sites
    4
    """
    return _validated(_merged(_preset(name), overrides or {}), f"preset {name!r} with its overrides")


def load_config(path: Path, base: str = "small", overrides: dict[str, Any] | None = None) -> SimulationConfig:
    """Return the preset `base`, overridden by the YAML file, overridden by `overrides`.

    Raises ContractError naming the file and the key that is wrong.
    """
    merged = _merged(_preset(base), _read_yaml(path))
    return _validated(_merged(merged, overrides or {}), str(path))


def _preset(name: str) -> dict[str, Any]:
    if name not in PRESETS:
        raise ContractError(f"there is no preset {name!r}: one of {', '.join(PRESETS)}")
    return PRESETS[name]


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ContractError(f"{path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ContractError(f"{path} is not YAML: {error}") from error
    if not isinstance(content, dict | None):
        raise ContractError(f"{path} holds a {type(content).__name__}, not keys such as days: 90")
    return content or {}


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    both = {key: _merged(base[key], over[key]) for key in base if _are_maps(base[key], over.get(key))}
    return {**base, **over, **both}


def _are_maps(left: object, right: object) -> bool:
    return isinstance(left, dict) and isinstance(right, dict)


def _validated(content: dict[str, Any], where: str) -> SimulationConfig:
    try:
        return SimulationConfig.model_validate(content)
    except ValidationError as error:
        wrong = "; ".join(_explain(item) for item in error.errors())
        raise ContractError(f"{where}: {wrong}") from error


def _explain(item: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    key = ".".join(str(part) for part in item["loc"] if part not in KINDS)
    if item["type"] == "extra_forbidden":
        return f"unknown key {key!r}"
    message = item["msg"].removeprefix("Value error, ")
    return f"{key}: {message}" if key else message
