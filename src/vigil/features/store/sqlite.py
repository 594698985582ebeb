"""States in one SQLite file: they survive the end of the process, by SIGKILL too. Put a CachedStore in front."""

import json
import logging
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from itertools import islice
from pathlib import Path

from vigil.clock import Clock, system_clock, to_micros
from vigil.errors import ContractError, Unavailable
from vigil.features.store.base import ABSENT, Change, Outcome, Receipt, Retention, StateStore, Versioned

logger = logging.getLogger(__name__)

SCHEMA = """
CREATE TABLE IF NOT EXISTS store (namespace TEXT NOT NULL, sequence INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS states (
    key TEXT PRIMARY KEY, version INTEGER NOT NULL, written INTEGER NOT NULL, value BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS states_by_age ON states (written);
CREATE TABLE IF NOT EXISTS events (
    version INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, seen INTEGER NOT NULL, note BLOB NOT NULL DEFAULT x'');
"""
ADD_NOTES = "ALTER TABLE events ADD COLUMN note BLOB NOT NULL DEFAULT x''"
"""For a file of the first release, which had none."""
READ = "SELECT key, value, version FROM states WHERE written > ? AND key IN (SELECT value FROM json_each(?))"
VERSIONS = "SELECT key, version FROM states WHERE written > ? AND key IN (SELECT value FROM json_each(?))"
WRITE = """
INSERT INTO states (key, value, version, written) VALUES (?, ?, ?, ?) ON CONFLICT (key)
DO UPDATE SET value = excluded.value, version = excluded.version, written = excluded.written"""
NOTES = "SELECT id, note FROM events WHERE seen > ? AND id IN (SELECT value FROM json_each(?))"
SEEN = "SELECT 1 FROM events WHERE seen > ? AND id IN (SELECT value FROM json_each(?)) LIMIT 1"
DROP_STATES = "DELETE FROM states WHERE key IN (SELECT key FROM states WHERE written <= ? ORDER BY written LIMIT ?)"
DROP_EVENTS = """
DELETE FROM events WHERE version IN (SELECT version FROM events ORDER BY version LIMIT ?)
AND (seen <= ? OR version <= ?)"""
MAINTAIN_EVERY = 512
"""Commits between two removals of what is too old and two checkpoints."""
PURGE_ROWS = 256
"""Removed in one transaction: a commit waits for no more."""
MOST_WAL_PAGES = 16_384
"""Should the checkpoints of the maintenance not keep up, the committing thread makes one itself."""
LOAD_ROWS = 1000
ESCAPE = "\x1a"


