"""kfp's real client against a server on loopback."""

import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.orchestration.kubeflow_server import Fault, KubeflowServer
from vigil.clock import ManualClock
from vigil.errors import ContractError, Unavailable
from vigil.orchestration.ir import load_pipeline
from vigil.orchestration.remote import OURS, Kubeflow, Plan, RunState
from vigil.settings import Settings

NOON = ManualClock(datetime(2026, 11, 25, 12, tzinfo=UTC))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """kfp's client keeps a namespace in the home of the user."""
    monkeypatch.setattr("kfp.Client._LOCAL_KFP_CONTEXT", str(tmp_path / "home" / "context.json"))
    return tmp_path / "home"


@pytest.fixture
def server() -> Iterator[KubeflowServer]:
    server = KubeflowServer()
    yield server
    server.close()


def settings(server: KubeflowServer, **others: object) -> Settings:
    return Settings.model_validate({"kfp_host": server.url, "kfp_token": "/nowhere/token", **others})


@pytest.fixture
def kubeflow(server: KubeflowServer) -> Kubeflow:
    return Kubeflow(settings(server))


def test_a_submitted_run_refers_to_a_version_named_by_its_content(
    server: KubeflowServer, kubeflow: Kubeflow, compiled: dict, capfd: pytest.CaptureFixture[str]
) -> None:
    run = kubeflow.submit(compiled["small"], {"rows": 5}, clock=NOON)
    assert (run.state, run.name) == (RunState.PENDING, "small-20261125T120000Z")
    assert run.url == f"{server.url}/#/runs/details/{run.run_id}"
    (sent,) = server.runs
    (version,) = [one for one in server.versions if one["display_name"] != "small"]
    assert version["display_name"] == "small-" + compiled["small"].content_hash.removeprefix("sha256:")[:16]
    assert version["pipeline_spec"]["pipelineInfo"]["name"] == "small"
    assert sent["pipeline_version_reference"]["pipeline_version_id"] == version["pipeline_version_id"]
    assert sent["runtime_config"]["parameters"] == {"rows": 5}
    assert sent["experiment_id"] == server.experiments[0]["experiment_id"]
    assert capfd.readouterr() == ("", "")


def test_the_same_content_is_uploaded_once_and_a_change_is_a_new_version(
    server: KubeflowServer, kubeflow: Kubeflow, compiled: dict, tmp_path: Path
) -> None:
    first, again = kubeflow.upload(compiled["small"]), kubeflow.upload(compiled["small"])
    assert first == again
    changed = tmp_path / "small.yaml"
    changed.write_text(compiled["small"].path.read_text().replace("defaultValue: hello", "defaultValue: hullo"))
    other = kubeflow.upload(load_pipeline(changed))
    assert other.pipeline_id == first.pipeline_id
    assert other.version_id != first.version_id
    assert server.paths("POST").count("/pipelines/upload") == 1
    assert server.paths("POST").count("/pipelines/upload_version") == 2


def test_someone_else_uploading_at_the_same_moment_is_no_error(
    server: KubeflowServer, kubeflow: Kubeflow, compiled: dict
) -> None:
    first = kubeflow.upload(compiled["small"])
    pages, server.pipelines = server.pipelines, []
    route = server._route

    def appear_late(asked: object) -> object:
        try:
            return route(asked)  # type: ignore[arg-type]
        finally:
            if asked.path == "/pipelines":  # type: ignore[attr-defined]
                server.pipelines = pages

    server._route = appear_late  # type: ignore[method-assign]
    assert kubeflow.upload(compiled["small"]) == first
    assert server.asked[-3].path == "/pipelines/upload"


def test_a_version_that_exists_but_is_not_listed_is_an_error_with_a_cure(
    server: KubeflowServer, kubeflow: Kubeflow, compiled: dict
) -> None:
    server.faults = [Fault("POST", "/pipelines/upload_version", 409)]
    with pytest.raises(ContractError, match="VIGIL_KFP_NAMESPACE"):
        kubeflow.upload(compiled["small"])


def test_what_lies_on_a_later_page_is_found(server: KubeflowServer, kubeflow: Kubeflow, compiled: dict) -> None:
    server.page_size = 1
    first = kubeflow.upload(compiled["small"])
    server.versions.insert(0, {**server.versions[-1], "display_name": first.name.upper(), "pipeline_version_id": "x"})
    assert kubeflow.upload(compiled["small"]) == first


