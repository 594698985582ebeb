"""What the alert desk is told: who owns what, how he is reached, and when signals are an incident. One YAML file."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError, model_validator

import vigil
from vigil.alerts.routing import Owner, Route, check_routes
from vigil.alerts.signals import AlertType, Document, Name
from vigil.decisions.policy import Severity
from vigil.errors import ContractError

Hours = Annotated[float, Field(gt=0, le=24 * 365)]


class MailChannel(Document):
    """Mail by the server of VIGIL_MAIL_SERVER."""

    kind: Literal["mail"]
    to: tuple[str, ...] = Field(default=(), description="addresses; those of VIGIL_MAIL_TO where there are none")

    def where(self) -> str:
        """Return whom it reaches."""
        return f"mail to {', '.join(self.to) or '$VIGIL_MAIL_TO'}"


class _Http(Document):
    url: str | None = Field(default=None, pattern=r"^https?://", description="where to post")
    url_file: Path | None = Field(default=None, description="file that holds the URL, where it is a secret")

    @model_validator(mode="after")
    def _one_url(self) -> Self:
        if (self.url is None) == (self.url_file is None):
            raise ValueError("give either `url` or `url_file`")
        return self

    def address(self) -> str:
        """Return the URL, or raise ContractError."""
        return self.url or read_secret(self.url_file)

    def where(self) -> str:
        """Return whom it reaches; what a URL has after its host may be a secret."""
        if self.url is None:
            return f"{self.kind} at the URL in {self.url_file}"  # type: ignore[attr-defined]
        scheme, _, rest = self.url.partition("://")
        host = rest.partition("/")[0].rpartition("@")[2]
        return f"{self.kind} at {scheme}://{host}/..."  # type: ignore[attr-defined]


class SlackChannel(_Http):
    """An incoming webhook of Slack."""

    kind: Literal["slack"]


class WebhookChannel(_Http):
    """A CloudEvent to a URL, signed if there is a secret. An answer {"ticket": "ID"} is kept with the incident."""

    kind: Literal["webhook"]
    secret_file: Path | None = Field(default=None, description="file that holds the secret of the signature")


class LogChannel(Document):
    """A line in the log of the desk."""

    kind: Literal["log"]

    def where(self) -> str:
        """Return whom it reaches."""
        return "the log of the alert desk"


Channel = Annotated[MailChannel | SlackChannel | WebhookChannel | LogChannel, Field(discriminator="kind")]


class TypeRules(Document):
    """When signals of a type are an incident, which belong together, and how one grows and ends."""

    open_after: PositiveInt = Field(default=2, description="signals of the same place that open an incident ...")
    within_hours: Hours = Field(default=3.0, description="... when they are at most so far apart, in event time")
    at_once_from: Severity = Field(default=Severity.HIGH, description="least severity that opens one by itself")
    wait_seconds: float = Field(default=30.0, ge=0, description="from its opening to its alert: others may join it")
    group_hours: Hours = Field(default=2.0, description="onsets at most so far apart may be one incident")
    wide_from: PositiveInt | None = Field(
        default=5, description="sites at which the same metric or feed makes one incident of theirs; null: never"
    )
    across_metrics: bool = Field(default=False, description="whether all metrics of a site make one incident")
    quiet_hours: Hours = Field(default=6.0, description="without a signal, after which an incident is over")
    reopen_hours: Hours = Field(default=24.0, description="after its end, within which it goes on if a signal comes")
    longest_hours: Hours | None = Field(default=None, description="after which further signals open the next one")
    sites_high: PositiveInt | None = Field(default=None, description="sites from which it is high")
    sites_critical: PositiveInt | None = Field(default=None, description="sites from which it is critical")
    hours_high: Hours | None = Field(default=None, description="duration from which it is high")
    hours_critical: Hours | None = Field(default=None, description="duration from which it is critical")

    @property
    def patience(self) -> timedelta:
        """How long after its last signal an incident can still go on."""
        return timedelta(hours=max(self.quiet_hours, self.reopen_hours))


_ONCE: Mapping[str, Any] = {"open_after": 1, "wide_from": None}
_FRAUD = {**_ONCE, "group_hours": 1.0, "quiet_hours": 1.0, "reopen_hours": 1.0, "longest_hours": 4.0}

BUILT_IN: Mapping[str, Mapping[str, Any]] = {
    AlertType.SITE_DIP: {"sites_high": 5, "sites_critical": 50, "hours_high": 24.0},
    AlertType.SITE_SPIKE: {"sites_high": 20, "sites_critical": 200},
    AlertType.SITE_SILENCE: {
        "open_after": 1,
        "across_metrics": True,
        "sites_high": 5,
        "sites_critical": 50,
        "hours_high": 6.0,
        "hours_critical": 24.0,
    },
    AlertType.SITE_STUCK: {"open_after": 1, "hours_high": 24.0},
    AlertType.SITE_UNIT: {"open_after": 1, "sites_high": 5},
    AlertType.FRAUD_HOLD: _FRAUD,
    AlertType.FRAUD_ALERT: _FRAUD,
    AlertType.FEED_BROKEN: {**_ONCE, "quiet_hours": 168.0},
    AlertType.DRIFT: {**_ONCE, "quiet_hours": 168.0},
    AlertType.ROLLOUT: {**_ONCE, "quiet_hours": 168.0, "reopen_hours": 1.0},
    AlertType.RERUN: {**_ONCE, "quiet_hours": 72.0},
    AlertType.REPORT: {**_ONCE, "wait_seconds": 0.0, "quiet_hours": 72.0, "reopen_hours": 1.0},
}
"""What a type has by itself, before the defaults of a file: drift is told once, a dip hour by hour."""


class Sending(Document):
    """How long is tried, and how often."""

    timeout_seconds: PositiveFloat = Field(default=10.0, description="for one attempt")
    first_pause_seconds: PositiveFloat = Field(default=2.0, description="after the first failure; then it doubles")
    longest_pause_minutes: PositiveFloat = 15.0
    expire_hours: Hours = Field(default=24.0, description="after which a message is given up")
    at_once: PositiveInt = Field(default=8, description="messages that are sent at the same time")
    seed: NonNegativeInt = Field(default=0, description="of the jitter of the pauses")


class AlertSettings(Document):
    """Everything that the alert desk is told. Unknown keys are errors."""

    version: int = Field(default=1, ge=1, le=1, description="of this format")
    table: str = Field(min_length=1, max_length=100, description="version of the routing; kept with each incident")
    url: str | None = Field(default=None, pattern=r"^https?://", description="of the desk, for links in messages")
    channels: Mapping[Name, Channel] = Field(min_length=1)
    owners: Mapping[Name, Owner] = Field(min_length=1)
    routes: tuple[Route, ...] = Field(min_length=1, description="the first that matches decides")
    acknowledge_minutes: Mapping[Severity, PositiveFloat] = Field(
        default={Severity.CRITICAL: 15.0, Severity.HIGH: 60.0, Severity.MEDIUM: 480.0},
        description="until an alert that nobody acknowledges escalates; a severity that is missing never does",
    )
    defaults: TypeRules = Field(default=TypeRules(), description="for types and fields that are not named below")
    types: Mapping[Name, TypeRules] = Field(default={}, description="rules by alert type, over those that are built in")
    tell_end: bool = Field(default=True, description="whether the owner is told that an incident is over")
    digest_minutes: PositiveFloat = Field(default=15.0, description="what exceeds an owner's rate is told so often")
    keep_days: PositiveInt = Field(default=90, description="after which signals are forgotten; incidents never are")
    sending: Sending = Sending()

    @model_validator(mode="before")
    @classmethod
    def _fill_types(cls, content: Any) -> Any:  # noqa: ANN401 - pydantic's own type here
        """Give each type what it does not say: what is built in for it, and then the defaults."""
        if not isinstance(content, dict):
            return content
        defaults, own = content.get("defaults") or {}, content.get("types") or {}
        if not (isinstance(defaults, dict) and isinstance(own, dict)):
            return content
        filled = {}
        for name in (*BUILT_IN, *(one for one in own if one not in BUILT_IN)):
            rules = own.get(name, {})
            filled[name] = {**defaults, **BUILT_IN.get(name, {}), **rules} if isinstance(rules, dict) else rules
        return {**content, "types": filled}

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, owner in self.owners.items():
            owner.check(name, self.channels, self.owners)
        check_routes(self.routes, self.owners)
        return self

    def rules(self, kind: str) -> TypeRules:
        """Return the rules of an alert type."""
        return self.types.get(kind, self.defaults)


def load_alert_settings(path: Path | None = None) -> AlertSettings:
    """Return the settings of a YAML file, those that come with Vigil without one; ContractError names the field."""
    path = path or shipped_settings()
    try:
        content: Any = yaml.load(path.read_text(encoding="utf-8"), _Strict)  # noqa: S506 - a SafeLoader
        return AlertSettings.model_validate(content or {})
    except OSError as error:
        raise ContractError(f"--config: cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ContractError(f"{path}: {error}") from error
    except ValidationError as error:
        raise ContractError(f"{path}: {describe(error)}") from error


def shipped_settings() -> Path:
    """Return the file that comes with Vigil: in the installed package, or in the checkout."""
    package = Path(vigil.__file__).parent
    installed = package / "configs" / "alerts.yaml"
    return installed if installed.is_file() else package.parents[1] / "configs" / "alerts.yaml"


def describe(error: ValidationError) -> str:
    """Return the first complaint with the field that it is about."""
    first = error.errors()[0]
    text = first["msg"].removeprefix("Value error, ")
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {text}" if where else text


def read_secret(path: Path | None) -> str:
    """Return the content of a file without the blanks around it, or raise ContractError."""
    if path is None:
        raise ContractError("no file is given")
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ContractError(f"{path}: {error}") from error


class _Strict(yaml.SafeLoader):
    """Refuses a key that is given twice: the second would silently win, and an owner would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping."""
        seen = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=True)
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{name} is given twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)
