"""What comes in, in one form: a signal says that something is wrong with something at a time, and how badly."""

from enum import StrEnum
from functools import cached_property
from typing import Annotated, NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat

from vigil.contracts.keys import hash_json
from vigil.decisions.policy import Severity

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
"""Of an alert type, an owner or a channel."""

Text = Annotated[str, Field(max_length=500)]


class AlertType(StrEnum):
    """What Vigil alerts of by itself. Others may send types of their own: the catch-all of the routes takes them."""

    SITE_DIP = "site_dip"
    """A metric of a site is lower than expected: once, for a while, or for good."""
    SITE_SPIKE = "site_spike"
    SITE_SILENCE = "site_silence"
    """Readings that were due did not come."""
    SITE_STUCK = "site_stuck"
    """A metric repeats itself."""
    SITE_UNIT = "site_unit"
    """Readings are off by a factor, such as cents for units."""
    FRAUD_HOLD = "fraud_hold"
    """A transaction is held until somebody gives a verdict."""
    FRAUD_ALERT = "fraud_alert"
    FEED_BROKEN = "feed_broken"
    """A model drifts because its data broke."""
    DRIFT = "drift"
    ROLLOUT = "rollout"
    """A rollout did not succeed."""
    RERUN = "rerun"
    """A retraining did not succeed."""
    REPORT = "report"
    """A person reported what Vigil had not seen."""


class Document(BaseModel):
    """Frozen, and strict about its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Place(NamedTuple):
    """What keeps being wrong: further signals of the same place belong to the same incident."""

    type: str
    site: str
    metric: str


class Signal(Document):
    """One observation that asks for attention. The same observation has the same id, however often it is told."""

    type: Name
    at: AwareDatetime = Field(description="event time")
    severity: Severity
    summary: str = Field(min_length=1, max_length=1_000, description="one sentence for a person, with the numbers")
    site: Text = ""
    metric: Text = Field(default="", description="of the site; of a transaction its segment, of drift the model")
    feed: Text = Field(default="", description="where the data comes from: what shares a feed breaks together")
    subject: Text = Field(default="", description="what it is about within the metric: a transaction, a revision")
    kind: Text = ""
    value: FiniteFloat | None = None
    expected: FiniteFloat | None = None
    low: FiniteFloat | None = None
    high: FiniteFloat | None = None
    distance: FiniteFloat | None = Field(default=None, description="from the baseline, in standard deviations")
    model: Text = ""
    version: Text = Field(default="", description="of the model")
    reasons: tuple[Text, ...] = Field(default=(), max_length=50)
    ended: bool = Field(default=False, description="whether it tells the end of what it names")

    @cached_property
    def id(self) -> str:
        """The same for the same type, place, subject and time."""
        told = [self.type, self.site, self.metric, self.subject, self.at.isoformat(), self.ended]
        return hash_json(told).removeprefix("sha256:")[:32]

    @property
    def place(self) -> Place:
        """What it belongs to."""
        return Place(self.type, self.site, self.metric)


_LEVELS = list(Severity)


def rank(severity: Severity) -> int:
    """Return the order of a severity: none is 0."""
    return _LEVELS.index(severity)


def worst(*severities: Severity) -> Severity:
    """Return the most urgent of some."""
    return max(severities, key=rank, default=Severity.NONE)