def test_a_schedule_neither_catches_up_nor_overlaps_and_comes_every_six_hours(
    server: KubeflowServer, kubeflow: Kubeflow, compiled: dict
) -> None:
    made = kubeflow.schedule(compiled["small"], Plan("nightly", arguments={"rows": 5}))
    (sent,) = server.schedules
    assert sent["trigger"] == {"cron_schedule": {"cron": "0 0 */6 * * *"}}
    assert sent["no_catchup"] is True
    assert sent["max_concurrency"] == "1" or sent["max_concurrency"] == 1
    assert sent["mode"] == "ENABLE"
    assert sent["runtime_config"]["parameters"] == {"rows": 5}
    assert sent["pipeline_version_reference"]["pipeline_version_id"] == made.version.version_id
    assert made.replaced == 0


def test_a_schedule_replaces_our_own_of_that_name_and_no_other(
    server: KubeflowServer, kubeflow: Kubeflow, compiled: dict
) -> None:
    other = kubeflow.schedule(compiled["small"], Plan("weekly"))
    first = kubeflow.schedule(compiled["small"], Plan("nightly"))
    second = kubeflow.schedule(compiled["small"], Plan("nightly", cron="0 0 3 * * *"))
    assert second.replaced == 1
    assert {one["recurring_run_id"] for one in server.schedules} == {other.schedule_id, second.schedule_id}
    assert first.schedule_id not in {one["recurring_run_id"] for one in server.schedules}


def test_a_schedule_of_someone_else_is_not_touched(server: KubeflowServer, kubeflow: Kubeflow, compiled: dict) -> None:
    server.schedules.append({"recurring_run_id": "theirs", "display_name": "nightly", "description": "by hand"})
    with pytest.raises(ContractError, match=r"did not make \(theirs\)"):
        kubeflow.schedule(compiled["small"], Plan("nightly"))
    assert [one["recurring_run_id"] for one in server.schedules] == ["theirs"]


def test_a_refused_schedule_leaves_the_former_one(server: KubeflowServer, kubeflow: Kubeflow, compiled: dict) -> None:
    former = kubeflow.schedule(compiled["small"], Plan("nightly"))
    server.faults = [Fault("POST", "/recurringruns", 400, "InvalidInputError: bad cron")]
    with pytest.raises(ContractError, match="cannot make schedule nightly: InvalidInputError: bad cron"):
        kubeflow.schedule(compiled["small"], Plan("nightly"))
    assert [one["recurring_run_id"] for one in server.schedules] == [former.schedule_id]


def test_a_former_schedule_that_cannot_be_removed_is_said_and_healed_by_the_next_call(
    server: KubeflowServer, kubeflow: Kubeflow, compiled: dict
) -> None:
    kubeflow.schedule(compiled["small"], Plan("nightly"))
    server.faults = [Fault("DELETE", "/recurringruns/.*", 500)]
    with pytest.raises(Unavailable, match="the new one is active too: run this again"):
        kubeflow.schedule(compiled["small"], Plan("nightly"))
    assert len(server.schedules) == 2
    assert kubeflow.schedule(compiled["small"], Plan("nightly")).replaced == 2
    assert len(server.schedules) == 1
    assert OURS in server.schedules[0]["description"]


def test_a_former_schedule_that_is_gone_already_is_no_error(
    server: KubeflowServer, kubeflow: Kubeflow, compiled: dict
) -> None:
    kubeflow.schedule(compiled["small"], Plan("nightly"))
    server.faults = [Fault("DELETE", "/recurringruns/.*", 404)]
    assert kubeflow.schedule(compiled["small"], Plan("nightly")).replaced == 1


def test_a_wrong_cron_or_argument_asks_the_server_nothing(
    server: KubeflowServer, kubeflow: Kubeflow, compiled: dict
) -> None:
    server.asked.clear()
    with pytest.raises(ContractError, match="five fields"):
        kubeflow.schedule(compiled["small"], Plan("nightly", cron="0 3 * * *"))
    with pytest.raises(ContractError, match="parameter rows"):
        kubeflow.schedule(compiled["small"], Plan("nightly", arguments={"rows": "many"}))
    with pytest.raises(ContractError, match="parameter rows"):
        kubeflow.submit(compiled["small"], {"rows": "many"})
    assert server.asked == []


@pytest.mark.parametrize("state", ["SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"])
def test_waiting_ends_with_every_final_state(
    server: KubeflowServer, kubeflow: Kubeflow, compiled: dict, state: str
) -> None:
    run = kubeflow.submit(compiled["small"], {})
    server.states = ["PENDING", "RUNNING", "CANCELING", "PAUSED", "SOMETHING_NEW", state]
    seen: list[str] = []
    done = kubeflow.wait(run.run_id, watch=lambda one: seen.append(one.state), pause=lambda: None)
    assert done.state == state
    assert seen == ["PENDING", "RUNNING", "CANCELING", "PAUSED", "RUNTIME_STATE_UNSPECIFIED", state]


