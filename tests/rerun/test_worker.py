"""From an event to one run on a server that answers late, wrongly, or not at all."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from tests.orchestration.kubeflow_server import Fault, KubeflowServer
from tests.rerun.conftest import Hire
from tests.rerun.verdicts import verdict
from tests.rerun.versions import register
from vigil.clock import ManualClock
from vigil.monitoring.verdicts import Cause
from vigil.registry.registry import Registry
from vigil.registry.store import FolderStore
from vigil.rerun.journal import Journal
from vigil.rerun.records import Asked, Decision, Rerun, Stage, asked_by, run_name
from vigil.rerun.worker import Desk


def only(journal: Journal) -> Rerun:
    (found,) = journal.newest(10)
    return found


def end(server: KubeflowServer, state: str) -> None:
    for run in server.runs:
        run["state"] = state


def test_a_moved_population_starts_one_run_that_carries_cause_event_and_evidence(
    server: KubeflowServer, desk: Desk, hire: Hire, journal: Journal
) -> None:
    asked = asked_by(verdict())
    taken = desk.take(asked)
    assert taken.rerun.decision is Decision.START
    hire().step()
    (run,) = server.runs
    given = run["runtime_config"]["parameters"]
    assert run["display_name"] == run_name("card_fraud", asked.event_id) == taken.rerun.run
    assert given["event_id"] == asked.event_id
    assert given["started_by"] == "policy:drift"
    assert given["cause"].startswith("population_moved: amounts are 1.4 times")
    assert "the median amount rose from 40 to 56" in given["cause"]
    assert json.loads(given["use_case"])["name"] == "card_fraud"
    assert given["deploy_target"] == "kserve"
    assert only(journal).stage is Stage.RUNNING
    assert only(journal).url == f"{server.url}/#/runs/details/{run['run_id']}"


@pytest.mark.parametrize("cause", [Cause.DATA_BROKEN, Cause.MODEL_WORSE, Cause.UNDECIDED])
def test_every_other_cause_starts_nothing_and_is_on_record(
    server: KubeflowServer, desk: Desk, hire: Hire, journal: Journal, cause: Cause
) -> None:
    desk.take(asked_by(verdict(cause)))
    assert hire().step() == 0
    assert server.asked == []
    assert only(journal).decision is Decision.NOTHING_TO_DO


def test_the_same_event_gets_the_same_run_however_often_it_comes(
    server: KubeflowServer, desk: Desk, hire: Hire, journal: Journal
) -> None:
    first = desk.take(asked_by(verdict()))
    hire().step()
    again = desk.take(asked_by(verdict()))
    assert (again.is_new, again.rerun.run) == (False, first.rerun.run)
    hire().step()
    assert len(server.runs) == 1
    assert only(journal).told == 2


def test_of_events_that_come_at_once_one_starts_a_run_and_the_others_belong_to_it(desk: Desk) -> None:
    same, others = [verdict()] * 8, [verdict(hours=hours) for hours in range(1, 5)]
    with ThreadPoolExecutor(12) as pool:
        taken = list(pool.map(desk.take, [asked_by(one) for one in (*same, *others)]))
    new = [one for one in taken if one.is_new]
    assert len(new) == 5
    assert [one.rerun.decision for one in new].count(Decision.START) == 1
    assert {one.rerun.run for one in taken} == {one.rerun.run for one in new if one.rerun.decision is Decision.START}


def test_a_create_that_answered_5xx_but_started_a_run_is_found_and_not_repeated(
    server: KubeflowServer, desk: Desk, hire: Hire, journal: Journal, clock: ManualClock
) -> None:
    server.faults = [Fault("POST", "/runs", 503, done=True)]
    desk.take(asked_by(verdict()))
    worker = hire()
    worker.step()
    assert only(journal).stage is Stage.INTENDED
    assert "503" in only(journal).trouble
    clock.advance(timedelta(seconds=91))
    worker.step()
    assert server.paths("POST").count("/runs") == 1
    assert only(journal).run_id == server.runs[0]["run_id"]


def test_a_create_that_was_not_answered_in_time_but_started_a_run_is_found_and_not_repeated(
    server: KubeflowServer, desk: Desk, hire: Hire, journal: Journal, clock: ManualClock
) -> None:
    server.faults = [Fault("POST", "/runs", 504, done=True, pause=30)]
    desk.take(asked_by(verdict()))
    worker = hire()
    worker.step()
    assert (only(journal).stage, worker.unanswered) == (Stage.INTENDED, 1)
    assert "timed out" in only(journal).trouble
    clock.advance(timedelta(seconds=91))
    worker.step()
    assert len(server.runs) == 1
    assert only(journal).stage is Stage.RUNNING


def test_a_create_that_failed_is_repeated_but_only_after_the_first_has_surely_ended(
    server: KubeflowServer, desk: Desk, hire: Hire, journal: Journal, clock: ManualClock
) -> None:
    server.faults = [Fault("POST", "/runs", 500)]
    desk.take(asked_by(verdict()))
    worker = hire()
    worker.step()
    clock.advance(timedelta(seconds=89))
    worker.step()
    assert server.runs == []
    clock.advance(timedelta(seconds=2))
    worker.step()
    assert len(server.runs) == 1
    assert only(journal).attempts == 2


def test_a_server_that_is_away_is_looked_for_again_before_anything_is_created(
    server: KubeflowServer, desk: Desk, hire: Hire, journal: Journal, clock: ManualClock
) -> None:
    server.faults = [Fault("GET", "/runs", 502, times=2)]
    desk.take(asked_by(verdict()))
    worker = hire()
    for _ in range(3):
        worker.step()
        clock.advance(timedelta(seconds=16))
    assert len(server.runs) == 1
    assert only(journal).attempts == 1


def test_a_start_that_the_server_refuses_for_good_is_a_failure_with_its_reason(
    server: KubeflowServer, desk: Desk, hire: Hire, journal: Journal
) -> None:
    server.faults = [Fault("POST", "/runs", 400, "no such parameter")]
    desk.take(asked_by(verdict()))
    hire().step()
    assert only(journal).stage is Stage.FAILED
    assert "no such parameter" in only(journal).outcome.reason  # type: ignore[union-attr]
    assert desk.take(asked_by(verdict(hours=1))).rerun.decision is Decision.START, "nothing ran, so nothing cools down"


def test_a_worker_that_died_after_the_intention_leaves_a_run_to_its_successor(
    server: KubeflowServer, desk: Desk, hire: Hire, journal: Journal, clock: ManualClock
) -> None:
    desk.take(asked_by(verdict()))
    first = hire()
    first.launcher.start(only(journal))  # the call went out, and the process was killed before it noted that
    clock.advance(timedelta(seconds=91))
    hire().step()
    assert len(server.runs) == 1
    assert only(journal).run_id == server.runs[0]["run_id"]


@pytest.mark.parametrize("state", ["SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"])
def test_every_end_of_a_run_is_on_record_and_told(
    server: KubeflowServer, desk: Desk, hire: Hire, journal: Journal, clock: ManualClock, state: str
) -> None:
    desk.take(asked_by(verdict()))
    worker = hire()
    worker.step()
    end(server, state)
    clock.advance(timedelta(seconds=16))
    worker.step()
    found = only(journal)
    assert (found.stage, found.ended) == (Stage(state.lower()), clock())
    (letter,) = journal.letters(clock())
    told = json.loads(letter.event)
    assert (told["type"], told["data"]["stage"]) == ("vigil.rerun.finished", state.lower())
    assert told["data"]["asked"]["event_id"] == found.asked.event_id
    assert found.outcome is not None
    assert ("gates rejected" in found.outcome.reason) == (state == "SUCCEEDED")
    worker.step()
    assert len(journal.letters(clock())) == 1


def test_the_version_that_was_registered_during_the_run_is_its_outcome(
    server: KubeflowServer, desk: Desk, hire: Hire, journal: Journal, clock: ManualClock
) -> None:
    desk.take(asked_by(verdict()))
    worker = hire()
    worker.step()
    clock.advance(timedelta(minutes=30))
    store = FolderStore(journal.folder.parent / "models")
    register(store, Registry(store, clock=clock))
    end(server, "SUCCEEDED")
    worker.step()
    found = only(journal)
    assert found.outcome is not None
    assert (found.stage, found.outcome.version) == (Stage.SUCCEEDED, "1")


def test_a_state_in_between_is_not_the_end(
    server: KubeflowServer, desk: Desk, hire: Hire, journal: Journal, clock: ManualClock
) -> None:
    desk.take(asked_by(verdict()))
    worker = hire()
    worker.step()
    for state in ("RUNNING", "PAUSED", "CANCELING", "A_STATE_OF_A_LATER_SERVER"):
        end(server, state)
        clock.advance(timedelta(seconds=16))
        worker.step()
        assert only(journal).stage is Stage.RUNNING


def test_a_server_that_refuses_to_show_a_run_does_not_end_it(
    server: KubeflowServer, desk: Desk, hire: Hire, journal: Journal, clock: ManualClock
) -> None:
    desk.take(asked_by(verdict()))
    worker = hire()
    worker.step()
    server.faults = [Fault("GET", "/runs/.*", 403)]
    clock.advance(timedelta(seconds=16))
    worker.step()
    assert only(journal).stage is Stage.RUNNING
    assert "VIGIL_KFP_TOKEN" in only(journal).trouble


def test_a_scheduled_training_that_goes_on_takes_the_event_up(
    server: KubeflowServer, desk: Desk, hire: Hire, journal: Journal
) -> None:
    first = hire()
    desk.take(asked_by(verdict()))
    first.step()
    server.runs[0]["display_name"] = "retraining-by-the-schedule"
    journal.change(only(journal).asked.event_id, stage=None, decision=Decision.NOTHING_TO_DO)
    later = asked_by(verdict(hours=1))
    desk.take(later)
    hire().step()
    found = journal.find(later.event_id)
    assert found is not None
    assert (found.decision, found.run) == (Decision.COALESCED, "retraining-by-the-schedule")
    assert len(server.runs) == 1


def finish(server: KubeflowServer, hire: Hire, clock: ManualClock) -> None:
    worker = hire()
    worker.step()
    end(server, "SUCCEEDED")
    clock.advance(timedelta(seconds=16))
    worker.step()


def test_after_a_run_the_next_has_to_wait_and_the_same_event_may_come_again(
    server: KubeflowServer, desk: Desk, hire: Hire, clock: ManualClock
) -> None:
    desk.take(asked_by(verdict()))
    finish(server, hire, clock)
    next_one = asked_by(verdict(hours=1))
    clock.advance(timedelta(hours=2))
    early = desk.take(next_one)
    assert (early.rerun.decision, early.retry_after) == (Decision.COOLING_DOWN, timedelta(hours=4))
    clock.advance(early.retry_after or timedelta())
    assert desk.take(next_one).rerun.decision is Decision.START


def test_another_model_neither_waits_nor_is_added(server: KubeflowServer, desk: Desk) -> None:
    desk.take(asked_by(verdict()))
    assert desk.take(asked_by(verdict(model="retail_pos"))).rerun.decision is Decision.START


def test_a_clock_that_was_set_back_makes_nobody_wait_longer_than_the_cool_down(
    server: KubeflowServer, desk: Desk, hire: Hire, clock: ManualClock
) -> None:
    desk.take(asked_by(verdict()))
    finish(server, hire, clock)
    clock.advance(timedelta(days=-30))
    assert desk.take(asked_by(verdict(hours=1))).retry_after == timedelta(hours=6)


def test_the_budget_of_a_day_holds_for_twenty_four_hours(
    server: KubeflowServer, desk: Desk, hire: Hire, clock: ManualClock
) -> None:
    for hours in range(3):
        assert desk.take(asked_by(verdict(hours=hours))).rerun.decision is Decision.START
        finish(server, hire, clock)
        clock.advance(timedelta(hours=6))
    refused = desk.take(asked_by(verdict(hours=9)))
    assert refused.rerun.decision is Decision.OVER_BUDGET
    clock.advance(refused.retry_after or timedelta())
    assert desk.take(asked_by(verdict(hours=9))).rerun.decision is Decision.START


def test_a_person_may_overrule_the_cool_down_but_not_a_run_that_goes_on(
    server: KubeflowServer, desk: Desk, hire: Hire, clock: ManualClock
) -> None:
    def by_hand(name: str, force: bool) -> Asked:
        return Asked(event_id=name, model="card_fraud", summary="new tills", started_by="person:kim", force=force)

    desk.take(asked_by(verdict()))
    assert desk.take(by_hand("hand-1", True)).rerun.decision is Decision.COALESCED
    finish(server, hire, clock)
    assert desk.take(by_hand("hand-2", False)).rerun.decision is Decision.COOLING_DOWN
    assert desk.take(by_hand("hand-3", True)).rerun.decision is Decision.START
    hire().step()
    assert server.runs[-1]["runtime_config"]["parameters"]["started_by"] == "person:kim"


def test_a_start_that_is_never_answered_is_given_up_and_told(
    server: KubeflowServer, desk: Desk, hire: Hire, journal: Journal, clock: ManualClock
) -> None:
    server.faults = [Fault("POST", "/runs", 500, times=100)]
    desk.take(asked_by(verdict()))
    worker = hire()
    for _ in range(25):
        worker.step()
        clock.advance(timedelta(hours=1))
    assert only(journal).stage is Stage.FAILED
    assert "given up after 20 attempts" in only(journal).outcome.reason  # type: ignore[union-attr]
    assert len(journal.letters(clock())) == 1


def test_only_one_of_two_workers_works(journal: Journal) -> None:
    with journal.alone() as first, journal.alone() as second:
        assert (first, second) == (True, False)
    with journal.alone() as third:
        assert third
