"""The command line, also against the server on loopback."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.orchestration.kubeflow_server import KubeflowServer
from vigil.cli_pipeline import app
from vigil.errors import ContractError

Vigil = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def vigil(tmp_path: Path) -> Vigil:
    """Run `vigil pipeline ...` in an empty folder with an empty home."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VIGIL_")}

    def call(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        own = {"VIGIL_HOME": str(tmp_path / "home"), "HOME": str(tmp_path), "COLUMNS": "150", **settings}
        command = [sys.executable, "-m", "vigil", "pipeline", *arguments]
        return subprocess.run(command, env={**kept, **own}, cwd=tmp_path, capture_output=True, text=True, check=False)

    return call


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """The commands in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("kfp.Client._LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
    return CliRunner(env={"VIGIL_HOME": str(tmp_path / "home"), "COLUMNS": "150"})


@pytest.fixture
def server() -> Iterator[KubeflowServer]:
    server = KubeflowServer()
    yield server
    server.close()


def test_run_shows_the_steps_and_keeps_everything_in_the_home(vigil: Vigil, compiled: dict, tmp_path: Path) -> None:
    done = vigil("run", str(compiled["small"].path), "--param", "rows=5")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert any(line.startswith("Make rows: done in") for line in lines)
    assert "Make rows: publish" in lines
    assert "Publish: 20" in lines
    (folder,) = (tmp_path / "home" / "runs").iterdir()
    assert lines[-1].endswith(f": {folder}")
    assert {path.name for path in tmp_path.iterdir()} == {"home"}
    listed = vigil("status")
    assert f"{folder.name} " in listed.stdout
    assert "succeeded" in listed.stdout
    facts = json.loads(vigil("status", folder.name, "--json").stdout)
    assert facts["steps"]["publish"]["parameters"] == {"Output": 20}


def test_a_run_that_fails_gives_the_reason_and_exit_status_1(vigil: Vigil, compiled: dict) -> None:
    done = vigil("run", str(compiled["bad"].path), "-p", "how=contract")
    assert done.returncode == 1
    assert "Misbehave failed: column amount is missing: name it in the mapping" in done.stdout
    assert "What to do: correct that and run the same command again" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert "KFP Executor" not in done.stdout + done.stderr
    shown = vigil("status")
    assert "Misbehave: column amount is missing" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["run", "trainig"], "one of batch_scoring, retraining, site_models, training"),
        (["run", "training", "--use-case", "card_fraud"], "pipeline training needs --data PATH"),
        (["run", "training", "--use-case", "x", "--data", "gs://a/b"], "there is no use case at x"),
        (["schedule", "training", "--cron", "0 3 * * *"], "write '0 0 3 \\* \\* \\*'"),
        (["submit", "training"], "set VIGIL_KFP_HOST"),
        (["compile"], "has no folder pipelines"),
        (["status", "nothing"], "set VIGIL_KFP_HOST"),
    ],
)
def test_a_mistake_is_named_before_anything_starts(here: CliRunner, arguments: list[str], complaint: str) -> None:
    with pytest.raises(ContractError, match=complaint):
        here.invoke(app, arguments, catch_exceptions=False)


def test_list_shows_what_a_pipeline_takes(here: CliRunner, compiled: dict) -> None:
    shown = here.invoke(app, ["list", str(compiled["small"].path)]).stdout
    assert "only if Make rows == 'publish'" in shown
    assert "at the end, whatever happened" in shown
    listed = json.loads(here.invoke(app, ["list", "--json"]).stdout)
    assert {one["name"] for one in listed} == {"training", "retraining", "batch-scoring", "site-models"}


def test_submit_waits_for_the_end_and_fails_with_the_run(
    here: CliRunner, compiled: dict, server: KubeflowServer
) -> None:
    at_server = {"VIGIL_KFP_HOST": server.url}
    server.states = ["SUCCEEDED"]
    done = here.invoke(app, ["submit", str(compiled["small"].path), "-p", "rows=5", "--wait"], env=at_server)
    assert done.exit_code == 0, done.output
    run_id = server.runs[0]["run_id"]
    assert f"{server.url}/#/runs/details/{run_id}" in done.stdout
    assert "SUCCEEDED" in done.stdout
    server.states = ["CANCELED"]
    seen = here.invoke(app, ["status", run_id], env=at_server)
    assert seen.exit_code == 1
    assert "CANCELED" in seen.stdout


def test_schedule_says_what_it_made_and_what_it_replaced(
    here: CliRunner, compiled: dict, server: KubeflowServer
) -> None:
    command = ["schedule", str(compiled["small"].path), "--name", "nightly"]
    at_server = {"VIGIL_KFP_HOST": server.url}
    first = here.invoke(app, command, env=at_server).stdout
    assert "nightly runs small-" in first
    assert "at '0 0 */6 * * *'" in first
    second = here.invoke(app, [*command, "--cron", "0 0 3 * * *"], env=at_server).stdout
    assert "in place of 1 former" in second
    assert len(server.schedules) == 1
