import json
import logging
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from vigil.clock import DAY, ManualClock, from_micros, system_clock, to_micros
from vigil.errors import ContractError
from vigil.logs import JsonFormatter, TextFormatter
from vigil.settings import load_settings, login

ROOT = Path(__file__).parents[1]


def test_settings_have_defaults_and_take_the_environment() -> None:
    assert load_settings({}).home == Path(".vigil")
    assert load_settings({"VIGIL_HOME": "/elsewhere", "PATH": "/bin"}).home == Path("/elsewhere")


@pytest.mark.parametrize(
    ("environment", "message"),
    [({"VIGIL_HOMEE": "x"}, "VIGIL_HOMEE: Extra inputs"), ({"VIGIL_LOG_LEVEL": "loud"}, "VIGIL_LOG_LEVEL: .*pattern")],
)
def test_a_wrong_variable_is_named_with_the_known_ones(environment: dict[str, str], message: str) -> None:
    with pytest.raises(ContractError, match=message + r".*\(known: VIGIL_HOME, "):
        load_settings(environment)


def test_who_has_no_name_in_a_container_goes_by_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 3_999_999_999)
    assert login() == "uid-3999999999"


def test_micros_lead_back_to_the_moment_and_need_a_time_zone() -> None:
    moment = datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC)
    assert from_micros(to_micros(moment)) == moment
    assert to_micros(moment + timedelta(days=1)) - to_micros(moment) == DAY
    with pytest.raises(ValueError, match="has no time zone"):
        to_micros(datetime(2024, 1, 1))  # noqa: DTZ001


def test_the_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(datetime(2024, 1, 1, tzinfo=UTC))
    assert clock() == clock()
    clock.advance(timedelta(hours=1))
    assert clock() == datetime(2024, 1, 1, 1, tzinfo=UTC)
    assert system_clock().tzinfo is UTC


def test_a_log_line_carries_its_fields_as_text_and_as_json() -> None:
    record = logging.makeLogRecord({"name": "vigil.x", "levelname": "INFO", "msg": "rolled back", "site": "s1"})
    assert TextFormatter().format(record).endswith("info    rolled back site=s1")
    line = json.loads(JsonFormatter().format(record))
    assert (line["event"], line["site"], line["level"]) == ("rolled back", "s1", "INFO")


def test_the_locks_are_hashed_and_name_no_host() -> None:
    locks = sorted((ROOT / "requirements").glob("*.txt"))
    assert {path.stem for path in locks} >= {"data", "dev", "monitor", "pipelines", "serve", "stream", "train"}
    for path in locks:
        text = path.read_text()
        assert "--hash=sha256:" in text
        assert "://" not in text, f"{path.name} names a host: make lock without a private index"


def test_serving_does_not_carry_training() -> None:
    serve = (ROOT / "requirements" / "serve.txt").read_text()
    for package in ("scikit-learn", "keras", "jax", "mlflow", "kfp", "alibi-detect"):
        assert f"\n{package}==" not in serve


def test_the_command_line_explains_itself_and_turns_errors_into_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vigil"]
    helped = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert "features" in helped.stdout
    failed = subprocess.run(
        [*command, "features", "update", str(tmp_path), "-o", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: ")
    assert "Traceback" not in failed.stderr
