"""The archive of decisions: each finished file arrives whole and once, and leaves the disk only then."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.decisions.conftest import NOON, until, write
from vigil.clock import ManualClock
from vigil.decisions.archive import DecisionArchive
from vigil.decisions.log import DecisionLog, LogSettings
from vigil.registry.store import FolderStore, Store, open_store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "decisions"
    path.mkdir()
    return path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return FolderStore(tmp_path / "archive")


def open_log(folder: Path, **limits: float) -> DecisionLog:
    return DecisionLog(LogSettings(folder, "r1", **limits), ManualClock(NOON))  # type: ignore[arg-type]


def archived(store: Store) -> bytes:
    return b"".join(store.read(path) for path in store.paths(""))


def test_files_are_moved_while_the_log_goes_on_and_the_rest_at_the_end(folder: Path, store: Store) -> None:
    log, archive = open_log(folder, file_seconds=0.1), DecisionArchive(folder, store, 0.05)
    write(log, b"1", b"2")
    until(lambda: archive.counts.moved == 1)
    assert list(folder.rglob("*.jsonl")) == []
    write(log, b"3")
    assert (log.close(), archive.close()) == (0, 0)
    assert archived(store) == b"1\n2\n3\n"
    assert all(path.startswith(f"{NOON.date().isoformat()}/r1-") for path in store.paths(""))


def test_a_file_that_is_written_stays_where_it_is(folder: Path, store: Store) -> None:
    log = open_log(folder)
    write(log, b"1")
    until(lambda: log.counts.written == 1)
    archive = DecisionArchive(folder, store, 0.01)
    assert archive.close() == 0
    assert store.paths("") == []
    log.close()
    assert DecisionArchive(folder, store).close() == 0
    assert archived(store) == b"1\n"


def test_what_a_killed_process_wrote_is_moved_by_the_next(folder: Path, store: Store) -> None:
    code = """
        import os, signal, sys, time
        from pathlib import Path
        from vigil.decisions.log import DecisionLog, LogSettings

        log = DecisionLog(LogSettings(Path(sys.argv[1]), "r1"))
        log.reserve(1); log.append([b"1"])
        while log.counts.written < 1: time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(folder)], check=False)
    assert killed.returncode == -9
    assert DecisionArchive(folder, store).close() == 0
    assert archived(store) == b"1\n"


def test_several_processes_archive_one_folder_and_nothing_comes_twice(folder: Path, store: Store) -> None:
    log = open_log(folder, file_bytes=1)
    archives = [DecisionArchive(folder, store, 0.001) for _ in range(4)]
    for number in range(100):
        write(log, b"%d" % number)
        until(lambda written=number + 1: log.counts.written == written)  # type: ignore[misc]
    log.close()
    until(lambda: sum(archive.counts.moved for archive in archives) == 100)
    assert [archive.close() for archive in archives] == [0, 0, 0, 0]
    assert sorted(map(int, archived(store).split())) == list(range(100))
    assert [archive.counts.failures for archive in archives] == [0, 0, 0, 0]


def test_while_the_store_fails_files_stay_and_are_moved_later(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "archive").write_text("a file where the folder of the store belongs")
    log = open_log(folder, file_seconds=0.01)
    write(log, b"1")
    archive = DecisionArchive(folder, open_store(str(tmp_path / "archive")), 0.01)
    until(lambda: archive.counts.failures > 0 and archive.counts.waiting == 1)
    (tmp_path / "archive").unlink()
    until(lambda: archive.counts.moved == 1)
    assert archive.counts.waiting == 0
    log.close()
    assert archive.close() == 0


def test_what_cannot_be_moved_at_the_end_is_told_and_kept(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "archive").write_text("")
    log = open_log(folder)
    write(log, b"1")
    log.close()
    assert DecisionArchive(folder, open_store(str(tmp_path / "archive"))).close() == 1
    (kept,) = folder.rglob("*.jsonl")
    assert kept.read_bytes() == b"1\n"
