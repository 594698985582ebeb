"""What only the file can do: outlive its process."""

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from tests.features.store.support import ROOT, START, Workbench, eventually, increment, number
from vigil.clock import ManualClock
from vigil.errors import ContractError, Unavailable
from vigil.features.store import Change, Outcome, Retention, SqliteStore
from vigil.features.store.sqlite import MAINTAIN_EVERY

NAMESPACE = "vigil:test"


def rows(path: Path, table: str) -> int:
    with sqlite3.connect(path) as db:
        return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def test_states_events_and_versions_outlive_the_store(tmp_path: Path) -> None:
    with SqliteStore(tmp_path / "s.sqlite", NAMESPACE) as store:
        first = store.commit([Change("a", b"1")], "e")
    with SqliteStore(tmp_path / "s.sqlite", NAMESPACE) as store:
        assert store.get_many(["a"]) == [(b"1", first.version)]
        assert store.seen("e")
        assert store.commit([Change("b", b"1")]).version > first.version


def test_a_killed_process_loses_no_committed_event(tmp_path: Path) -> None:
    bench = Workbench("cached sqlite", tmp_path)
    where = (bench.kind, str(tmp_path), "", bench.namespace)
    command = (sys.executable, "-m", "tests.features.store.writer", *where, "child", "1000000")
    writer = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert writer.stdout
    told = [writer.stdout.readline() for _ in range(MAINTAIN_EVERY + 100)]
    writer.send_signal(signal.SIGKILL)
    told += writer.stdout.readlines()
    writer.wait()
    committed = [line.strip() for line in told if line.endswith("\n")]
    store = bench.open(Retention(events=timedelta(days=36500)))
    assert all(store.seen(event_id) for event_id in committed)
    applied = rows(tmp_path / "state.sqlite", "events")
    assert applied - len(committed) in (0, 1)
    assert (number(store, "shared"), number(store, "child")) == (applied, applied)
    assert increment(store, ["shared"], committed[-1]) is Outcome.DUPLICATE
    bench.close()


def test_what_is_too_old_leaves_the_file(tmp_path: Path) -> None:
    clock, path = ManualClock(START), tmp_path / "s.sqlite"
    retention = Retention(states=timedelta(days=2), events=timedelta(days=1))
    with SqliteStore(path, NAMESPACE, retention=retention, clock=clock) as store:
        for i in range(300):
            store.commit([Change(f"old{i}", b"1"), Change(f"older{i}", b"1")], f"old{i}")
        clock.advance(timedelta(days=3))
        for i in range(MAINTAIN_EVERY):
            store.commit([Change(f"new{i}", b"1")], f"new{i}")
        assert eventually(lambda: rows(path, "states") == rows(path, "events") == MAINTAIN_EVERY)
        assert store.counts.expirations == 600


def test_a_state_lives_on_from_its_last_write(tmp_path: Path) -> None:
    clock, retention = ManualClock(START), Retention(states=timedelta(days=3))
    with SqliteStore(tmp_path / "s.sqlite", NAMESPACE, retention=retention, clock=clock) as store:
        for turn in range(3):
            increment(store, ["a"], f"e{turn}")
            clock.advance(timedelta(days=2))
        assert number(store, "a") == 3


def test_event_ids_are_bounded_by_number(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with SqliteStore(path, NAMESPACE, retention=Retention(event_capacity=10)) as store:
        for i in range(MAINTAIN_EVERY):
            store.commit([], f"e{i}")
        assert eventually(lambda: rows(path, "events") == 10)
        assert store.seen(f"e{MAINTAIN_EVERY - 1}")


def test_events_of_one_commit_count_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with SqliteStore(path, NAMESPACE, retention=Retention(event_capacity=10)) as store:
        for i in range(MAINTAIN_EVERY):
            store.commit_events([], {f"e{i}-{k}": b"" for k in range(3)})
        assert eventually(lambda: rows(path, "events") == 10)
        assert store.recall([f"e{MAINTAIN_EVERY - 1}-{k}" for k in range(3)]) == [b"", b"", b""]


def test_a_file_of_the_first_release_learns_to_keep_notes(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with SqliteStore(path, NAMESPACE) as store:
        store.commit([Change("a", b"1")], "old")
    with closing(sqlite3.connect(path)) as db:
        db.execute("ALTER TABLE events DROP COLUMN note")
    with SqliteStore(path, NAMESPACE) as store:
        store.commit([], "new", b"noted")
        assert store.recall(["old", "new"]) == [b"", b"noted"]


def test_the_log_is_moved_into_the_file_while_the_store_is_open(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with SqliteStore(path, NAMESPACE) as store:
        for i in range(MAINTAIN_EVERY):
            store.commit([Change(f"k{i}", bytes(1000))])
        assert eventually(lambda: path.stat().st_size > MAINTAIN_EVERY * 1000)


def test_a_file_of_another_feature_schema_is_refused(tmp_path: Path) -> None:
    SqliteStore(tmp_path / "s.sqlite", "vigil:aaaa").close()
    with pytest.raises(
        ContractError, match=r"s\.sqlite holds states of vigil:aaaa, not of vigil:bbbb.*delete the file"
    ):
        SqliteStore(tmp_path / "s.sqlite", "vigil:bbbb")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.sqlite").write_text("customer,amount\n" * 100)
    with pytest.raises(ContractError, match=r"s\.sqlite: file is not a database: move the file away"):
        SqliteStore(tmp_path / "s.sqlite", NAMESPACE)


def test_a_path_that_is_a_folder_gives_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="unable to open database file"):
        SqliteStore(tmp_path, NAMESPACE)


def test_a_file_held_by_another_process_is_unavailable_and_free_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with SqliteStore(path, NAMESPACE, timeout=timedelta(milliseconds=20)) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match=r"database is locked.*repeat the call"):
            store.commit([Change("a", b"1")], "e")
        assert store.counts.unavailable == 1
        other.execute("ROLLBACK")
        other.close()
        assert store.commit([Change("a", b"1")], "e").outcome is Outcome.APPLIED
