"""`vigil up` to `vigil down` with the real ModelServers and the bundle of the first release."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

from tests.runtime.world import World, alive
from vigil.contracts.keys import ModelName
from vigil.monitoring.samples import Slot
from vigil.registry.bundle import BundleRef, bundle_path, load_bundle
from vigil.registry.registry import Registry
from vigil.registry.stages import Stage
from vigil.registry.store import FolderStore
from vigil.runtime.client import RuntimeClient
from vigil.runtime.ports import free_ports
from vigil.runtime.status import State
from vigil.settings import Settings

FIXTURES = Path(__file__).parents[1] / "registry" / "fixtures"
RELEASE, KEY = FIXTURES / "release_0_1", FIXTURES / "release_0_1.public.pem"
EVENT = {
    "event_id": "E1",
    "event_time": "2026-06-08T10:00:00Z",
    "amount": 12.5,
    "customer_id": "C1",
    "terminal_id": "T1",
    "card_id": "K1",
}
pytestmark = pytest.mark.xdist_group("real-servers")  # the tests are one story
PREDICT = "/v1/models/card_fraud:predict"


class Terminal:
    """Runs `vigil` as a user would, in a home of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port, self.grpc_port = free_ports("127.0.0.1", 2)
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("VIGIL_")}
        self.environment |= {"VIGIL_HOME": str(home), "VIGIL_PUBLIC_KEY": str(KEY)}
        self.client = RuntimeClient(Settings(home=home))
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30, trust_env=False)

    def run(self, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "vigil", *arguments]
        environment = self.environment | variables
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, check=False)

    def succeed(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def up(self) -> str:
        return self.succeed("up", "--port", str(self.port), "--grpc-port", str(self.grpc_port))


def _register(home: Path) -> None:
    """Put the bundle of the first release into a store and into production."""
    store, digest = FolderStore(home / "models"), load_bundle(RELEASE).hash
    shutil.copytree(RELEASE, home / "models" / bundle_path(digest))
    registry = Registry(store)
    found = registry.register(BundleRef(digest, ""), actor="person:ana", reason="test")
    for stage in (Stage.STAGING, Stage.PRODUCTION):
        registry.promote(
            ModelName("card_fraud"), found.version, stage, expected_production=None, actor="person:ana", reason="test"
        )


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """A terminal at whose runtime the release is deployed."""
    made = Terminal(tmp_path_factory.mktemp("runtime") / "home")
    _register(made.home)
    made.up()
    try:
        assert "card_fraud-v1 is ready and has 100 % of the traffic" in made.succeed("deploy", "card_fraud")
        yield made
    finally:
        made.run("down", "--force")
        made.http.close()


def _predict(terminal: Terminal, **changes: Any) -> httpx.Response:
    return terminal.http.post(PREDICT, json={"instances": [EVENT | changes]})


def test_a_deployed_model_decides_and_names_its_revision(terminal: Terminal) -> None:
    response = _predict(terminal)
    assert response.status_code == 200
    assert response.headers.get_list("x-vigil-revision") == ["card_fraud-v1"]
    (decision,) = response.json()["predictions"]
    assert decision["action"] in ("allow", "alert", "hold")
    assert (decision["revision"], decision["model_version"]) == ("card_fraud-v1", "1")


def test_a_mistake_of_the_client_is_answered_by_the_server_and_is_no_error_of_the_revision(terminal: Terminal) -> None:
    response = _predict(terminal, amount="much")
    assert response.status_code in (400, 422)
    assert "amount" in response.text
    served = terminal.client.revision("card_fraud-v1").served
    assert served.errors == 0
    assert served.by_code[f"http {response.status_code}"] >= 1


def test_grpc_goes_through_the_splitter_too(terminal: Terminal) -> None:
    request = pb.ModelInferRequest(model_name="card_fraud", id="r1")
    for name, value in EVENT.items():
        column = request.inputs.add(name=name, shape=[1], datatype="FP64" if name == "amount" else "BYTES")
        if isinstance(value, float):
            column.contents.fp64_contents.append(value)
        else:
            column.contents.bytes_contents.append(str(value).encode())
    with grpc.insecure_channel(f"127.0.0.1:{terminal.grpc_port}") as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        answer, made = call.with_call(request.SerializeToString(), metadata=[("x-vigil-entity", "C1")], timeout=60)
    decided = pb.ModelInferResponse.FromString(answer)
    assert dict(made.trailing_metadata())["x-vigil-revision"] == "card_fraud-v1"
    assert "action" in [output.name for output in decided.outputs]
    assert terminal.client.revision("card_fraud-v1").served.by_code["grpc OK"] >= 1


def test_status_is_one_table_and_the_endpoint(terminal: Terminal) -> None:
    text = terminal.succeed("status")
    (row,) = [line.split() for line in text.splitlines() if "card_fraud-v1" in line]
    assert row[:6] == ["card_fraud", "1", "card_fraud-v1", "ready", "100", "%"]
    header = next(line.split() for line in text.splitlines() if "restarts" in line)
    assert header[:4] == ["model", "version", "revision", "state"]
    assert header[4:] == ["traffic", "shadow", "requests", "errors", "restarts", "ready", "since"]
    assert f"http://127.0.0.1:{terminal.port}" in text
    assert "Detector service http://127.0.0.1:" in text


def test_status_as_json_is_for_programs(terminal: Terminal) -> None:
    (revision,) = json.loads(terminal.succeed("status", "--json"))["revisions"]
    assert (revision["state"], revision["traffic"], revision["restarts"]) == ("ready", 100.0, 0)


def test_logs_show_what_each_process_said(terminal: Terminal) -> None:
    text = terminal.succeed("logs", "card_fraud-v1")
    assert {line.split()[0] for line in text.splitlines()} == {"predictor", "transformer"}
    assert "bundle loaded" in terminal.succeed("logs", "card_fraud-v1", "--process", "predictor")
    refused = terminal.run("logs", "nobody")
    assert refused.returncode == 1
    assert "`vigil status` lists the revisions" in refused.stderr


def test_what_is_decided_is_seen_by_the_detector_service_with_the_vectors(terminal: Terminal) -> None:
    for number in range(5):
        (decision,) = _predict(terminal, event_id=f"seen-{number}").json()["predictions"]
        assert decision["vector"]
    monitor = terminal.client.status().monitor
    assert monitor is not None
    World.until(lambda: _answers(f"{monitor.url}/readyz"), 60)
    World.until(lambda: _scored(f"{monitor.url}/v1/slots/card_fraud") >= 5, 60)
    text = terminal.succeed("monitor", "status", "card_fraud")
    (row,) = [line.split() for line in text.splitlines() if "card_fraud-v1" in line]
    assert row[:3] == ["card_fraud", "card_fraud-v1", "warming"]
    assert "bundle loaded" in terminal.succeed("logs", "monitor")


def test_a_detector_service_that_is_killed_comes_back_and_knows_what_it_knew(terminal: Terminal) -> None:
    before = terminal.client.status().monitor
    assert before is not None
    assert before.pid is not None
    seen, state = httpx.get(f"{before.url}/v1/watch/card_fraud").json()[0]["rows"], terminal.home / "monitor/state.json"
    World.until(lambda: state.exists() and f'"rows":{seen},' in state.read_text(), 30)
    os.kill(before.pid, signal.SIGKILL)

    def is_back() -> bool:
        now = terminal.client.status().monitor
        return now is not None and now.restarts == 1 and _answers(f"{now.url}/readyz")

    World.until(is_back, 60)
    assert _predict(terminal, event_id="after").status_code == 200
    World.until(lambda: httpx.get(f"{before.url}/v1/watch/card_fraud").json()[0]["rows"] == seen + 1, 30)


def _scored(url: str) -> int:
    """Return the decisions of the revision in all closed slots."""
    slots = [Slot.model_validate(slot) for slot in httpx.get(url).json()]
    return sum(slot.arms["card_fraud-v1"].scored for slot in slots)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


def test_a_bundle_that_is_not_the_registered_one_is_given_up_at_once_and_says_why(terminal: Terminal) -> None:
    """The server refuses it, with the status that says that another start would change nothing."""
    folder = terminal.home / "models" / bundle_path(load_bundle(RELEASE).hash)
    (folder / "policy.json").rename(folder / "policy.away")
    try:
        done = terminal.run("deploy", "card_fraud", "--name", "broken", "--traffic", "50")
    finally:
        (folder / "policy.away").rename(folder / "policy.json")
    assert done.returncode == 1
    assert "revision broken failed and gets no traffic: the predictor ended with status 78 at its start" in done.stderr
    assert "policy" in done.stderr
    assert _predict(terminal).headers["x-vigil-revision"] == "card_fraud-v1"
    assert terminal.client.revision("broken").restarts == 0
    terminal.client.remove("broken")


def test_a_second_up_names_the_runtime_that_is_running(terminal: Terminal) -> None:
    done = terminal.run("up", "--port", str(terminal.port))
    assert done.returncode == 1
    assert f"running already (pid {terminal.client.status().pid}" in done.stderr


def test_an_unknown_model_is_refused_before_anything_starts(terminal: Terminal) -> None:
    done = terminal.run("deploy", "nothing")
    assert done.returncode == 1
    assert "nothing" in done.stderr
    assert len(terminal.client.status().revisions) == 1


def test_down_stops_all_and_leaves_only_what_is_not_its_own(terminal: Terminal) -> None:
    status = terminal.client.status()
    assert status.monitor is not None
    assert status.monitor.pid is not None
    pids = [status.pid, status.monitor.pid, *(one.pid for one in status.revisions[0].processes if one.pid)]
    assert status.revisions[0].state is State.READY
    assert terminal.succeed("down") == "The runtime is down.\n"
    assert alive(pids) == []
    assert not (terminal.home / "runtime").exists()
    assert terminal.succeed("down") == "No runtime was running.\n"
    assert "start one by `vigil up`" in terminal.run("status").stderr
