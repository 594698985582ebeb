"""The sink as it is run: a process on a port, killed in the middle of its work."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.orchestration.kubeflow_server import Fault, KubeflowServer
from tests.rerun.processes import Receiver, Sink, until
from tests.rerun.verdicts import binary, structured, verdict
from vigil.monitoring.verdicts import Cause

Made = Iterator[Sink]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def sink(server: KubeflowServer, receiver: Receiver, data: Path, tmp_path: Path) -> Iterator[Sink]:
    rules = {"poll_seconds": 0.1, "settle_seconds": 1, "defaults": {"data": str(data)}}
    sink = Sink(tmp_path / "home", rules, {"VIGIL_KFP_HOST": server.url, "VIGIL_EVENT_SINKS": receiver.url}).start()
    yield sink
    assert sink.stop() == 0


def test_the_sink_answers_by_what_it_decided_and_tells_the_end_until_it_is_heard(
    server: KubeflowServer, sink: Sink, receiver: Receiver
) -> None:
    receiver.unwilling = 2
    first = sink.post(binary(verdict()))
    assert (first.status_code, first.json()["decision"]) == (202, "start")
    again = sink.post(structured(verdict()))
    assert (again.status_code, again.json()["run"]) == (200, first.json()["run"])
    held = sink.post(binary(verdict(Cause.DATA_BROKEN)))
    assert (held.status_code, held.json()["decision"]) == (200, "nothing_to_do")
    until(lambda: server.runs, "a run")
    joined = sink.post(binary(verdict(hours=1)))
    assert (joined.status_code, joined.json()["decision"]) == (200, "coalesced")
    assert joined.json()["run"] == first.json()["run"]
    server.runs[0]["state"] = "CANCELED"
    until(lambda: receiver.events, "the news of the end")
    assert receiver.events[0]["data"]["stage"] == "canceled"
    refused = sink.post(binary(verdict(hours=2)))
    assert (refused.status_code, refused.json()["decision"]) == (429, "cooling_down")
    assert 21_000 < int(refused.headers["Retry-After"]) <= 21_600
    assert len(server.runs) == 1
    text = sink.get("metrics").text
    assert 'vigil_rerun_events_total{decision="coalesced"} 1.0' in text
    assert 'vigil_rerun_runs{stage="canceled"} 1.0' in text
    assert "vigil_rerun_letters_waiting 0.0" in text
    assert (sink.get("healthz").status_code, sink.get("readyz").status_code) == (200, 200)
    assert sink.get(f"v1/reruns/{verdict().id}").json()["told"] == 2
    assert len(receiver.events) == 1


def test_duplicates_that_arrive_at_once_are_one_run(server: KubeflowServer, sink: Sink) -> None:
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: sink.post(binary(verdict())), range(12)))
    assert sorted(one.status_code for one in answers) == [200] * 11 + [202]
    until(lambda: sink.only()["stage"] == "running", "a run")
    assert server.paths("POST").count("/runs") == 1


def test_what_is_no_drift_verdict_is_refused_with_the_field_or_starts_nothing(
    server: KubeflowServer, sink: Sink
) -> None:
    event = binary(verdict())
    other = {**event, "headers": {**event["headers"], "ce-type": "vigil.drift.ended"}}
    assert sink.post(other).status_code == 200
    wrong = {**event, "content": event["content"].replace(b'"rerun"', b'"panic"')}
    assert (sink.post(wrong).status_code, sink.post(wrong).json()["error"][:12]) == (400, "data.answer:")
    nameless = {**event, "headers": {name: value for name, value in event["headers"].items() if name != "ce-id"}}
    assert "ce-id" in sink.post(nameless).json()["error"]
    assert sink.post({"content": b"{}"}).status_code == 400
    assert sink.post({**event, "content": b"x" * (2 << 20)}).status_code == 413
    assert sink.get("v1/reruns?limit=many").status_code == 400
    assert sink.get("v1/reruns/unknown").status_code == 404
    assert sink.get("v1/reruns").json() == []


def test_a_sink_killed_between_the_intention_and_the_start_starts_one_run_when_it_is_back(
    server: KubeflowServer, sink: Sink
) -> None:
    server.faults = [Fault("GET", "/runs", 503, pause=60)]
    assert sink.post(binary(verdict())).status_code == 202
    until(lambda: "/runs" in server.paths("GET"), "a look at the runs")
    sink.kill()
    assert server.runs == []
    sink.start()
    assert sink.post(binary(verdict())).status_code == 200
    until(lambda: sink.only()["stage"] == "running", "a run")
    assert len(server.runs) == 1


def test_a_sink_killed_while_the_server_starts_the_run_finds_it_when_it_is_back(
    server: KubeflowServer, sink: Sink
) -> None:
    server.faults = [Fault("POST", "/runs", 503, done=True, pause=60)]
    sink.post(binary(verdict()))
    until(lambda: server.runs, "a run")
    sink.kill()
    sink.start()
    until(lambda: sink.only()["stage"] == "running", "the run to be found")
    assert len(server.runs) == 1
    assert sink.only()["run_id"] == server.runs[0]["run_id"]
