"""A server is ready only with a verified bundle, and drains without one refused or failed request."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import grpc
import httpx
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as service

from tests.serving.processes import MODEL, RELEASE, Served, serve, serve_pair
from tests.serving.samples import as_json, decider, features_offline, instances, transactions, vectors
from tests.serving.test_refusals import check
from vigil.clock import to_micros
from vigil.contracts.events import Transaction, to_table
from vigil.decisions.log import read_decisions
from vigil.errors import ContractError
from vigil.features.engine import new_state, run
from vigil.features.log import EventLog
from vigil.features.states import write_states
from vigil.serving.options import parse_options

pytestmark = pytest.mark.xdist_group("serving-lifecycle")

HEAVY = ("sklearn", "keras", "jax", "mlflow", "kfp", "alibi_detect", "xgboost", "matplotlib")


async def _load(served: Served, stop: asyncio.Event, outcomes: list[object]) -> None:
    """Send requests until told to stop, as a client behind a load balancer does: over connections that stay open."""
    number = 0
    async with httpx.AsyncClient(base_url=served.http.base_url, timeout=30) as client:
        while not stop.is_set():
            number += 1
            row = as_json(transactions(f"drain{id(client)}-{number}", 1)[0])
            try:
                answer = await client.post(f"{served.path}:predict", json={"instances": [row]})
                outcomes.append(answer.status_code)
            except httpx.TransportError as error:
                outcomes.append(error)


async def _drain(predictor: Served, transformer: Served, workers: int) -> list[object]:
    """Stop both servers as a pod does, while clients send until they see that the transformer is not ready."""
    outcomes: list[object] = []
    stop = asyncio.Event()
    tasks = [asyncio.create_task(_load(transformer, stop, outcomes)) for _ in range(workers)]
    while len(outcomes) < 20:
        await asyncio.sleep(0.05)
    for served in (predictor, transformer):
        served.process.send_signal(signal.SIGTERM)
    while await asyncio.to_thread(transformer.is_ready):
        await asyncio.sleep(0.02)
    seen = len(outcomes)
    while len(outcomes) < seen + 20:
        await asyncio.sleep(0.02)
    stop.set()
    await asyncio.gather(*tasks)
    return outcomes


def test_sigterm_drains_without_one_refused_or_failed_request(tmp_path: Path) -> None:
    with serve_pair(tmp_path, drain_seconds=4) as (predictor, transformer):
        outcomes = asyncio.run(_drain(predictor, transformer, workers=4))
        assert set(outcomes) == {200}
        assert [served.process.wait(timeout=60) for served in (transformer, predictor)] == [0, 0]
        logged = list(read_decisions(tmp_path / "decisions"))
        assert len(logged) == len(outcomes)
        assert all(decider().replay(found.record) == found.record for found in logged)
        for served in (predictor, transformer):
            assert '"event": "draining"' in served.errors
            assert "Traceback" not in served.errors and "arning" not in served.errors


def test_a_request_that_is_under_way_is_finished(tmp_path: Path) -> None:
    with serve("predictor", tmp_path, drain_seconds=0.1) as predictor:
        predictor.wait_until()
        rows = instances(vectors(1_500))

        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(base_url=predictor.http.base_url, timeout=60) as client:
                call = asyncio.create_task(client.post(f"{predictor.path}:explain", json={"instances": rows}))
                await asyncio.sleep(0.3)
                predictor.process.send_signal(signal.SIGTERM)
                return await call

        assert asyncio.run(ask()).status_code == 200
        assert predictor.process.wait(timeout=60) == 0


def test_sigusr1_makes_a_server_unready_while_it_goes_on_answering(tmp_path: Path) -> None:
    with serve("predictor", tmp_path) as predictor:
        predictor.wait_until()
        hook = [sys.executable, "-m", "vigil.serving.prestop", "0", str(predictor.process.pid)]
        subprocess.run(hook, check=True)
        predictor.wait_until(ready=False)
        answer = predictor.predict(*instances(vectors(1)))
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        with grpc.insecure_channel(f"127.0.0.1:{predictor.grpc_port}") as channel:
            stub = service.GRPCInferenceServiceStub(channel)
            assert not stub.ServerReady(pb.ServerReadyRequest()).ready
            assert not stub.ModelReady(pb.ModelReadyRequest(name=MODEL)).ready
        assert predictor.stop() == 0


@pytest.fixture
def tampered(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    shutil.copytree(RELEASE, folder)
    path = folder / "thresholds.json"
    path.write_bytes(path.read_bytes().replace(b'"overall":0.5', b'"overall":0.9'))
    return folder


def test_a_tampered_bundle_never_gets_ready(tmp_path: Path, tampered: Path) -> None:
    with serve("predictor", tmp_path, model_dir=tampered) as predictor:
        ready = False
        while predictor.process.poll() is None:
            ready |= predictor.is_ready()
            time.sleep(0.02)
        assert not ready
        assert predictor.process.returncode == 78
        assert "thresholds.json was changed after the bundle was sealed" in predictor.errors
        assert "Traceback" not in predictor.errors


def test_an_unsigned_bundle_never_gets_ready(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(RELEASE, folder, ignore=shutil.ignore_patterns("*.sig"))
    with serve("predictor", tmp_path, model_dir=folder) as predictor:
        assert predictor.process.wait(timeout=120) == 78
        assert "is not signed by" in predictor.errors


def test_another_bundle_than_the_one_asked_for_never_gets_ready(tmp_path: Path) -> None:
    with serve("predictor", tmp_path, bundle_hash="sha256:" + "0" * 64) as predictor:
        assert predictor.process.wait(timeout=120) == 78
        assert f"not sha256:{'0' * 64}" in predictor.errors


def test_a_transformer_is_not_ready_without_its_predictor(tmp_path: Path) -> None:
    with serve("predictor", tmp_path) as predictor:
        address = f"127.0.0.1:{predictor.port}"
        with serve("transformer", tmp_path, predictor_host=address) as transformer:
            transformer.wait_until()
            predictor.stop()
            transformer.wait_until(ready=False)
            row = as_json(transactions("alone", 1)[0])
            check(transformer.predict(row), 503, "unavailable")
            assert transformer.http.get("/v2/health/live").json() == {"live": True}
            assert transformer.http.get(f"/v1/models/{MODEL}").status_code == 503
            assert transformer.http.get(f"/v2/models/{MODEL}/ready").status_code == 503


def test_a_transformer_without_a_predictor_says_so_over_both_protocols(tmp_path: Path) -> None:
    with serve("transformer", tmp_path, predictor_host="127.0.0.1:9") as transformer:
        transformer.wait_until_listening()
        check(transformer.http.get("/v2/health/ready"), 503, "not_ready")
        check(transformer.predict({}), 503, "not_ready")
        with grpc.insecure_channel(f"127.0.0.1:{transformer.grpc_port}") as channel:
            stub = service.GRPCInferenceServiceStub(channel)
            assert not stub.ServerReady(pb.ServerReadyRequest()).ready
            with pytest.raises(grpc.RpcError) as caught:
                stub.ModelInfer(pb.ModelInferRequest(model_name=MODEL))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert transformer.stop() == 0


def test_a_full_disk_makes_the_predictor_unready_and_loses_nothing(tmp_path: Path) -> None:
    log = tmp_path / "decisions"
    with serve("predictor", tmp_path, log_queue_rows=3) as predictor:
        predictor.wait_until()
        assert predictor.predict(*instances(vectors(1), "before")).status_code == 200
        while not list(log.rglob("*.jsonl")):
            time.sleep(0.02)
        check(predictor.predict(*instances(vectors(4))), 503, "unavailable")
        assert 'vigil_decision_log_refused_total{revision="rev-7"} 4.0' in predictor.http.get("/metrics").text
        assert predictor.stop() == 0
    assert [found.record.event_id for found in read_decisions(log)] == ["before-0"]


def test_decisions_go_to_the_archive_and_none_is_left_behind(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    with serve("predictor", tmp_path, {"VIGIL_DECISIONS": str(archive)}, log_file_seconds=0.2) as predictor:
        predictor.wait_until()
        predictor.predict(*instances(vectors(3), "early"))
        limit = time.monotonic() + 30
        while not list(archive.rglob("*.jsonl")):
            assert time.monotonic() < limit, predictor.errors
            time.sleep(0.02)
        predictor.predict(*instances(vectors(2), "late"))
        assert 'vigil_decision_archive_files_total{revision="rev-7"}' in predictor.http.get("/metrics").text
        assert predictor.stop() == 0
    assert list((tmp_path / "decisions").rglob("*.jsonl")) == []
    found = sorted(found.record.event_id for found in read_decisions(archive))
    assert found == ["early-0", "early-1", "early-2", "late-0", "late-1"]


def test_a_port_in_use_is_told_with_a_cure(tmp_path: Path) -> None:
    with serve("predictor", tmp_path) as first:
        first.wait_until_listening()
        with serve("predictor", tmp_path, http_port=first.port) as second:
            assert second.process.wait(timeout=120) == 78
            assert "give another --http_port" in second.errors


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--workers", "2"], "--workers must be 1"),
        (["--max_rows", "0"], "--max_rows is 0"),
        (["--revision", "../up"], "--revision"),
        (["--model_name", "a b"], "--model_name"),
    ],
)
def test_wrong_flags_are_refused(flags: list[str], text: str) -> None:
    with pytest.raises(ContractError, match=text):
        parse_options(flags, drain_seconds=5)


def test_flags_have_kserves_names_and_ours() -> None:
    options = parse_options(["--http_port", "9", "--revision", "r-1", "--enable_grpc", "false"], drain_seconds=5)
    assert (options.http_port, options.revision, options.enable_grpc, options.drain_seconds) == (9, "r-1", False, 5)
    with pytest.raises(SystemExit):
        parse_options(["--no_such_flag", "1"], drain_seconds=5)


def test_a_new_store_starts_from_the_sealed_states_of_the_training(tmp_path: Path) -> None:
    events = transactions("past", 30, seed=12)
    program = decider().schema.compile()
    state = new_state(program)
    run(program, EventLog.of({"transaction": to_table(Transaction, list(events[:-1]))}), state)
    write_states(tmp_path / "states", program, state, until=to_micros(events[-1].event_time))
    with serve_pair(tmp_path, feature_state=tmp_path / "states") as (_, transformer):
        (decision,) = transformer.predict(as_json(events[-1])).json()["predictions"]
        assert "vector" not in decision
    matrix = features_offline(events)
    assert decision["score"] == decider().ensemble.score(matrix).score[-1]


@pytest.mark.parametrize("module", ["predicting", "transforming", "server"])
def test_serving_imports_nothing_of_training(module: str) -> None:
    code = f"import vigil.serving.{module}, sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    assert found.stdout.strip() == "[]"
