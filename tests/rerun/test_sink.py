"""The sink as it is run: a process on a port, killed in the middle of its work."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.orchestration.kubeflow_server import Fault, KubeflowServer
from tests.rerun.processes import Receiver, Sink, until
from tests.rerun.verdicts import binary, structured, verdict
from vigil.monitoring.verdicts import Cause, DriftVerdict
from vigil.rerun.records import run_name

pytestmark = pytest.mark.xdist_group("rerun-sink")


def served(server: KubeflowServer, receiver: Receiver, pipeline: Path, home: Path) -> Sink:
    defaults = {"pipeline": str(pipeline), "parameters": {"gate": "/nowhere"}}
    rules = {"poll_seconds": 0.1, "settle_seconds": 1, "defaults": defaults}
    return Sink(home, rules, {"VIGIL_KFP_HOST": server.url, "VIGIL_EVENT_SINKS": receiver.url}).start()


@dataclass
class World:
    server: KubeflowServer
    receiver: Receiver
    sink: Sink

    def runs(self, event: DriftVerdict) -> list[dict[str, Any]]:
        name = run_name(event.model, event.id)
        return [one for one in self.server.runs if one["display_name"] == name]

    def rerun(self, event: DriftVerdict) -> dict[str, Any]:
        found: dict[str, Any] = self.sink.get(f"v1/reruns/{event.id}").json()
        return found


@pytest.fixture(scope="module")
def world(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One sink for all tests, each of which has a model of its own."""
    server, receiver = KubeflowServer(), Receiver()
    sink = served(server, receiver, tiny, tmp_path_factory.mktemp("sink"))
    yield World(server, receiver, sink)
    assert sink.stop() == 0
    server.close()
    receiver.close()


def test_the_sink_answers_by_what_it_decided_and_tells_the_end_until_it_is_heard(world: World) -> None:
    server, sink, receiver = world.server, world.sink, world.receiver
    receiver.unwilling = 2
    first = sink.post(**binary(verdict()))
    assert (first.status_code, first.json()["decision"]) == (202, "start")
    again = sink.post(**structured(verdict()))
    assert (again.status_code, again.json()["run"]) == (200, first.json()["run"])
    held = sink.post(**binary(verdict(Cause.DATA_BROKEN)))
    assert (held.status_code, held.json()["decision"]) == (200, "nothing_to_do")
    until(lambda: server.runs, "a run")
    joined = sink.post(**binary(verdict(hours=1)))
    assert (joined.status_code, joined.json()["decision"]) == (200, "coalesced")
    assert joined.json()["run"] == first.json()["run"]
    server.runs[0]["state"] = "CANCELED"
    until(lambda: receiver.events, "the news of the end")
    assert receiver.events[0]["data"]["stage"] == "canceled"
    refused = sink.post(**binary(verdict(hours=2)))
    assert (refused.status_code, refused.json()["decision"]) == (429, "cooling_down")
    assert 21_000 < int(refused.headers["Retry-After"]) <= 21_600
    assert len(server.runs) == 1
    text = sink.get("metrics").text
    assert 'vigil_rerun_events_total{decision="coalesced"} 1.0' in text
    assert 'vigil_rerun_runs{stage="canceled"} 1.0' in text
    until(lambda: "vigil_rerun_letters_waiting 0.0" in sink.get("metrics").text, "an empty outbox")
    assert (sink.get("healthz").status_code, sink.get("readyz").status_code) == (200, 200)
    assert sink.get(f"v1/reruns/{verdict().id}").json()["told"] == 2
    assert len(receiver.events) == 1


def test_duplicates_that_arrive_at_once_are_one_run(world: World) -> None:
    event = verdict(model="retail_pos")
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: world.sink.post(**binary(event)), range(12)))
    assert sorted(one.status_code for one in answers) == [200] * 11 + [202]
    until(lambda: world.rerun(event)["stage"] == "running", "a run")
    assert len(world.runs(event)) == 1


def test_what_is_no_drift_verdict_is_refused_with_the_field_or_starts_nothing(world: World) -> None:
    sink, before = world.sink, world.sink.get("v1/reruns").json()
    event = binary(verdict(hours=5))
    other = {**event, "headers": {**event["headers"], "ce-type": "vigil.drift.ended"}}
    assert sink.post(**other).status_code == 200
    wrong = {**event, "content": event["content"].replace(b'"rerun"', b'"panic"')}
    assert (sink.post(**wrong).status_code, sink.post(**wrong).json()["error"][:12]) == (400, "data.answer:")
    nameless = {**event, "headers": {name: value for name, value in event["headers"].items() if name != "ce-id"}}
    assert "ce-id" in sink.post(**nameless).json()["error"]
    assert sink.post(content=b"{}").status_code == 400
    assert sink.post(**{**event, "content": b"x" * (2 << 20)}).status_code == 413
    assert sink.get("v1/reruns?limit=many").status_code == 400
    assert sink.get("v1/reruns/unknown").status_code == 404
    assert sink.get("v1/reruns").json() == before


def test_a_sink_killed_between_the_intention_and_the_start_starts_one_run_when_it_is_back(world: World) -> None:
    server, sink, event = world.server, world.sink, verdict(model="killed_before")
    before = len(server.paths("GET"))
    server.faults = [Fault("GET", "/runs", 503, pause=60)]
    assert sink.post(**binary(event)).status_code == 202
    until(lambda: "/runs" in server.paths("GET")[before:], "a look at the runs")
    sink.kill()
    assert world.runs(event) == []
    sink.start()
    assert sink.post(**binary(event)).status_code == 200
    until(lambda: world.rerun(event)["stage"] == "running", "a run")
    assert len(world.runs(event)) == 1


def test_a_sink_killed_while_the_server_starts_the_run_finds_it_when_it_is_back(world: World) -> None:
    server, sink, event = world.server, world.sink, verdict(model="killed_after")
    server.faults = [Fault("POST", "/runs", 503, done=True, pause=60)]
    sink.post(**binary(event))
    until(lambda: world.runs(event), "a run")
    sink.kill()
    sink.start()
    until(lambda: world.rerun(event)["stage"] == "running", "the run to be found")
    assert [one["run_id"] for one in world.runs(event)] == [world.rerun(event)["run_id"]]
