"""Deployments to a real local runtime: the same rules as on a cluster, and the past of the training run."""

import http.client
import json
import shutil
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from vigil.clock import to_micros
from vigil.contracts.events import Transaction, to_table
from vigil.decisions.bundled import load_decider
from vigil.decisions.decider import Asked, Decider
from vigil.deployment import Deployment, DeployRequest, deploy
from vigil.errors import ContractError, Unavailable
from vigil.features.engine import compute, compute_tables, new_state
from vigil.features.log import EventLog
from vigil.features.states import write_states
from vigil.members.base import FeatureMatrix
from vigil.registry.bundle import load_bundle
from vigil.runtime import daemon
from vigil.runtime.client import RuntimeClient
from vigil.runtime.supervisor import RuntimeConfig
from vigil.settings import Settings

RELEASE = Path(__file__).parents[1] / "registry" / "fixtures" / "release_0_1"
MODEL = "card_fraud"
BUNDLE = load_bundle(RELEASE)
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
Deploy = Callable[..., Deployment]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The settings of a runtime that runs."""
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    daemon.start(RuntimeConfig(settings=settings, port=free_port(), grpc_port=None, grace_seconds=1, monitor=False))
    yield settings
    RuntimeClient(settings).down(force=True)


@pytest.fixture(scope="module")
def decider() -> Decider:
    return load_decider(BUNDLE)


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory, decider: Decider) -> Path:
    """The sealed states after the history."""
    folder = tmp_path_factory.mktemp("states")
    program = decider.schema.compile()
    state = new_state(program)
    compute(program, EventLog.of({Transaction.kind: to_table(Transaction, history())}), state)
    write_states(folder, program, state, until=to_micros(NOON))
    return folder


def history() -> list[Transaction]:
    return [purchase(f"h{number}", NOON - timedelta(hours=number + 1), 900.0) for number in range(20)]


def purchase(event_id: str, at: datetime, amount: float) -> Transaction:
    return Transaction(event_id=event_id, event_time=at, amount=amount, customer_id="c1", terminal_id="t1")


def request(version: str, **changes: Any) -> DeployRequest:
    content = {"model": MODEL, "version": version, "bundle_uri": str(RELEASE), "bundle_hash": BUNDLE.hash}
    return DeployRequest.model_validate(content | changes)


def predict(url: str, event: Transaction) -> dict[str, Any]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    body = json.dumps({"instances": [event.model_dump(mode="json")]})
    connection.request("POST", f"/v1/models/{MODEL}:predict", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    content = json.loads(answer.read())
    connection.close()
    assert answer.status == 200, content
    return dict(content["predictions"][0])


def test_versions_follow_each_other_as_on_a_cluster(settings: Settings, states: Path, decider: Decider) -> None:
    first = deploy(request("1", traffic_percent=5, feature_state_uri=str(states)), settings)
    assert (first.traffic, first.changed) == ({"card_fraud-v1": 100}, True)
    assert deploy(request("1", feature_state_uri=str(states)), settings) == first.model_copy(update={"changed": False})

    event = purchase("e1", NOON, 20.0)
    table = compute_tables(decider.schema.compile(), {Transaction.kind: to_table(Transaction, [*history(), event])})
    (expected,) = decider.decide(FeatureMatrix(table.values[-1:], table.names), [Asked("e1")], NOON)
    assert predict(first.url, event)["score"] == pytest.approx(expected.score, abs=1e-9)

    canary = deploy(request("2", traffic_percent=25), settings)
    assert canary.traffic == {"card_fraud-v1": 75, "card_fraud-v2": 25}
    promoted = deploy(request("2"), settings)
    assert promoted.traffic == {"card_fraud-v2": 100}
    kept = deploy(request("2", traffic_percent=10), settings)
    assert (kept.changed, kept.traffic_percent) == (False, 100)


def test_a_bundle_of_another_hash_is_refused_before_anything_starts(settings: Settings) -> None:
    with pytest.raises(ContractError, match="sha256:0000"):
        deploy(request("9", bundle_hash="sha256:" + "0" * 64), settings)
    assert RuntimeClient(settings).status().revision("card_fraud-v9") is None


def test_states_of_another_hash_are_refused_before_anything_starts(settings: Settings, states: Path) -> None:
    with pytest.raises(ContractError, match="the run sealed sha256:0000"):
        deploy(request("9", feature_state_uri=str(states), feature_state_hash="sha256:" + "0" * 64), settings)
    assert RuntimeClient(settings).status().revision("card_fraud-v9") is None


def test_a_bundle_of_another_model_is_refused(settings: Settings) -> None:
    with pytest.raises(ContractError, match="is a bundle of card_fraud, not of retail_pos"):
        deploy(request("1", model="retail_pos"), settings)


def test_a_bundle_that_was_changed_is_refused(settings: Settings, tmp_path: Path) -> None:
    shutil.copytree(RELEASE, tmp_path / "bundle")
    policy = tmp_path / "bundle" / "policy.json"
    policy.write_bytes(policy.read_bytes().replace(b"critical", b"mediumly"))
    with pytest.raises(ContractError, match=r"policy\.json was changed"):
        deploy(request("9", bundle_uri=str(tmp_path / "bundle")), settings)


def test_without_a_runtime_the_cure_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="vigil up"):
        deploy(request("1"), Settings(home=tmp_path))
