"""The controller as a pod: metrics say what the records say, health ends with the ticks, SIGTERM ends it well."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import timedelta
from pathlib import Path

import pytest

from tests.rollout.scene import START, spec
from vigil.clock import ManualClock
from vigil.errors import ContractError
from vigil.rollout.evidence import Judgement, Samples, Verdict
from vigil.rollout.metrics import RolloutMetrics
from vigil.rollout.pod import PATIENCE_SECONDS, after_tick, serving
from vigil.rollout.status import Hold, HoldKind, Phase, Record, Status, Wish
from vigil.rollout.stores import FolderRecords


def record(**changes: object) -> Record:
    judged = Judgement(verdict=Verdict.INCONCLUSIVE, statement="not yet", signals={}, samples=Samples())
    values = {
        "phase": Phase.CANARY,
        "step": 1,
        "since": START,
        "wish": Wish(percent=25),
        "observed": 20,
        "judgement": judged,
        "holds": (Hold(kind=HoldKind.SPLIT, text="it has 20 %"), Hold(kind=HoldKind.SPLIT, text="and strangers")),
        "silence": {HoldKind.TRAFFIC: 12.0},
        "acts": 3,
    }
    return Record(spec=spec(), status=Status.model_validate(values | changes))


def ask(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_the_metrics_are_what_the_records_say() -> None:
    metrics = RolloutMetrics()
    metrics.tick([record()], 1000.0)
    with serving(metrics, 0, host="127.0.0.1") as port:
        status, text = ask(port, "/metrics")
    assert status == 200
    for line in (
        "vigil_rollout_ticks_total 1.0",
        "vigil_rollout_ticked_seconds 1000.0",
        'vigil_rollout_phase{model="m",phase="canary"} 1.0',
        'vigil_rollout_asked_percent{model="m"} 25.0',
        'vigil_rollout_observed_percent{model="m"} 20.0',
        'vigil_rollout_holds{kind="split",model="m"} 1.0',
        'vigil_rollout_verdict{model="m",verdict="inconclusive"} 1.0',
        'vigil_rollout_silence_seconds{model="m",part="traffic"} 12.0',
        'vigil_rollout_unsettled{model="m"} 1.0',
        'vigil_rollout_acts_total{model="m"} 3.0',
    ):
        assert text.count(f"\n{line}\n") == 1, line


def test_what_is_over_is_shown_no_more() -> None:
    metrics = RolloutMetrics()
    metrics.tick([record()], 1000.0)
    metrics.tick([record(phase=Phase.SUCCEEDED, holds=(), settled=True, ended=START)], 1010.0)
    text = metrics.exposition().decode()
    assert 'phase="succeeded"' in text
    assert "canary" not in text
    assert "vigil_rollout_holds{" not in text
    assert 'vigil_rollout_unsettled{model="m"} 0.0' in text


def test_it_is_alive_as_long_as_it_ticks() -> None:
    clock, metrics = ManualClock(START), RolloutMetrics()
    with serving(metrics, 0, host="127.0.0.1", clock=clock) as port:
        assert ask(port, "/healthz")[0] == 200
        clock.advance(timedelta(seconds=PATIENCE_SECONDS - 1))
        assert ask(port, "/healthz")[0] == 200
        clock.advance(timedelta(seconds=2))
        assert ask(port, "/healthz")[0] == 503
        metrics.tick([], clock().timestamp())
        assert ask(port, "/healthz")[0] == 200
        assert ask(port, "/")[0] == 404


def test_a_tick_notes_the_records_and_never_ends_the_controller(tmp_path: Path) -> None:
    records, metrics = FolderRecords(tmp_path), RolloutMetrics()
    records.save(record(), None)
    is_over = after_tick(metrics, records, ManualClock(START))
    assert not is_over(True)
    assert not is_over(False)
    assert metrics.ticked == START.timestamp()
    assert 'vigil_rollout_phase{model="m",phase="canary"} 1.0' in metrics.exposition().decode()


def test_a_port_that_is_taken_is_an_error_that_names_it() -> None:
    with serving(RolloutMetrics(), 0) as port, pytest.raises(ContractError, match=f"cannot listen on port {port}"):
        serving(RolloutMetrics(), port).__enter__()


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_sigterm_ends_it_and_gives_the_lock_up(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VIGIL_")}
    environment |= {"VIGIL_HOME": str(tmp_path), "VIGIL_TRACKING_URI": "none"}
    command = [sys.executable, "-m", "vigil", "rollout", "run", "--every", "0.2", "--metrics-port", "0"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        records = FolderRecords(tmp_path)
        for _ in range(600):
            if records.is_locked() or process.poll() is not None:
                break
            time.sleep(0.1)
        assert records.is_locked()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert not records.is_locked()
