"""A desk with its rounds and its sender over one journal, a clock that stands still, and signals for it."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from vigil.alerts.acts import Acts, By
from vigil.alerts.channels import Postman
from vigil.alerts.desk import Desk, Taken
from vigil.alerts.findings import Finding, FindingKind
from vigil.alerts.incidents import Incident, State
from vigil.alerts.journal import Journal
from vigil.alerts.outbox import Letter
from vigil.alerts.records import Act
from vigil.alerts.rounds import Rounds
from vigil.alerts.sending import Sender
from vigil.alerts.settings import AlertSettings, shipped_settings
from vigil.clock import ManualClock
from vigil.settings import Settings

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
ANA = By("person:ana", "I look at it")


def document(**changes: Any) -> dict[str, Any]:
    """Return the shipped settings with some keys replaced."""
    content: dict[str, Any] = yaml.safe_load(shipped_settings().read_text())
    return {**content, **changes}


def told(**changes: Any) -> AlertSettings:
    return AlertSettings.model_validate(document(**changes))


def finding(site: str = "S0001", metric: str = "sales", hours: float = 0.0, **changes: Any) -> Finding:
    """Return a dip that is far enough for an incident of its own."""
    values: dict[str, Any] = {
        "site": site,
        "metric": metric,
        "time": NOON - timedelta(hours=1) + timedelta(hours=hours),
        "kind": FindingKind.DIP,
        "value": 12.0,
        "expected": 80.0,
        "low": 60.0,
        "high": 100.0,
        "distance": -6.2,
        "ratio": 3.0,
        "model": "sites",
        "version": "7",
        "reasons": ("lowest Wednesday at 11 in 20 weeks",),
    }
    return Finding.model_validate({**values, **changes})


def silence(site: str = "S0001", metric: str = "sales", hours: float = 0.0, **changes: Any) -> Finding:
    empty = {"value": None, "distance": None, "kind": FindingKind.SILENCE, "ratio": 1.0}
    return finding(site, metric, hours, **{**empty, **changes})


@dataclass
class Office:
    folder: Path
    settings: AlertSettings
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOON))
    mail: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        self.journal = Journal(self.folder)
        self.desk = Desk(self.journal, self.settings, self.clock)
        self.rounds = Rounds(self.journal, self.settings, self.clock)
        self.acts = Acts(self.journal, self.settings, self.clock)

    def take(self, *findings: Finding, scored_until: datetime | None = None) -> Taken:
        return self.desk.take_signals([one.signal() for one in findings], scored_until)

    def take_all(self, findings: Iterable[Finding]) -> Taken:
        return self.take(*findings)

    def after(self, **by: float) -> None:
        """Let time pass, and make a round."""
        self.clock.advance(timedelta(**by))
        self.rounds.step()

    def send(self) -> int:
        """Try all that is due once."""

        async def work() -> int:
            async with aiohttp.ClientSession() as session:
                postman = Postman(self.settings.channels, self.mail, session, self.settings.sending.timeout_seconds)
                return await Sender(self.rounds, postman, self.clock).step()

        return asyncio.run(work())

    def incidents(self) -> list[Incident]:
        """Return all but those that became part of another one."""
        with self.journal.reading() as pages:
            return [one for one in pages.incidents() if one.state is not State.MERGED]

    def only(self) -> Incident:
        (found,) = self.incidents()
        return found

    def acts_of(self, incident: Incident) -> list[Act]:
        with self.journal.reading() as pages:
            return pages.acts(incident.id)

    def letters(self) -> list[Letter]:
        """Return every message, the oldest first."""
        with self.journal.reading() as pages:
            found = [one for incident in pages.incidents() for one in pages.outbox.of(incident.id)]
            found += pages.outbox.of("")
        return sorted(found, key=lambda one: one.message.created)

    def told(self) -> list[tuple[str, str]]:
        """Return why and to whom messages were written, once for all channels of an occasion."""
        messages = [one.message for one in self.letters()]
        occasions = dict.fromkeys((one.created, one.incident, one.why.value, one.owner) for one in messages)
        return [(why, owner) for _, _, why, owner in occasions]
