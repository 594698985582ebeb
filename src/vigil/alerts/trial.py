"""A trial of the routing table: who would be told of a signal, and a test message that really goes there."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

import aiohttp
from pydantic import ValidationError

from vigil.alerts.channels import Postman
from vigil.alerts.incidents import opened_by
from vigil.alerts.messages import Message, Why, key_of, telling
from vigil.alerts.routing import choose
from vigil.alerts.settings import AlertSettings, describe
from vigil.alerts.signals import Signal
from vigil.clock import Clock, system_clock
from vigil.decisions.policy import Severity
from vigil.errors import ContractError, VigilError
from vigil.settings import Settings


@dataclass(frozen=True)
class Trial:
    """A sample signal, and who would be told of it."""

    signal: Signal
    owner: str
    lines: tuple[str, ...]
    """For people."""


def told_of(told: AlertSettings, kind: str, site: str, metric: str, severity: Severity) -> Trial:
    """Return who would be told of a signal that opens an incident."""
    signal = _sample(kind, site, metric, severity)
    incident = opened_by([signal], told.rules(kind), signal.at)
    chosen = choose(told.routes, incident.addressed())
    owner = told.owners[chosen.owner]
    lines = [f"{incident.title}, {severity}: {chosen.owner} by line {chosen.line} of table {told.table}"]
    lines += [f"  told by {name}: {told.channels[name].where()}" for name in owner.channels]
    minutes = told.acknowledge_minutes.get(severity)
    if minutes is None:
        lines.append(f"  never escalates: acknowledge_minutes says nothing of {severity}")
    else:
        steps = enumerate(owner.escalates_to, start=1)
        lines += [f"  after {minutes * step:g} min without acknowledgement: {name}" for step, name in steps]
    return Trial(signal, chosen.owner, tuple(lines))


async def send_test(
    told: AlertSettings, settings: Settings, trial: Trial, clock: Clock = system_clock
) -> dict[str, str]:
    """Send a test message by each channel of the owner; return, by channel, what went wrong, or nothing."""
    now = clock()
    messages = _messages(told, trial, now)
    outcomes = {}
    async with aiohttp.ClientSession() as session:
        postman = Postman(told.channels, settings, session, told.sending.timeout_seconds)
        for message in messages:
            try:
                await postman.deliver(message, now)
                outcomes[message.channel] = ""
            except VigilError as error:
                outcomes[message.channel] = str(error)
    return outcomes


def _messages(told: AlertSettings, trial: Trial, now: datetime) -> list[Message]:
    incident = opened_by([trial.signal], told.rules(trial.signal.type), now)
    channels = told.owners[trial.owner].channels
    made = telling(incident, Why.TEST, trial.owner, channels, now, told.url)
    unique = uuid.uuid4()
    return [one.model_copy(update={"key": key_of(unique, one.channel)}) for one in made]


def _sample(kind: str, site: str, metric: str, severity: Severity) -> Signal:
    try:
        return Signal(
            type=kind,
            at=system_clock() - timedelta(minutes=1),
            severity=severity,
            summary="a test: nothing happened",
            site=site,
            metric=metric,
            kind="test",
            reasons=("somebody tries whether alerts arrive",),
        )
    except ValidationError as error:
        raise ContractError(describe(error)) from error
