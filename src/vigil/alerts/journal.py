"""Everything that the desk knows, in one SQLite file: on disk before anybody is told anything.

Acts are only ever added: the file itself refuses to change or delete one.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from vigil.alerts.incidents import Incident, State
from vigil.alerts.outbox import OUTBOX, Outbox
from vigil.alerts.records import Act, Report, Window
from vigil.alerts.signals import Place, Signal
from vigil.clock import from_micros, to_micros
from vigil.database import Database

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (key TEXT PRIMARY KEY, received INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS signals (
    id TEXT PRIMARY KEY, type TEXT NOT NULL, site TEXT NOT NULL, metric TEXT NOT NULL, at INTEGER NOT NULL,
    received INTEGER NOT NULL, outcome TEXT NOT NULL, document TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS pending ON signals (type, site, metric, at) WHERE outcome = 'pending';
CREATE INDEX IF NOT EXISTS by_outcome ON signals (outcome, at);
CREATE INDEX IF NOT EXISTS by_age ON signals (received);
CREATE TABLE IF NOT EXISTS incidents (
    id TEXT PRIMARY KEY, type TEXT NOT NULL, is_live INTEGER NOT NULL, is_merged INTEGER NOT NULL,
    last_seen INTEGER NOT NULL, opened INTEGER NOT NULL, document TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS live ON incidents (type, last_seen) WHERE is_live;
CREATE INDEX IF NOT EXISTS recent ON incidents (type, last_seen) WHERE NOT is_merged;
CREATE TABLE IF NOT EXISTS acts (
    number INTEGER PRIMARY KEY AUTOINCREMENT, incident TEXT NOT NULL, kind TEXT NOT NULL, document TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS by_incident ON acts (incident);
CREATE TRIGGER IF NOT EXISTS acts_stay BEFORE UPDATE ON acts BEGIN SELECT RAISE(ABORT, 'acts are never changed'); END;
CREATE TRIGGER IF NOT EXISTS acts_last BEFORE DELETE ON acts BEGIN SELECT RAISE(ABORT, 'acts are never deleted'); END;
CREATE TABLE IF NOT EXISTS windows (id TEXT PRIMARY KEY, until INTEGER NOT NULL, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS reports (id TEXT PRIMARY KEY, reported INTEGER NOT NULL, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""

PENDING = "pending"
_SCORED, _CHANGES = "scored_until", "changes"


class Journal:
    """The file. Several processes of one machine may use it at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._database = Database(folder / "alerts.db", "the alert journal")
        self._database.create(_SCHEMA + OUTBOX)

    def alone(self) -> AbstractContextManager[bool]:
        """Yield whether this process is the one that may send and escalate."""
        return self._database.alone()

    @contextmanager
    def writing(self) -> Iterator["Pages"]:
        """Yield the pages to read and write: all that is written in the block is on disk after it, or nothing."""
        with self._database.writing() as connection:
            yield Pages(connection)

    @contextmanager
    def reading(self) -> Iterator["Pages"]:
        """Yield the pages as they are at one moment."""
        with self._database.reading() as connection:
            yield Pages(connection)


