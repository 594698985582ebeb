"""A SQLite file that several processes of a machine use: what a block writes is on disk after it, or nothing."""

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from vigil.errors import Unavailable
from vigil.files import alone

_PATIENCE = 15.0
"""Seconds to wait for another process that writes."""


@dataclass(frozen=True)
class Database:
    """The file. Whatever keeps it from being used is Unavailable and calls it by its name."""

    path: Path
    name: str
    """What it is called in errors, such as `the journal`."""

    def create(self, schema: str) -> None:
        """Make folder, file and tables, as far as they are not there."""
        with self._translated():
            self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.connection() as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(schema)

    def alone(self) -> AbstractContextManager[bool]:
        """Yield whether this process is the one that may do what only one process may: the lock ends with it."""
        return alone(self.path.with_name("worker.lock"))

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection without a transaction."""
        with self._translated():
            connection = sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None)
            try:
                connection.execute("PRAGMA synchronous=FULL")
                yield connection
            finally:
                connection.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection that alone writes; an error in the block undoes all of it."""
        with self.connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection that sees the file as it is at one moment."""
        with self.connection() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise Unavailable(f"{self.name} {self.path} cannot be used: {error}") from error
