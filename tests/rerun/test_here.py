"""A run on this machine: it outlives the sink that started it, and never runs twice."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rerun.processes import Receiver, Sink, until
from tests.rerun.verdicts import binary, verdict
from vigil.rerun.opening import open_desk, open_worker
from vigil.rerun.records import Stage, asked_by
from vigil.rerun.settings import LauncherKind, ModelRules, RerunSettings
from vigil.settings import Settings


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    folder = tmp_path / "gate"
    folder.mkdir()
    return folder


@pytest.fixture
def sink(tiny: Path, receiver: Receiver, gate: Path, tmp_path: Path) -> Iterator[Sink]:
    rules = {"pipeline": str(tiny), "parameters": {"gate": str(gate)}}
    told = {"launcher": "local", "poll_seconds": 0.2, "settle_seconds": 1, "defaults": rules}
    sink = Sink(tmp_path / "home", told, {"VIGIL_EVENT_SINKS": receiver.url}).start()
    yield sink
    (gate / "end.txt").write_text("well")
    sink.stop()


def test_a_run_goes_on_when_its_sink_is_killed_and_the_next_sink_tells_how_it_ended(
    sink: Sink, receiver: Receiver, gate: Path, tmp_path: Path
) -> None:
    assert sink.post(**binary(verdict())).status_code == 202
    until((gate / "starts.txt").exists, "the step of the run")
    sink.kill()
    sink.start()
    assert sink.post(**binary(verdict())).status_code == 200
    until(lambda: sink.only()["stage"] == "running", "the run to be found")
    assert receiver.events == []
    (gate / "end.txt").write_text("well")
    until(lambda: receiver.events, "the news of the end")
    told = receiver.events[0]["data"]
    assert (told["stage"], told["outcome"]["version"]) == ("succeeded", None)
    assert (gate / "starts.txt").read_text() == "started\n"
    event_id, started_by, cause = (gate / "told.txt").read_text().split("\n")
    assert (event_id, started_by) == (verdict().id, "policy:drift")
    assert cause.startswith("population_moved: amounts are 1.4 times")
    assert [path.name for path in (tmp_path / "home" / "runs").iterdir()] == [told["run_id"]]


def test_a_run_that_fails_or_whose_process_is_killed_is_on_record_with_the_reason(
    sink: Sink, receiver: Receiver, gate: Path, tmp_path: Path
) -> None:
    sink.post(**binary(verdict()))
    until((gate / "starts.txt").exists, "the step of the run")
    (gate / "end.txt").write_text("badly")
    until(lambda: receiver.events, "the news of the end")
    assert receiver.events[0]["data"]["stage"] == "failed"
    assert "it was told to fail" in receiver.events[0]["data"]["outcome"]["reason"]
    (gate / "end.txt").unlink()
    (gate / "starts.txt").unlink()
    sink.post(**binary(verdict(model="retail_pos")))
    until((gate / "starts.txt").exists, "the step of the second run")
    (child,) = children(tmp_path / "home" / "rerun" / "runs")
    os.kill(child, signal.SIGKILL)
    until(lambda: len(receiver.events) > 1, "the news of the second end")
    assert receiver.events[1]["data"]["stage"] == "canceled"
    assert "killed" in receiver.events[1]["data"]["outcome"]["reason"]


@pytest.mark.parametrize(
    ("decision", "outcome"),
    [
        ("promote", {"version": "7", "reason": "", "followed_by": "nothing: card_fraud has no version in production"}),
        ("reject", {"version": None, "reason": "the gates rejected the candidate: precision fell", "followed_by": ""}),
    ],
)
def test_what_the_gates_said_and_what_was_registered_is_the_outcome(
    judging: Path, tmp_path: Path, decision: str, outcome: dict[str, str | None]
) -> None:
    settings = Settings(home=tmp_path / "home")
    rules = ModelRules(pipeline=str(judging), parameters={"decision": decision})
    told = RerunSettings(launcher=LauncherKind.LOCAL, defaults=rules, poll_seconds=0.1)
    open_desk(settings, told).take(asked_by(verdict()))
    worker = open_worker(settings, told)
    until(lambda: not worker.step(), "the end of the run")
    (found,) = worker.journal.newest(10)
    assert found.stage is Stage.SUCCEEDED
    assert found.outcome is not None
    for name, value in outcome.items():
        assert str(getattr(found.outcome, name)).startswith(str(value)), name


def children(folder: Path) -> list[int]:
    """Return the ids of the processes that run a rerun of this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode().split("\0")
        except OSError:
            continue
        if "vigil.rerun.child" in words and any(word.startswith(str(folder)) for word in words):
            found.append(int(path.parent.name))
    return found
