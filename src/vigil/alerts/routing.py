"""The routing table: which one owner gets an incident, and who is next if he does not come."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pydantic import Field, PositiveInt

from vigil.alerts.signals import AlertType, Document, Name, rank
from vigil.decisions.policy import Severity

ANY = "*"


class Owner(Document):
    """One who can act: a person, or a desk that is always somebody."""

    name: str = Field(default="", max_length=200, description="for people")
    channels: tuple[Name, ...] = Field(min_length=1, description="by which he is told, all of them")
    escalates_to: tuple[Name, ...] = Field(default=(), description="owners who are told one after another")
    most_per_hour: PositiveInt = Field(default=20, description="alerts; more come as a digest, critical ones never do")

    def check(self, own: str, channels: Collection[str], owners: Collection[str]) -> None:
        """Raise ValueError naming the field if a channel or an owner is unknown."""
        for place, channel in enumerate(self.channels):
            if channel not in channels:
                raise ValueError(
                    f"owners.{own}.channels.{place}: there is no channel {channel!r}: {', '.join(channels)}"
                )
        for place, owner in enumerate(self.escalates_to):
            if owner not in owners:
                raise ValueError(f"owners.{own}.escalates_to.{place}: there is no owner {owner!r}: {', '.join(owners)}")
            if owner == own or owner in self.escalates_to[:place]:
                raise ValueError(f"owners.{own}.escalates_to.{place}: {owner!r} would be told twice")


class Route(Document):
    """A line of the table. Patterns are those of file names: `S00*`, `sales*`; what is not given matches all."""

    type: Name | str = Field(description="an alert type; * in the last line, the catch-all")
    owner: Name
    metric: str = ANY
    site: str = ANY
    severity: Severity = Field(default=Severity.NONE, description="least severity")

    @property
    def is_plain(self) -> bool:
        """Whether it takes everything of its type."""
        return self.metric == ANY and self.site == ANY and self.severity is Severity.NONE

    def matches(self, what: "Addressed") -> bool:
        """Return whether it is for this: a site pattern has to match all sites of an incident."""
        return (
            self.type in (what.type, ANY)
            and rank(what.severity) >= rank(self.severity)
            and _all_match(what.metrics, self.metric)
            and _all_match(what.sites, self.site)
        )


@dataclass(frozen=True)
class Addressed:
    """What the table looks at."""

    type: str
    sites: Sequence[str]
    metrics: Sequence[str]
    severity: Severity


@dataclass(frozen=True)
class Chosen:
    """A line of the table, by its number from 0, and the owner that it names."""

    line: int
    owner: str


def choose(routes: Sequence[Route], what: Addressed) -> Chosen:
    """Return the owner by the first line that matches; the catch-all always does."""
    line, route = next((line, route) for line, route in enumerate(routes) if route.matches(what))
    return Chosen(line, route.owner)


def check_routes(routes: Sequence[Route], owners: Collection[str]) -> None:
    """Raise ValueError naming the line unless each alert type has exactly one owner for what no pattern takes."""
    plain: dict[str, int] = {}
    for line, route in enumerate(routes):
        _check_line(line, route, owners, plain)
        if route.is_plain:
            plain[route.type] = line
    if plain.get(ANY) != len(routes) - 1:
        raise ValueError('routes: the last line has to be the catch-all: {type: "*", owner: ...}, without a pattern')
    missing = [kind for kind in AlertType if kind not in plain]
    if missing:
        raise ValueError(f"routes: no owner for {', '.join(missing)}: each alert type needs a line without a pattern")


def _check_line(line: int, route: Route, owners: Collection[str], plain: Mapping[str, int]) -> None:
    if route.owner not in owners:
        raise ValueError(f"routes.{line}.owner: there is no owner {route.owner!r}: {', '.join(owners)}")
    if route.type in plain and route.is_plain:
        raise ValueError(f"routes.{line}.type: {route.type} has an owner already, by line {plain[route.type]}")
    for before in (route.type, ANY):
        if before in plain:
            raise ValueError(f"routes.{line}: never reached, because line {plain[before]} takes all of {before}")


def _all_match(names: Sequence[str], pattern: str) -> bool:
    if pattern == ANY:
        return True
    return bool(names) and all(fnmatchcase(name, pattern) for name in names)
