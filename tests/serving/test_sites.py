"""The predictor of sites as a process, over every protocol, with the registry, the alert desk's door and restarts."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as service

from tests.fleet.panels import START
from tests.serving.hostile import JSON, Reply, Shot, Target, bombard, shots
from tests.serving.processes import Served
from tests.serving.test_hostile import check
from tests.training.sites.samples import FIRST, NEXT, Fleet, values
from vigil.alerts.reading import read_signals
from vigil.clock import HOUR, from_micros
from vigil.contracts.cloud_events import CloudEvent, read_event
from vigil.fleet.live import open_live
from vigil.fleet.panel import Series
from vigil.training.sites.rollback import roll_back_site

pytestmark = pytest.mark.xdist_group("serving-sites")

PATH = "/v1/models/chain:predict"
Mistake = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    found = Fleet(tmp_path_factory.mktemp("sites") / "home")
    found.run(values()[:, :FIRST])
    found.run(values()[:, :NEXT])
    return found


@pytest.fixture(scope="module")
def heard() -> Iterator[tuple[str, list[CloudEvent]]]:
    """The address of a sink, and what it has heard."""
    events: list[CloudEvent] = []

    class Sink(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            events.append(read_event(dict(self.headers), self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(202)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", events
    server.shutdown()
    server.server_close()


@contextmanager
def serving(fleet: Fleet, sink: str) -> Iterator[Served]:
    flags = {"model_name": "chain", "fleet": "chain", "most_shards": 2, "refresh_seconds": 0.3, "drain_seconds": 0.1}
    server = Served("sites", fleet.home, flags, {"VIGIL_EVENT_SINKS": sink})
    try:
        yield server.wait_until()
    finally:
        server.close()


@pytest.fixture(scope="module")
def server(fleet: Fleet, heard: tuple[str, list[CloudEvent]]) -> Iterator[Served]:
    with serving(fleet, heard[0]) as server:
        yield server


def reading(site: str, hour: int, value: float | None = None) -> dict[str, Any]:
    found = float(values()[int(site[1:])][hour]) if value is None else value
    return {"site": site, "metric": "sales", "time": from_micros(START + hour * HOUR).isoformat(), "value": found}


def told(server: Served, *readings: dict[str, Any], path: str = PATH) -> list[dict[str, Any]]:
    answer = server.post(path, {"instances": list(readings)})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["predictions"])


def until(holds: Callable[[], bool]) -> None:
    limit = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_a_reading_is_answered_as_the_fleet_scores_it_offline_in_numbers_and_words(
    fleet: Fleet, server: Served, tmp_path: Path
) -> None:
    found = told(server, *[reading("S0001", NEXT + hour) for hour in range(30)])
    offline = open_live(fleet.shard_with("S0001"), tmp_path).score(
        [
            (Series("S0001", "sales"), START + (NEXT + hour) * HOUR, float(values()[1][NEXT + hour]))
            for hour in range(30)
        ]
    )
    for name in ("surprise", "z", "expected", "low", "high", "threshold", "flagged"):
        assert [answer[name] for answer in found] == getattr(offline, name).tolist(), name
    last = found[-1]
    assert (last["basis"], last["known"], last["kind"], last["missed"]) == ("site", True, "normal", 0)
    assert last["site_version"] == fleet.shard_with("S0001").records["S0001"].version
    assert last["model_version"] == "2"
    assert last["reasons"][0].startswith("expected ")
    assert "its own history of" in last["reasons"][-1]


def test_readings_of_several_shards_are_answered_in_the_order_of_the_request(server: Served) -> None:
    sites = [f"S{number:04d}" for number in (7, 0, 11, 2, 3, 1)]
    answers = told(server, *[reading(site, NEXT) for site in sites], path="/v1/models/chain:explain")
    assert [answer["site"] for answer in answers] == sites


def test_an_unknown_site_is_judged_by_the_model_of_all_sites_and_flagged_as_such(server: Served) -> None:
    answer = told(server, {**reading("S0001", NEXT), "site": "opened yesterday"})[0]
    assert (answer["basis"], answer["known"]) == ("global", False)
    assert "all sites" in answer["reasons"][-1]


def test_v2_over_rest_and_grpc_answers_as_v1_does(server: Served) -> None:
    rows = [reading("S0004", NEXT + hour) for hour in range(3)]
    expected = told(server, *rows, path="/v1/models/chain:explain")
    columns = {name: [row[name] for row in rows] for name in ("site", "metric", "time")}
    inputs = [{"name": name, "datatype": "BYTES", "shape": [3], "data": data} for name, data in columns.items()]
    inputs.append({"name": "value", "datatype": "FP64", "shape": [3], "data": [row["value"] for row in rows]})
    answer = server.post("/v2/models/chain/infer", {"inputs": inputs})
    assert answer.status_code == 200, answer.text
    outputs = {output["name"]: output["data"] for output in answer.json()["outputs"]}
    for name in ("surprise", "z", "expected", "site_version", "kind", "flagged"):
        assert outputs[name] == [row[name] for row in expected], name
    more = [reading("S0004", NEXT + hour) for hour in range(3, 5)]
    expected = told(server, *more, path="/v1/models/chain:explain")
    request = pb.ModelInferRequest(model_name="chain")
    for name in ("site", "metric", "time"):
        contents = pb.InferTensorContents(bytes_contents=[row[name].encode() for row in more])
        request.inputs.add(name=name, datatype="BYTES", shape=[2], contents=contents)
    contents = pb.InferTensorContents(fp64_contents=[row["value"] for row in more])
    request.inputs.add(name="value", datatype="FP64", shape=[2], contents=contents)
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        response = service.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=30)
    found = {output.name: list(output.contents.fp64_contents) for output in response.outputs}
    assert found["surprise"] == [row["surprise"] for row in expected]


MISTAKES: tuple[tuple[str, str, Mistake], ...] = (
    ("no site", "site", lambda row: row.pop("site")),
    ("a number as site", "site", lambda row: row.update(site=7)),
    ("an unknown metric", "metric", lambda row: row.update(metric="moons")),
    ("a time without zone", "time", lambda row: row.update(time="2025-04-20T10:00:00")),
    ("a time far ahead", "time", lambda row: row.update(time="2999-01-01T00:00:00Z")),
    ("no number", "value", lambda row: row.update(value="12")),
    ("null", "value", lambda row: row.update(value=None)),
    ("a huge number", "value", lambda row: row.update(value=1e300)),
    ("a foreign field", "colour", lambda row: row.update(colour="red")),
)


@pytest.mark.parametrize(("field", "mistake"), [one[1:] for one in MISTAKES], ids=[one[0] for one in MISTAKES])
def test_a_mistake_of_the_client_names_field_and_row_and_nothing_is_learned(
    server: Served, field: str, mistake: Mistake
) -> None:
    witness = told(server, reading("S0009", NEXT), path="/v1/models/chain:explain")
    row = reading("S0009", NEXT + 1)
    mistake(row)
    answer = server.post(PATH, {"instances": [reading("S0009", NEXT), row]})
    assert answer.status_code == 422
    assert (answer.json()["error"]["field"], answer.json()["error"]["row"]) == (field, 1)
    assert told(server, reading("S0009", NEXT), path="/v1/models/chain:explain") == witness


def test_late_and_repeated_readings_say_so_and_are_never_flagged(server: Served) -> None:
    told(server, *[reading("S0005", NEXT + hour) for hour in range(12)])
    again, late = told(server, reading("S0005", NEXT + 11), reading("S0005", NEXT + 4, 1e6))
    assert (again["kind"], late["kind"]) == ("duplicate", "late")
    assert not again["flagged"] and not late["flagged"]


def test_a_finding_reaches_the_alert_desk_in_its_own_words_once_under_one_id(
    server: Served, heard: tuple[str, list[CloudEvent]]
) -> None:
    told(server, *[reading("S0007", NEXT + hour) for hour in range(12)])
    found = told(server, *[reading("S0007", NEXT + hour, 0.0) for hour in range(12, 24)])
    flagged = [answer for answer in found if answer["flagged"]]
    assert flagged
    until(lambda: {answer["finding_id"] for answer in flagged} <= {event.id for event in heard[1]})
    event = next(event for event in heard[1] if event.id == flagged[0]["finding_id"])
    assert event.type == "vigil.site.finding"
    (signal,) = read_signals(event, datetime.now(UTC)).signals
    assert (signal.site, signal.metric, signal.model) == ("S0007", "sales", "chain")
    assert signal.version == flagged[0]["site_version"]
    assert signal.value == 0.0
    assert Counter(one.id for one in heard[1]).most_common(1)[0][1] == 1


def test_who_is_silent_is_found_when_asked(server: Served, heard: tuple[str, list[CloudEvent]]) -> None:
    told(server, *[reading("S0003", NEXT + hour) for hour in range(3)])
    moment = from_micros(START + (NEXT + 30) * HOUR).isoformat()
    answer = server.post("/v1/models/chain:silence", {"until": moment})
    assert answer.status_code == 200, answer.text
    silent = [one for one in answer.json()["findings"] if one["site"] == "S0003"]
    assert silent and {one["kind"] for one in silent} == {"silence"}
    assert server.post("/v1/models/chain:silence", {"until": moment}).json()["findings"] == []
    until(lambda: any(event.subject == "S0003/sales" for event in heard[1]))
    assert server.post("/v1/models/chain:silence", {"until": "soon"}).status_code == 422


def test_memory_holds_two_shards_and_the_metrics_name_no_site(server: Served) -> None:
    for site in ("S0000", "S0001", "S0004"):
        told(server, reading(site, NEXT), path="/v1/models/chain:explain")
    text = server.http.get("/metrics").text
    assert 'vigil_site_shards{revision="local"} 2.0' in text
    assert 'vigil_site_readings_total{basis="site",kind="normal",revision="local"}' in text
    assert "S0001" not in text


def test_hostile_readings_are_scored_or_refused_and_leave_the_server_well(server: Served) -> None:
    document = {"instances": [reading("S0010", NEXT + hour) for hour in range(3)]}
    inputs = [
        {"name": name, "datatype": "FP64" if name == "value" else "BYTES", "shape": [1], "data": [content]}
        for name, content in reading("S0010", NEXT + 3).items()
    ]
    targets = [
        Target("sites", PATH, JSON, document),
        Target("sites", "/v1/models/chain:explain", JSON, document),
        Target("sites", "/v1/models/chain:silence", JSON, {"until": reading("S0010", NEXT)["time"]}),
        Target("sites", "/v2/models/chain/infer", JSON, {"inputs": inputs}),
    ]
    statuses: Counter[int] = Counter()

    def count_and_check(shot: Shot, reply: Reply) -> None:
        statuses[reply.status] += 1
        check(shot, reply)

    asyncio.run(bombard({"sites": server.port}, list(shots(targets, 600, 20261126)), count_and_check))
    assert min(statuses[200], statuses[400], statuses[422]) > 10, statuses
    assert "request failed" not in server.errors
    assert server.is_ready()


def test_a_rollback_of_a_site_is_served_without_a_restart_and_a_crash_forgets_nothing(
    fleet: Fleet, server: Served, heard: tuple[str, list[CloudEvent]]
) -> None:
    told(server, *[reading("S0002", NEXT + hour) for hour in range(20)])
    asked = [reading("S0002", NEXT + 20)]
    before = told(server, *asked, path="/v1/models/chain:explain")
    other = next(site for site in fleet.shard_with("S0002").records if site != "S0002")
    published, earlier = roll_back_site(fleet.registry, fleet.settings, "chain", other, ("person:ann", "a test"))
    row = reading(other, NEXT + 60)
    until(lambda: told(server, row, path="/v1/models/chain:explain")[0]["site_version"] == earlier.version)
    after = told(server, *asked, path="/v1/models/chain:explain")
    assert after == [{**before[0], "model_version": published.version}]
    server.process.kill()
    server.process.wait()
    with serving(fleet, heard[0]) as again:
        assert told(again, *asked, path="/v1/models/chain:explain") == after
        assert again.stop() == 0
