"""`vigil rollout` as a person uses it."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.rollout.simulated import Simulated, carry_on
from vigil.cli import app
from vigil.errors import ContractError
from vigil.rollout.stores import FolderRecords


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulated]:
    """A rollout that has started, with someone who holds the controller's lock."""
    made = Simulated(tmp_path / "home").prepare()
    monkeypatch.setenv("VIGIL_HOME", str(made.home))
    monkeypatch.setenv("COLUMNS", "200")
    yield made


def vigil(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["rollout", *arguments])


def ask(place: Simulated, *arguments: str) -> Result:
    """Ask while a controller is at work, so that none is started."""
    with FolderRecords(place.home).locked():
        return vigil(*arguments)


def ticks(place: Simulated, count: int) -> None:
    controller = place.controller()
    for _ in range(count):
        controller.tick_all()


def test_the_status_says_where_it_stands_and_what_it_waits_for(place: Simulated) -> None:
    ticks(place, 8)
    shown = vigil("status", "m").output
    assert "m: version 2 over 1" in shown
    assert "canary" in shown
    assert "traffic 25 %" in shown
    assert "flags more" in shown
    assert "No controller is at work" in shown
    assert "25 %" in vigil("status").output


def test_the_status_is_there_as_json(place: Simulated) -> None:
    (document,) = json.loads(vigil("status", "m", "--json").output)
    assert (document["spec"]["candidate"]["version"], document["status"]["phase"]) == ("2", "starting")


def test_a_pause_a_resume_and_an_abort_are_taken_with_who_asked_and_why(place: Simulated) -> None:
    ticks(place, 6)
    for action, reason in (("pause", "lunch"), ("resume", "back again"), ("abort", "customers complain")):
        done = ask(place, action, "m", "--reason", reason, "--actor", "person:eve")
        assert (done.exit_code, f"Asked to {action} m version 2" in done.output) == (0, True)
        ticks(place, 1)
    carry_on(place)
    acts = [(one["act"]["kind"], one["act"]["actor"], one["act"]["reason"]) for one in history()]
    assert [act for act in acts if act[1] == "person:eve"] == [
        ("pause", "person:eve", "lunch"),
        ("resume", "person:eve", "back again"),
        ("abort", "person:eve", "customers complain"),
    ]
    assert place.record().status.phase == "aborted"


def history() -> list[dict[str, dict[str, str]]]:
    return list(json.loads(vigil("history", "m", "--json").output))


def test_a_promotion_needs_a_reason_and_says_so(place: Simulated) -> None:
    assert "--reason" in vigil("promote", "m").output


def test_a_promotion_of_all_steps_ends_in_production(place: Simulated) -> None:
    ticks(place, 3)
    assert ask(place, "promote", "m", "--fully", "--reason", "seen enough").exit_code == 0
    ticks(place, 4)
    assert place.read("serving")["percent"] == 100


def test_watching_ends_with_the_rollout_and_tells_success_from_failure(place: Simulated) -> None:
    worker = threading.Thread(target=lambda: carry_on(place))
    worker.start()
    shown = vigil("watch", "m", "--every", "0.2")
    worker.join()
    assert (shown.exit_code, "succeeded" in shown.output) == (0, True)


def test_watching_a_rollout_that_was_rolled_back_fails(place: Simulated) -> None:
    place.behaviour = {"errors": 0.3}
    carry_on(place)
    assert vigil("watch", "m").exit_code == 1


def test_the_history_is_shown_and_verified(place: Simulated) -> None:
    carry_on(place)
    shown = vigil("history", "m", "--verify")
    assert (shown.exit_code, "8 entries, none changed or removed" in shown.output) == (0, True)
    assert "policy:rollout" in shown.output


def test_a_history_that_was_cut_off_does_not_hold(place: Simulated) -> None:
    carry_on(place)
    (FolderRecords(place.home).root / "m" / "audit" / "00000008.json").unlink()
    shown = vigil("history", "m", "--verify")
    assert isinstance(shown.exception, ContractError)
    assert "the last 1 of 8 entries were removed" in str(shown.exception)


def test_a_start_without_a_runtime_says_how_to_get_one(place: Simulated) -> None:
    shown = vigil("start", "m", "2", "--reason", "better on June")
    assert "vigil up" in str(shown.exception)


def test_a_model_without_a_rollout_is_named(place: Simulated) -> None:
    assert "there is no rollout of other; there are: m" in str(vigil("status", "other").exception)


def test_one_look_is_enough_where_it_is_asked_for(place: Simulated) -> None:
    assert vigil("run", "--once").exit_code == 0
    assert "the place of serving" in place.record().status.message or place.record().status.ticked is not None
