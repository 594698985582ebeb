"""Sends what is in the outbox until it is taken: pauses grow, with jitter, and end when the message is too old."""

import asyncio
import logging
import random
from dataclasses import dataclass
from datetime import timedelta

from vigil.alerts.channels import Delivered, Later, Postman
from vigil.alerts.journal import Journal
from vigil.alerts.messages import Message
from vigil.alerts.outbox import Delivery, Letter
from vigil.alerts.records import Act, ActKind
from vigil.alerts.rounds import Rounds
from vigil.alerts.settings import Sending
from vigil.clock import Clock, system_clock
from vigil.errors import ContractError, Unavailable, VigilError

_LOOKED_AT = 100

_log = logging.getLogger(__name__)


@dataclass
class Sender:
    """Works the outbox. One at a time: see `alone`."""

    rounds: Rounds
    postman: Postman
    clock: Clock = system_clock

    @property
    def journal(self) -> Journal:
        """Where the outbox is."""
        return self.rounds.journal

    @property
    def rules(self) -> Sending:
        """How long is tried, and how often."""
        return self.rounds.settings.sending

    async def step(self) -> int:
        """Try all that is due once, and return how many were delivered."""
        letters = await asyncio.to_thread(self._due)
        gate = asyncio.Semaphore(self.rules.at_once)
        return sum(await asyncio.gather(*(self._try(letter, gate) for letter in letters)))

    def _due(self) -> list[Letter]:
        with self.journal.reading() as pages:
            return pages.outbox.due(self.clock(), _LOOKED_AT)

    async def _try(self, letter: Letter, gate: asyncio.Semaphore) -> bool:
        message = letter.message
        async with gate:
            try:
                delivered = await self.postman.deliver(message, self.clock())
            except ContractError as error:
                await asyncio.to_thread(self._refused, letter, error)
                return False
            except Unavailable as error:
                await asyncio.to_thread(self._later, letter, error)
                return False
            await asyncio.to_thread(self._sent, message, delivered)
            return True

    def _sent(self, message: Message, delivered: Delivered) -> None:
        now = self.clock()
        with self.journal.writing() as pages:
            pages.outbox.end(message.key, Delivery.SENT, now)
            incident = pages.incident(message.incident) if delivered.ticket else None
            if incident is not None and not incident.ticket:
                pages.put_incident(incident.model_copy(update={"ticket": delivered.ticket}))
                actor = f"channel:{message.channel}"
                pages.add_act(
                    Act(incident=incident.id, at=now, kind=ActKind.TICKET, actor=actor, reason=delivered.ticket)
                )

    def _refused(self, letter: Letter, error: ContractError) -> None:
        """Try again at long pauses: what is refused today may be a typing error that somebody mends tomorrow."""
        _log.error("an alert is refused", extra={"channel": letter.message.channel, "cause": str(error)})
        if self._is_too_old(letter, error):
            return
        longest = timedelta(minutes=self.rules.longest_pause_minutes)
        self.rounds.refused(letter, str(error), self.clock() + longest)

    def _later(self, letter: Letter, error: Unavailable) -> None:
        message = letter.message
        _log.warning("an alert has to wait", extra={"channel": message.channel, "cause": str(error)})
        if self._is_too_old(letter, error):
            return
        wait = pause(self.rules, message.key, letter.attempts)
        if isinstance(error, Later) and error.after is not None:
            wait = max(wait, error.after)
        with self.journal.writing() as pages:
            pages.outbox.postpone(message.key, self.clock() + wait, str(error))

    def _is_too_old(self, letter: Letter, error: VigilError) -> bool:
        hours = self.rules.expire_hours
        if self.clock() - letter.message.created < timedelta(hours=hours):
            return False
        self.rounds.give_up(letter, f"given up after {hours:g} hours: {error}")
        return True


def pause(rules: Sending, key: str, attempts: int) -> timedelta:
    """Return the pause after so many failures: twice as long each time, less up to a half by the seed and the key."""
    longest = rules.longest_pause_minutes * 60
    full = min(rules.first_pause_seconds * 2.0 ** min(attempts, 30), longest)
    chance = random.Random(f"{rules.seed}/{key}/{attempts}").random()  # noqa: S311 - jitter, no secret
    return timedelta(seconds=full * (1 - chance / 2))