def test_waiting_outlasts_a_server_that_is_silent_for_a_while(
    server: KubeflowServer, kubeflow: Kubeflow, compiled: dict
) -> None:
    run = kubeflow.submit(compiled["small"], {})
    server.states = ["SUCCEEDED"]
    server.faults = [Fault("GET", "/runs/.*", 503, times=3)]
    assert kubeflow.wait(run.run_id, pause=lambda: None, patience=3).state is RunState.SUCCEEDED
    server.faults = [Fault("GET", "/runs/.*", 503, times=4)]
    with pytest.raises(Unavailable, match="HTTP 503"):
        kubeflow.wait(run.run_id, pause=lambda: None, patience=3)


@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [
        (400, ContractError, "the server's reason"),
        (401, ContractError, "VIGIL_KFP_TOKEN"),
        (403, ContractError, "VIGIL_KFP_NAMESPACE"),
        (404, ContractError, "HTTP 404"),
        (429, Unavailable, "HTTP 429"),
        (500, Unavailable, "the server's reason"),
        (503, Unavailable, "HTTP 503"),
    ],
)
def test_errors_of_the_server_become_ours_with_its_reason(
    server: KubeflowServer, kubeflow: Kubeflow, compiled: dict, status: int, kind: type[Exception], text: str
) -> None:
    server.faults = [Fault("POST", "/runs", status, "the server's reason", times=9)]
    with pytest.raises(kind, match=f"cannot start a run of small: .*{text}"):
        kubeflow.submit(compiled["small"], {})


def test_an_upload_that_is_refused_says_why(server: KubeflowServer, kubeflow: Kubeflow, compiled: dict) -> None:
    server.faults = [Fault("POST", "/pipelines/upload", 400, "the pipeline spec is invalid")]
    with pytest.raises(ContractError, match="cannot upload pipeline small: the pipeline spec is invalid"):
        kubeflow.upload(compiled["small"])


def test_the_projected_token_is_sent_and_read_again_for_each_call(
    server: KubeflowServer, compiled: dict, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    server.token = "first"
    kubeflow = Kubeflow(settings(server, kfp_token=str(token)))
    kubeflow.upload(compiled["small"])
    server.token = "second"
    with pytest.raises(ContractError, match="VIGIL_KFP_TOKEN"):
        kubeflow.upload(compiled["small"])
    token.write_text("second\n")
    kubeflow.upload(compiled["small"])
    assert server.asked[-1].authorization == "Bearer second"


def test_without_a_token_none_is_sent(server: KubeflowServer, kubeflow: Kubeflow, compiled: dict) -> None:
    kubeflow.upload(compiled["small"])
    assert {one.authorization for one in server.asked} == {None}


def test_a_server_of_many_users_wants_a_namespace_and_gets_it_everywhere(
    server: KubeflowServer, compiled: dict, home: Path
) -> None:
    server.multi_user = True
    with pytest.raises(ContractError, match="VIGIL_KFP_NAMESPACE"):
        Kubeflow(settings(server))
    kubeflow = Kubeflow(settings(server, kfp_namespace="ana"))
    first = kubeflow.upload(compiled["small"])
    assert kubeflow.upload(compiled["small"]) == first
    kubeflow.schedule(compiled["small"], Plan("nightly"))
    assert server.pipelines[0]["namespace"] == "ana"
    assert server.experiments[0]["namespace"] == "ana"
    listed = [one for one in server.asked if one.method == "GET" and one.path in ("/experiments", "/recurringruns")]
    assert {one.query["namespace"] for one in listed} == {"ana"}
    assert not home.exists()


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(Unavailable, match="cannot reach http://127"):
            Kubeflow(Settings(kfp_host=url))


def test_a_server_that_is_ill_is_unavailable_at_once(server: KubeflowServer) -> None:
    server.faults = [Fault("GET", "/healthz", 503, times=99)]
    with pytest.raises(Unavailable, match="HTTP 503"):
        Kubeflow(settings(server))
    assert len(server.asked) == 1


@pytest.mark.parametrize("host", [None, "ml-pipeline:8888", "ftp://ml-pipeline", "http://"])
def test_a_host_that_is_none_is_refused_by_its_variable(host: str | None) -> None:
    with pytest.raises(ContractError, match="VIGIL_KFP_HOST"):
        Kubeflow(Settings(kfp_host=host))
