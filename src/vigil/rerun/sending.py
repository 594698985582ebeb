"""What is to be told of reruns, sent until it is taken: a crash neither loses nor forgets a letter."""

import asyncio
import logging
from datetime import timedelta

import aiohttp

from vigil.clock import Clock, system_clock
from vigil.contracts.cloud_events import STRUCTURED
from vigil.rerun.journal import Journal, Letter

_TIMEOUT = aiohttp.ClientTimeout(total=10)
_FIRST_PAUSE = timedelta(seconds=1)
_LONGEST_PAUSE = timedelta(minutes=10)
_COME_AGAIN = frozenset({408, 409, 425, 429})

_log = logging.getLogger(__name__)


async def send_due(journal: Journal, session: aiohttp.ClientSession, clock: Clock = system_clock) -> int:
    """Send the letters that are due, and return how many were taken. One that is refused for good is dropped."""
    letters = await asyncio.to_thread(journal.letters, clock())
    taken = 0
    for letter in letters:
        status = await _send(letter, session)
        if status is not None and (200 <= status < 300 or (400 <= status < 500 and status not in _COME_AGAIN)):
            taken += status < 300
            if status >= 300:
                _log.error("a sink refuses an event for good", extra={"url": letter.url, "status": status})
            await asyncio.to_thread(journal.delivered, letter)
        else:
            pause = min(_FIRST_PAUSE * 2 ** min(letter.attempts, 12), _LONGEST_PAUSE)
            await asyncio.to_thread(journal.postpone, letter, clock() + pause)
    return taken


async def _send(letter: Letter, session: aiohttp.ClientSession) -> int | None:
    """Return the status of the answer; None if there was none."""
    headers = {"Content-Type": STRUCTURED}
    try:
        async with session.post(letter.url, data=letter.event.encode(), headers=headers, timeout=_TIMEOUT) as answer:
            return answer.status
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        _log.warning("a sink does not answer", extra={"url": letter.url, "cause": str(error) or type(error).__name__})
        return None