@dataclass(frozen=True)
class Pages:
    """What the file holds, within one transaction."""

    connection: sqlite3.Connection

    @property
    def outbox(self) -> Outbox:
        """The messages."""
        return Outbox(self.connection)

    def knows_event(self, key: str, now: datetime) -> bool:
        """Return whether an event came before, and remember it."""
        query = "INSERT OR IGNORE INTO events VALUES (?, ?)"
        return self.connection.execute(query, (key, to_micros(now))).rowcount == 0

    def put_signal(self, signal: Signal, outcome: str, now: datetime) -> bool:
        """Keep a signal with what became of it, and return whether it is new."""
        row = (signal.id, *signal.place, to_micros(signal.at), to_micros(now), outcome, signal.model_dump_json())
        return self.connection.execute("INSERT OR IGNORE INTO signals VALUES (?,?,?,?,?,?,?,?)", row).rowcount == 1

    def settle(self, signal: Signal, outcome: str) -> None:
        """Say what became of a signal."""
        self.connection.execute("UPDATE signals SET outcome = ? WHERE id = ?", (outcome, signal.id))

    def reassign(self, outcome: str, to: str) -> None:
        """Say of the signals of an incident that they belong to another one."""
        self.connection.execute("UPDATE signals SET outcome = ? WHERE outcome = ?", (to, outcome))

    def pending(self, place: Place, since: datetime, until: datetime) -> list[Signal]:
        """Return the signals of a place that are no incident yet, from a time to another, both included."""
        query = (
            f"SELECT document FROM signals WHERE outcome = '{PENDING}' AND type = ? AND site = ? AND metric = ?"
            " AND at BETWEEN ? AND ? ORDER BY at"
        )
        rows = self.connection.execute(query, (*place, to_micros(since), to_micros(until)))
        return [Signal.model_validate_json(row[0]) for row in rows]

    def outcomes(self) -> dict[str, int]:
        """Return how many signals are kept by what became of them; those of incidents together."""
        query = (
            "SELECT CASE WHEN outcome IN ('pending', 'ended', 'harmless') THEN outcome"
            " WHEN outcome LIKE 'maintenance %' THEN 'maintenance' ELSE 'incident' END, count(*)"
            " FROM signals GROUP BY 1"
        )
        return dict(self.connection.execute(query).fetchall())

    def suppressed(self, window: str) -> int:
        """Return how many signals a maintenance window has kept from being incidents."""
        query = "SELECT count(*) FROM signals WHERE outcome = ?"
        return int(self.connection.execute(query, (f"maintenance {window}",)).fetchone()[0])

    def live_ones(self) -> dict[str, Incident]:
        """Return the incidents that go on."""
        return _by_id(self.connection.execute("SELECT document FROM incidents WHERE is_live ORDER BY opened, id"))

    def recent_ones(self, type_: str, since: datetime) -> dict[str, Incident]:
        """Return the incidents of a type that go on or were seen since a time, without those that were merged."""
        query = (
            "SELECT document FROM incidents WHERE type = ? AND (is_live OR (last_seen >= ? AND NOT is_merged))"
            " ORDER BY opened, id"
        )
        return _by_id(self.connection.execute(query, (type_, to_micros(since))))

    def types(self) -> list[str]:
        """Return the types of all incidents."""
        return [row[0] for row in self.connection.execute("SELECT DISTINCT type FROM incidents ORDER BY type")]

    def incidents(self) -> list[Incident]:
        """Return all incidents, the newest first."""
        rows = self.connection.execute("SELECT document FROM incidents ORDER BY opened DESC, last_seen DESC, id")
        return [Incident.model_validate_json(row[0]) for row in rows]

    def incident(self, identity: str) -> Incident | None:
        """Return an incident by its id, or by how its id begins if no other one begins so."""
        query = "SELECT document FROM incidents WHERE substr(id, 1, ?) = ? LIMIT 2"
        rows = self.connection.execute(query, (len(identity), identity)).fetchall() if identity else []
        return Incident.model_validate_json(rows[0][0]) if len(rows) == 1 else None

    def put_incident(self, incident: Incident) -> None:
        """Keep an incident as it is now."""
        self._note_change()
        self.connection.execute(
            "INSERT INTO incidents VALUES (?,?,?,?,?,?,?) ON CONFLICT (id) DO UPDATE SET is_live = excluded.is_live,"
            " is_merged = excluded.is_merged, last_seen = excluded.last_seen, document = excluded.document",
            (
                incident.id,
                incident.type,
                incident.state.is_live,
                incident.state is State.MERGED,
                to_micros(incident.last_seen),
                to_micros(incident.opened),
                incident.model_dump_json(),
            ),
        )

    def add_act(self, act: Act) -> None:
        """Add a line to the record."""
        row = (act.incident, act.kind, act.model_dump_json())
        self.connection.execute("INSERT INTO acts (incident, kind, document) VALUES (?,?,?)", row)

    def acts(self, incident: str | None = None) -> list[Act]:
        """Return the record, or what of it is about an incident, the oldest first."""
        chosen, values = ("WHERE incident = ?", (incident,)) if incident else ("", ())
        rows = self.connection.execute(f"SELECT document FROM acts {chosen} ORDER BY number", values)
        return [Act.model_validate_json(row[0]) for row in rows]

    def act_counts(self) -> dict[str, int]:
        """Return how many acts there are of each kind."""
        return dict(self.connection.execute("SELECT kind, count(*) FROM acts GROUP BY kind").fetchall())

    def put_window(self, window: Window) -> None:
        """Keep a maintenance window."""
        row = (window.id, to_micros(window.until), window.model_dump_json())
        self.connection.execute("INSERT OR REPLACE INTO windows VALUES (?,?,?)", row)

    def windows(self) -> list[Window]:
        """Return all maintenance windows, those that end last first."""
        rows = self.connection.execute("SELECT document FROM windows ORDER BY until DESC")
        return [Window.model_validate_json(row[0]) for row in rows]

    def put_report(self, report: Report) -> None:
        """Keep a report."""
        row = (report.id, to_micros(report.reported), report.model_dump_json())
        self.connection.execute("INSERT INTO reports VALUES (?,?,?)", row)

    def reports(self) -> list[Report]:
        """Return all reports, the oldest first."""
        rows = self.connection.execute("SELECT document FROM reports ORDER BY reported")
        return [Report.model_validate_json(row[0]) for row in rows]

    def note_scored(self, until: datetime) -> None:
        """Remember up to when the readings of all sites are scored; it never goes back."""
        query = "INSERT INTO facts VALUES (?,?) ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)"
        self.connection.execute(query, (_SCORED, to_micros(until)))
        self._note_change()

    def changes(self) -> int:
        """Return a number that grows with every change of an incident."""
        row = self.connection.execute("SELECT value FROM facts WHERE name = ?", (_CHANGES,)).fetchone()
        return int(row[0]) if row else 0

    def _note_change(self) -> None:
        query = "INSERT INTO facts VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1"
        self.connection.execute(query, (_CHANGES,))

    def scored_until(self) -> datetime | None:
        """Return up to when the readings of all sites are scored, if that was ever said."""
        row = self.connection.execute("SELECT value FROM facts WHERE name = ?", (_SCORED,)).fetchone()
        return from_micros(row[0]) if row else None

    def forget(self, now: datetime, keep: timedelta) -> None:
        """Delete signals and events that came before; incidents, acts and reports stay."""
        before = to_micros(now - keep)
        self.connection.execute("DELETE FROM signals WHERE received < ?", (before,))
        self.connection.execute("DELETE FROM events WHERE received < ?", (before,))


def _by_id(rows: sqlite3.Cursor) -> dict[str, Incident]:
    found = (Incident.model_validate_json(row[0]) for row in rows)
    return {one.id: one for one in found}
