"""What a controller asks of the detector service, and whom it tells: over HTTP, on loopback ports."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.rollout.scene import START, Scene, counts, drift
from vigil.contracts.cloud_events import CloudEvent, read_event
from vigil.errors import ContractError, Unavailable
from vigil.monitoring.samples import Slot
from vigil.monitoring.verdicts import Cause
from vigil.rollout.controller import finished
from vigil.rollout.http import DetectorClient, HttpSinks, sinks_of
from vigil.rollout.status import Phase, Record
from vigil.settings import Settings

SLOT = Slot(source="decisions", number=7, start=70, seconds=10, arms={"m-v1": counts(100)})


@dataclass
class Other:
    """Someone at the other end."""

    url: str = ""
    answers: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    events: list[CloudEvent] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@contextmanager
def other() -> Iterator[Other]:
    found = Other()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            self._answer(found.status, found.answers.get(self.path.partition("?")[0]))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if found.status < 300:
                found.events.append(read_event(dict(self.headers), body))
            self._answer(found.status, None)

        def _answer(self, status: int, document: Any) -> None:
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_address[1]}/"
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def end() -> Iterator[Other]:
    with other() as found:
        yield found


def outcome() -> Record:
    scene = Scene(behaviour={"errors": 0.2}).until(Phase.ROLLED_BACK)
    return Record(spec=scene.spec, status=scene.status)


def test_slots_and_watch_come_as_they_were_written(end: Other) -> None:
    watched = drift(Cause.MODEL_WORSE)
    end.answers = {
        "/v1/slots/m": [SLOT.model_dump(mode="json", exclude_defaults=True)],
        "/v1/watch/m": [watched.model_dump(mode="json")],
    }
    client = DetectorClient(lambda: end.url)
    assert list(client.slots("m", 6)) == [SLOT]
    assert list(client.watch("m")) == [watched]
    assert end.asked == ["/v1/slots/m?after=6", "/v1/watch/m"]


def test_a_model_that_the_service_does_not_know_has_no_slots(end: Other) -> None:
    end.status = 404
    assert list(DetectorClient(lambda: end.url).slots("m", -1)) == []


@pytest.mark.parametrize(("status", "answer"), [(503, []), (200, {"hello": "world"}), (200, [{"number": "x"}])])
def test_an_answer_that_is_none_is_told(end: Other, status: int, answer: Any) -> None:
    end.status, end.answers = status, {"/v1/slots/m": answer}
    with pytest.raises(Unavailable, match=r"the detector service answers 503|does not answer as a detector service"):
        DetectorClient(lambda: end.url).slots("m", -1)


def test_a_service_that_is_gone_is_told() -> None:
    with other() as gone:
        pass
    with pytest.raises(Unavailable, match="does not answer"):
        DetectorClient(lambda: gone.url).watch("m")


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(ContractError, match="is no address: give http"):
        DetectorClient(lambda: "monitor").watch("m")


def test_the_outcome_is_told_to_every_sink_once(end: Other) -> None:
    record = outcome()
    event = finished(record, "r1-rolled_back", START)
    with other() as second:
        sinks = sinks_of(Settings(event_sinks=f"{end.url}, {second.url}"))
        sinks.send(event)
        sinks.send(event)
        told = [*end.events, *second.events]
    assert [one.id for one in told] == ["r1-rolled_back"] * 2
    assert (told[0].type, told[0].subject) == ("vigil.rollout.finished", "m")
    content = told[0].json()
    assert (content["outcome"], content["candidate"], content["production"]) == ("rolled_back", "2", "1")
    assert "Worse in errors" in content["cause"]


def test_a_sink_that_is_down_is_told_later_and_the_other_not_twice(end: Other) -> None:
    event = finished(outcome(), "r1-rolled_back", START)
    with other() as second:
        second.status = 503
        sinks = HttpSinks([end.url, second.url])
        with pytest.raises(Unavailable, match="answers 503"):
            sinks.send(event)
        second.status = 202
        sinks.send(event)
        assert (len(end.events), len(second.events)) == (1, 1)


def test_a_sink_that_refuses_the_event_for_good_is_left_alone(end: Other) -> None:
    end.status = 400
    HttpSinks([end.url]).send(finished(outcome(), "r1-rolled_back", START))
