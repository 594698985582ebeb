"""The journal of reruns in one SQLite file: what is decided is on disk before anything is started or told."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from vigil.database import Database
from vigil.errors import ContractError
from vigil.rerun.records import COME_AGAIN, Asked, Decision, Rerun, Stage

_SCHEMA = """
CREATE TABLE IF NOT EXISTS reruns (
    event_id TEXT PRIMARY KEY, model TEXT NOT NULL, is_open INTEGER NOT NULL, received TEXT NOT NULL,
    document TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS by_model ON reruns (model);
CREATE INDEX IF NOT EXISTS open_ones ON reruns (is_open) WHERE is_open;
CREATE TABLE IF NOT EXISTS outbox (
    number INTEGER PRIMARY KEY, url TEXT NOT NULL, event TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL DEFAULT 0);
"""


@dataclass(frozen=True)
class Letter:
    """A CloudEvent that has to reach a URL."""

    number: int
    url: str
    event: str
    attempts: int


@dataclass(frozen=True)
class Entry:
    """What became of an event that came."""

    rerun: Rerun
    is_new: bool
    """Whether this time decided; False for one that was decided before."""


class Journal:
    """The records. Several processes of one machine may use the same file at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._database = Database(folder / "journal.db", "the journal")
        self._database.create(_SCHEMA)

    def alone(self) -> AbstractContextManager[bool]:
        """Yield whether this process is the one that may work.

        The lock is one of this machine. On a cluster there is one replica, with the strategy Recreate and a volume that
        one node mounts.
        """
        return self._database.alone()

    def enter(self, asked: Asked, now: datetime, decide: Callable[[Sequence[Rerun]], Rerun]) -> Entry:
        """Return the record of the event, decided now unless it was before.

        Of several that enter the same event, or events of the same model, at once, each sees what those before it
        have decided.
        """
        with self._database.writing() as connection:
            known = _find(connection, asked.event_id)
            if known and known.decision not in COME_AGAIN:
                told = known.model_copy(update={"told": known.told + 1})
                _put(connection, told)
                return Entry(told, is_new=False)
            found = decide(_of_model(connection, asked.model))
            if known:
                found = found.model_copy(update={"told": known.told + 1, "received": known.received})
            _put(connection, found)
            return Entry(found, is_new=True)

    def change(self, event_id: str, letters: Sequence[tuple[str, str]] = (), /, **values: object) -> Rerun:
        """Change fields of a record, put the letters (URL and event) out in the same step, and return the record."""
        with self._database.writing() as connection:
            found = _find(connection, event_id)
            if found is None:
                raise ContractError(
                    f"there is no event {event_id} in {self._database.path}: `vigil rerun list` shows them"
                )
            changed = found.model_copy(update=values)
            _put(connection, changed)
            connection.executemany("INSERT INTO outbox (url, event) VALUES (?, ?)", letters)
            return changed

    def find(self, event_id: str) -> Rerun | None:
        """Return the record of an event."""
        with self._database.connection() as connection:
            return _find(connection, event_id)

    def newest(self, limit: int, model: str | None = None) -> list[Rerun]:
        """Return the last events, the newest first."""
        chosen, values = ("WHERE model = ?", (model,)) if model else ("", ())
        query = f"SELECT document FROM reruns {chosen} ORDER BY received DESC, rowid DESC LIMIT ?"
        with self._database.connection() as connection:
            return _records(connection.execute(query, (*values, limit)))

    def open_ones(self) -> list[Rerun]:
        """Return the records whose run is still to be started or watched, the oldest first."""
        with self._database.connection() as connection:
            return _records(connection.execute("SELECT document FROM reruns WHERE is_open ORDER BY received"))

    def counts(self) -> dict[tuple[Decision, Stage | None], int]:
        """Return how many events there are by decision and stage."""
        query = (
            "SELECT json_extract(document, '$.decision'), json_extract(document, '$.stage'), count(*) FROM reruns"
            " GROUP BY 1, 2"
        )
        with self._database.connection() as connection:
            rows = connection.execute(query).fetchall()
        return {(Decision(decision), Stage(stage) if stage else None): count for decision, stage, count in rows}

    def letters(self, now: datetime, limit: int = 20) -> list[Letter]:
        """Return what is to be sent now."""
        query = "SELECT number, url, event, attempts FROM outbox WHERE due <= ? ORDER BY number LIMIT ?"
        with self._database.connection() as connection:
            return [Letter(*row) for row in connection.execute(query, (now.timestamp(), limit))]

    def waiting(self) -> int:
        """Return how many letters are not delivered yet."""
        with self._database.connection() as connection:
            return int(connection.execute("SELECT count(*) FROM outbox").fetchone()[0])

    def delivered(self, letter: Letter) -> None:
        """Forget a letter."""
        with self._database.writing() as connection:
            connection.execute("DELETE FROM outbox WHERE number = ?", (letter.number,))

    def postpone(self, letter: Letter, until: datetime) -> None:
        """Try a letter again later."""
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE outbox SET attempts = attempts + 1, due = ? WHERE number = ?",
                (until.timestamp(), letter.number),
            )


def _find(connection: sqlite3.Connection, event_id: str) -> Rerun | None:
    found = _records(connection.execute("SELECT document FROM reruns WHERE event_id = ?", (event_id,)))
    return found[0] if found else None


def _of_model(connection: sqlite3.Connection, model: str) -> list[Rerun]:
    return _records(connection.execute("SELECT document FROM reruns WHERE model = ?", (model,)))


def _records(rows: sqlite3.Cursor) -> list[Rerun]:
    return [Rerun.model_validate_json(row[0]) for row in rows]


def _put(connection: sqlite3.Connection, rerun: Rerun) -> None:
    connection.execute(
        "INSERT INTO reruns (event_id, model, is_open, received, document) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (event_id) DO UPDATE SET is_open = excluded.is_open, document = excluded.document",
        (
            rerun.asked.event_id,
            rerun.asked.model,
            int(rerun.is_open),
            rerun.received.isoformat(),
            rerun.model_dump_json(),
        ),
    )
