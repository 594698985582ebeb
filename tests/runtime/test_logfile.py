"""Logs are bounded, and their end is at hand."""

from pathlib import Path

from vigil.runtime.logfile import KEPT, LogFile, tail


def test_a_full_log_begins_a_new_file_at_the_end_of_a_line_and_old_ones_go(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "x" / "predictor.log", max_bytes=1000)
    for number in range(1000):
        log.write(f"line {number:04}".encode())
        log.write(b"\n")
    log.close()
    files = sorted(path.name for path in (tmp_path / "x").iterdir())
    assert files == ["predictor.log", *(f"predictor.log.{number}" for number in range(1, KEPT + 1))]
    for path in (tmp_path / "x").iterdir():
        assert path.stat().st_size <= 1000
        assert all(len(line) == 9 for line in path.read_text().splitlines())


def test_the_tail_reaches_into_the_file_before(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "predictor.log", max_bytes=100)
    for number in range(11):
        log.write(f"line {number:04}\n".encode())
    assert tail(log.path, 5) == ["line 0006", "line 0007", "line 0008", "line 0009", "line 0010"]
    assert tail(tmp_path / "none.log", 5) == []
    log.close()