class SqliteStore(StateStore):
    """Shared by the threads of this process and by other processes on this machine; not for a network drive.

    A commit that returned APPLIED is in the operating system's hands: only a crash of the machine can lose it, and
    leaves the file whole. A `namespace` other than the file's is refused: no feature schema reads another's states.
    """

    def __init__(
        self,
        path: Path,
        namespace: str,
        *,
        retention: Retention | None = None,
        clock: Clock = system_clock,
        timeout: timedelta = timedelta(seconds=5),
    ) -> None:
        super().__init__()
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._until_maintenance = MAINTAIN_EVERY
        self._is_due = threading.Event()
        self._is_due.set()
        self._is_closing = False
        retention = retention or Retention()
        self._state_micros = retention.states // timedelta(microseconds=1)
        self._event_micros = retention.events // timedelta(microseconds=1)
        self._event_capacity = retention.event_capacity
        path.parent.mkdir(parents=True, exist_ok=True)
        with _explained(path):
            self._db = sqlite3.connect(
                path, timeout=timeout.total_seconds(), isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare(namespace)
            except BaseException:
                self._db.close()
                raise
        self._maintenance = threading.Thread(target=self._maintain, name="vigil-state-maintenance", daemon=True)
        self._maintenance.start()

    def load(self, states: Iterable[tuple[str, bytes]]) -> int:
        """Write a snapshot over whatever is there, and return how many states it had."""
        source, count = iter(states), 0
        while batch := list(islice(source, LOAD_ROWS)):
            now = to_micros(self._clock())
            with self._transaction() as db:
                version = _next_version(db)
                db.executemany(WRITE, [(_plain(key), value, version, now) for key, value in batch])
            count += len(batch)
        return count

    def is_used(self) -> bool:
        """Return whether anything was ever written to the file."""
        with self._lock, _explained(self._path):
            (sequence,) = self._db.execute("SELECT sequence FROM store").fetchone()
        return bool(sequence != ABSENT)

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._is_closing = True
        self._is_due.set()
        self._maintenance.join()
        with self._lock:
            self._db.close()

    def _prepare(self, namespace: str) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute(f"PRAGMA wal_autocheckpoint = {MOST_WAL_PAGES}")
        self._db.executescript(SCHEMA)
        with self._transaction() as db:
            if "note" not in [column[1] for column in db.execute("PRAGMA table_info(events)")]:
                db.execute(ADD_NOTES)
            row = db.execute("SELECT namespace FROM store").fetchone()
            if row is None:
                db.execute("INSERT INTO store VALUES (?, ?)", (namespace, ABSENT))
            elif row[0] != namespace:
                raise ContractError(
                    f"state file {self._path} holds states of {row[0]}, not of {namespace}: "
                    "give another path, or delete the file and load a snapshot"
                )

    def _read(self, keys: Sequence[str]) -> tuple[list[Versioned | None], int]:
        since = to_micros(self._clock()) - self._state_micros
        with self._lock, _explained(self._path):
            rows = self._db.execute(READ, (since, _json(keys))).fetchall()
        states = {key: Versioned(value, version) for key, value, version in rows}
        found = [states.get(_plain(key)) for key in keys]
        return found, len(found) - found.count(None)

    def _recall(self, event_ids: Sequence[str]) -> list[bytes | None]:
        since = to_micros(self._clock()) - self._event_micros
        with self._lock, _explained(self._path):
            notes = dict(self._db.execute(NOTES, (since, _json(event_ids))).fetchall())
        return [notes.get(_plain(event_id)) for event_id in event_ids]

    def _commit(self, changes: Sequence[Change], notes: Mapping[str, bytes]) -> Receipt:
        now = to_micros(self._clock())
        with self._transaction() as db:
            if notes and db.execute(SEEN, (now - self._event_micros, _json(notes))).fetchone():
                return Receipt(Outcome.DUPLICATE)
            keys = _json(change.key for change in changes)
            versions = dict(db.execute(VERSIONS, (now - self._state_micros, keys)).fetchall())
            if any(versions.get(_plain(change.key), ABSENT) != change.expected_version for change in changes):
                return Receipt(Outcome.CONFLICT)
            version = _next_version(db, max(len(notes), 1))
            db.executemany(WRITE, [(_plain(change.key), change.value, version, now) for change in changes])
            events = [(version - k, _plain(event_id), now, note) for k, (event_id, note) in enumerate(notes.items())]
            db.executemany("INSERT OR REPLACE INTO events VALUES (?, ?, ?, ?)", events)
            self._until_maintenance -= 1
        if self._until_maintenance <= 0:
            self._until_maintenance = MAINTAIN_EVERY
            self._is_due.set()
        return Receipt(Outcome.APPLIED, version)

    def _maintain(self) -> None:
        """Remove what is too old and move the log into the file, so that no commit pays for either."""
        while not self._is_closing:
            self._is_due.wait()
            self._is_due.clear()
            try:
                while self._purge() and not self._is_closing:
                    pass
                with closing(sqlite3.connect(self._path)) as own:
                    own.execute("PRAGMA wal_checkpoint(PASSIVE)")
            except (Unavailable, sqlite3.OperationalError) as error:
                logger.warning("maintenance of the states put off: %s", error)

    def _purge(self) -> int:
        """Remove a few rows that are too old, and return how many."""
        now = to_micros(self._clock())
        with self._transaction() as db:
            states = db.execute(DROP_STATES, (now - self._state_micros, PURGE_ROWS)).rowcount
            (version,) = db.execute("SELECT sequence FROM store").fetchone()
            events = db.execute(DROP_EVENTS, (PURGE_ROWS, now - self._event_micros, version - self._event_capacity))
        self.counts.count_removed(expirations=states)
        return states + events.rowcount

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _explained(self._path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")


def _plain(name: str) -> str:
    """Return the text that stands for a name in the file: its JSON functions end a text at a NUL."""
    if "\0" not in name and ESCAPE not in name:
        return name
    return name.replace(ESCAPE, 2 * ESCAPE).replace("\0", ESCAPE + "0")


def _json(names: Iterable[str]) -> str:
    return json.dumps([_plain(name) for name in names])


def _next_version(db: sqlite3.Connection, step: int = 1) -> int:
    """Return a version larger by `step` than any before, from whatever process: each event takes one."""
    (version,) = db.execute("UPDATE store SET sequence = sequence + ? RETURNING sequence", (step,)).fetchone()
    return int(version)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise Unavailable(
            f"state file {path}: {error}: is the disk full or read-only, or does another process hold the file? "
            "Cure that and repeat the call"
        ) from error
    except sqlite3.ProgrammingError:
        raise
    except sqlite3.DatabaseError as error:
        raise ContractError(
            f"state file {path}: {error}: move the file away and load a snapshot into a new one"
        ) from error
