"""The decision log loses nothing: what it cannot write it holds, what it cannot hold it refuses, and it says so."""

import subprocess
import sys
import textwrap
import time
from datetime import timedelta
from pathlib import Path

import orjson
import pytest

from tests.decisions.conftest import NOON, until, write
from tests.ensemble.samples import make_rows
from vigil.clock import ManualClock
from vigil.decisions.columns import decide_columns, decision_id
from vigil.decisions.decider import Decider
from vigil.decisions.log import DecisionLog, LogSettings, read_decisions
from vigil.errors import ContractError, Unavailable
from vigil.files import is_held


def lines_of(decider: Decider, count: int) -> list[bytes]:
    rows = decide_columns(decider, make_rows(count, 3).matrix, [f"t{row}" for row in range(count)])
    extra = {"model": "card_fraud", "model_version": "3", "revision": "r1"}
    contents = [rows.content(row) for row in range(count)]
    return [
        orjson.dumps({**content, **extra, "decided_at": NOON, "decision_id": decision_id(content)})
        for content in contents
    ]


def test_a_logged_decision_is_made_again_bit_for_bit(tmp_path: Path, decider: Decider) -> None:
    log = DecisionLog(LogSettings(tmp_path, "r1"), ManualClock(NOON))
    lines = lines_of(decider, 50)
    log.reserve(50)
    log.append(lines)
    assert log.close() == 0
    found = list(read_decisions(tmp_path))
    assert len(found) == 50
    for logged in found:
        assert decider.replay(logged.record) == logged.record
        assert logged.record.decision_id == logged.decision_id
        assert (logged.model, logged.model_version, logged.revision) == ("card_fraud", "3", "r1")


def flush(log: DecisionLog, written: int) -> None:
    until(lambda: log.counts.written >= written)


def test_a_file_ends_with_the_day_and_with_its_size(tmp_path: Path) -> None:
    clock = ManualClock(NOON)
    log = DecisionLog(LogSettings(tmp_path, "r1", file_bytes=100), clock)
    for number in range(3):
        write(log, b"x" * 60)
        flush(log, number + 1)
    clock.advance(timedelta(days=1))
    write(log, b"x" * 60)
    log.close()
    names = [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*.jsonl"))]
    process = names[0].split("-")[3]
    assert names == [
        f"2024-05-01/r1-{process}-0001.jsonl",
        f"2024-05-01/r1-{process}-0002.jsonl",
        f"2024-05-01/r1-{process}-0003.jsonl",
        f"2024-05-02/r1-{process}-0004.jsonl",
    ]


def test_a_file_ends_with_its_age_though_nothing_follows(tmp_path: Path) -> None:
    log = DecisionLog(LogSettings(tmp_path, "r1", file_seconds=0.2), ManualClock(NOON))
    write(log, b"1")
    flush(log, 1)
    (first,) = tmp_path.rglob("*.jsonl")
    assert is_held(first)
    until(lambda: not is_held(first))
    write(log, b"2")
    log.close()
    assert [path.read_bytes() for path in sorted(tmp_path.rglob("*.jsonl"))] == [b"1\n", b"2\n"]


def test_a_full_queue_refuses_before_a_decision_is_made(tmp_path: Path) -> None:
    log = DecisionLog(LogSettings(tmp_path, "r1", queue_rows=3), ManualClock(NOON))
    log.reserve(2)
    with pytest.raises(Unavailable, match="cannot take more decisions"):
        log.reserve(2)
    assert log.counts.refused == 2
    log.release(2)
    log.reserve(3)
    log.close()


def test_what_a_disk_does_not_take_is_held_and_written_later(tmp_path: Path) -> None:
    (tmp_path / NOON.date().isoformat()).write_text("a file where the folder of the day belongs")
    log = DecisionLog(LogSettings(tmp_path, "r1"), ManualClock(NOON))
    write(log, b"1", b"2")
    while log.healthy:
        time.sleep(0.01)
    assert (log.counts.failures, log.counts.written, log.waiting) == (1, 0, 2)
    (tmp_path / NOON.date().isoformat()).unlink()
    flush(log, 2)
    assert log.healthy
    assert log.close() == 0
    (file,) = tmp_path.rglob("*.jsonl")
    assert file.read_bytes() == b"1\n2\n"


def test_what_cannot_be_written_at_the_end_is_counted_as_lost(tmp_path: Path) -> None:
    (tmp_path / NOON.date().isoformat()).write_text("")
    log = DecisionLog(LogSettings(tmp_path, "r1"), ManualClock(NOON))
    write(log, b"1", b"2")
    assert log.close() == 2
    assert log.counts.lost == 2


def test_a_write_that_a_full_disk_cuts_off_leaves_whole_lines(tmp_path: Path) -> None:
    code = """
        import resource, signal, sys, time
        from pathlib import Path
        from vigil.decisions.log import DecisionLog, LogSettings

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        log = DecisionLog(LogSettings(Path(sys.argv[1]), "r1"))
        log.reserve(1); log.append([b"a" * 999])
        while log.counts.written < 1: time.sleep(0.01)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))
        log.reserve(1); log.append([b"b" * 999])
        sys.exit(log.close())
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1
    (file,) = tmp_path.rglob("*.jsonl")
    assert file.read_bytes() == b"a" * 999 + b"\n"


def test_a_line_that_a_crash_tore_is_left_out_and_other_damage_is_named(tmp_path: Path, decider: Decider) -> None:
    path = tmp_path / "log.jsonl"
    whole = b"\n".join(lines_of(decider, 2)) + b"\n"
    path.write_bytes(whole + b'{"decision_id": "x", ')
    assert len(list(read_decisions(path))) == 2
    path.write_bytes(b"{}\n" + whole)
    with pytest.raises(ContractError, match=r"log\.jsonl:1 is not a decision"):
        list(read_decisions(path))
