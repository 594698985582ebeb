"""The outbox: a message is on disk before it is sent, and marked after.

What a crash leaves between the two is sent again under the same key, which receivers see as Message-ID or
Idempotency-Key: nothing is lost, and a second copy can be told from a second alert.
"""

import sqlite3
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from vigil.alerts.messages import Message, Why
from vigil.clock import from_micros, to_micros

OUTBOX = """
CREATE TABLE IF NOT EXISTS outbox (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, incident TEXT NOT NULL, owner TEXT NOT NULL,
    channel TEXT NOT NULL, why TEXT NOT NULL, occasion TEXT NOT NULL, state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, created INTEGER NOT NULL, due INTEGER NOT NULL, ended INTEGER,
    trouble TEXT NOT NULL DEFAULT '', document TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS waiting ON outbox (due) WHERE state = 'waiting';
CREATE INDEX IF NOT EXISTS of_owner ON outbox (owner, created);
CREATE INDEX IF NOT EXISTS of_incident ON outbox (incident);
"""


class Delivery(StrEnum):
    """What became of a message."""

    WAITING = "waiting"
    HELD = "held"
    """Its owner has had his share of the hour: the next digest tells it."""
    SENT = "sent"
    DIGESTED = "digested"
    NEEDLESS = "needless"
    """Somebody took the incident before it was sent."""
    GIVEN_UP = "given_up"


@dataclass(frozen=True)
class Letter:
    """A message and what became of it so far."""

    message: Message
    state: Delivery
    attempts: int
    due: datetime
    ended: datetime | None
    trouble: str


_COLUMNS = "document, state, attempts, due, ended, trouble"


@dataclass(frozen=True)
class Outbox:
    """The messages, within one transaction."""

    connection: sqlite3.Connection

    def put(self, message: Message, state: Delivery = Delivery.WAITING) -> bool:
        """Put a message out unless one of its key was, and return whether it is new."""
        at = to_micros(message.created)
        occasion = f"{message.incident}/{message.why}/{at}"
        row = (message.key, message.incident, message.owner, message.channel, message.why, occasion, state, at, at)
        query = (
            "INSERT OR IGNORE INTO outbox (key, incident, owner, channel, why, occasion, state, created, due, document)"
            " VALUES (?,?,?,?,?,?,?,?,?,?)"
        )
        return self.connection.execute(query, (*row, message.model_dump_json())).rowcount == 1

    def told_since(self, owner: str, since: datetime) -> int:
        """Return on how many occasions an owner was told of trouble since; its end and digests do not count."""
        query = (
            "SELECT count(DISTINCT occasion) FROM outbox WHERE owner = ? AND created > ?"
            " AND why NOT IN ('digest', 'ended', 'test') AND state NOT IN ('held', 'digested')"
        )
        return int(self.connection.execute(query, (owner, to_micros(since))).fetchone()[0])

    def due(self, now: datetime, limit: int) -> list[Letter]:
        """Return what is to be sent now, the longest due first."""
        query = f"SELECT {_COLUMNS} FROM outbox WHERE state = 'waiting' AND due <= ? ORDER BY due, number LIMIT ?"
        return [_letter(row) for row in self.connection.execute(query, (to_micros(now), limit))]

    def held(self) -> list[Letter]:
        """Return what waits for a digest, the oldest first."""
        query = f"SELECT {_COLUMNS} FROM outbox WHERE state = 'held' ORDER BY created, number"
        return [_letter(row) for row in self.connection.execute(query)]

    def of(self, incident: str) -> list[Letter]:
        """Return the messages about an incident, the oldest first."""
        query = f"SELECT {_COLUMNS} FROM outbox WHERE incident = ? ORDER BY number"
        return [_letter(row) for row in self.connection.execute(query, (incident,))]

    def end(self, key: str, state: Delivery, now: datetime, trouble: str = "") -> None:
        """Say what became of a message for good."""
        query = "UPDATE outbox SET state = ?, ended = ?, trouble = ?, attempts = attempts + ? WHERE key = ?"
        tried = state in (Delivery.SENT, Delivery.GIVEN_UP)
        self.connection.execute(query, (state, to_micros(now), trouble, tried, key))

    def postpone(self, key: str, until: datetime, trouble: str) -> None:
        """Try a message again later."""
        query = "UPDATE outbox SET attempts = attempts + 1, due = ?, trouble = ? WHERE key = ?"
        self.connection.execute(query, (to_micros(until), trouble, key))

    def withdraw(self, incident: str, now: datetime) -> None:
        """Do not send what would only tell others that nobody has taken an incident."""
        query = "UPDATE outbox SET state = 'needless', ended = ? WHERE incident = ? AND why = ? AND state = 'waiting'"
        self.connection.execute(query, (to_micros(now), incident, Why.ESCALATED))

    def counts(self) -> dict[tuple[str, str], int]:
        """Return how many messages there are by channel and state."""
        query = "SELECT channel, state, count(*) FROM outbox GROUP BY channel, state"
        return {(channel, state): count for channel, state, count in self.connection.execute(query)}

    def oldest_waiting(self) -> datetime | None:
        """Return when the message was written that waits the longest."""
        row = self.connection.execute("SELECT min(created) FROM outbox WHERE state = 'waiting'").fetchone()
        return from_micros(row[0]) if row[0] is not None else None

    def forget(self, now: datetime, keep: timedelta) -> None:
        """Delete what was settled before."""
        self.connection.execute("DELETE FROM outbox WHERE ended < ?", (to_micros(now - keep),))


def _letter(row: tuple[str, str, int, int, int | None, str]) -> Letter:
    document, state, attempts, due, ended, trouble = row
    return Letter(
        Message.model_validate_json(document),
        Delivery(state),
        attempts,
        from_micros(due),
        from_micros(ended) if ended is not None else None,
        trouble,
    )
