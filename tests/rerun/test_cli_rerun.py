"""`vigil rerun` at a terminal, against a server on loopback."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from tests.orchestration.kubeflow_server import KubeflowServer
from tests.rerun.verdicts import verdict
from vigil.cli_rerun import app
from vigil.errors import ContractError
from vigil.rerun.journal import Journal
from vigil.rerun.records import asked_by
from vigil.rerun.settings import RerunSettings, load_rerun_settings
from vigil.rerun.worker import Desk


@pytest.fixture
def here(server: KubeflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setattr("kfp.Client._LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
    home = {"VIGIL_HOME": str(tmp_path / "home"), "COLUMNS": "200"}
    return CliRunner(env={**home, "VIGIL_KFP_HOST": server.url, "VIGIL_KFP_TOKEN": "/nowhere/token"})


@pytest.fixture
def config(tiny: Path, tmp_path: Path) -> str:
    path = tmp_path / "rerun.yaml"
    rules = {"pipeline": str(tiny), "parameters": {"gate": "/nowhere"}, "budget_per_day": 9}
    path.write_text(yaml.safe_dump({"poll_seconds": 0.1, "models": {"card_fraud": rules}}))
    return str(path)


def test_a_person_starts_a_run_and_sees_how_it_ended(here: CliRunner, server: KubeflowServer, config: str) -> None:
    server.states = ["RUNNING", "SUCCEEDED"]
    done = here.invoke(app, ["start", "card_fraud", "--reason", "new tills", "--wait", "--config", config])
    assert done.exit_code == 0, done.output
    (run,) = server.runs
    assert run["runtime_config"]["parameters"]["cause"] == "new tills"
    assert f"{run['display_name']} is succeeded" in done.output
    assert run["display_name"] in here.invoke(app, ["list"]).output
    shown = here.invoke(app, ["show", run["display_name"]]).output
    assert "new tills" in shown
    assert f"#/runs/details/{run['run_id']}" in shown
    assert json.loads(here.invoke(app, ["show", run["display_name"], "--json"]).output)["stage"] == "succeeded"
    assert len(json.loads(here.invoke(app, ["list", "--json"]).output)) == 1


def test_the_gate_holds_for_a_person_too_unless_forced(here: CliRunner, server: KubeflowServer, config: str) -> None:
    server.states = ["FAILED"]
    first = here.invoke(app, ["start", "card_fraud", "--reason", "one", "--wait", "--config", config])
    assert first.exit_code == 1
    second = here.invoke(app, ["start", "card_fraud", "--reason", "two", "--config", config])
    assert isinstance(second.exception, ContractError)
    assert "--force" in str(second.exception)
    server.states = []
    third = here.invoke(app, ["start", "card_fraud", "--reason", "three", "--force", "--config", config])
    assert third.exit_code == 0, third.output
    assert len(server.runs) == 2
    fourth = here.invoke(app, ["start", "card_fraud", "--reason", "four", "--force", "--config", config])
    assert "goes on" in str(fourth.exception)
    assert len(server.runs) == 2


def test_an_event_is_shown_with_its_evidence(here: CliRunner, tmp_path: Path) -> None:
    Desk(Journal(tmp_path / "home" / "rerun"), RerunSettings()).take(asked_by(verdict()))
    shown = here.invoke(app, ["show", verdict().id]).output
    assert "population_moved" in shown
    assert "the median amount rose from 40 to 56" in shown
    unknown = here.invoke(app, ["show", "unknown"])
    assert "vigil rerun list" in str(unknown.exception)


def test_a_wrong_configuration_is_refused_with_its_field(tmp_path: Path) -> None:
    path = tmp_path / "rerun.yaml"
    path.write_text("models: {card_fraud: {cooldown: 3}}")
    with pytest.raises(ContractError, match=r"models\.card_fraud\.cooldown"):
        load_rerun_settings(path)
    path.write_text("models: [")
    with pytest.raises(ContractError, match="is not YAML"):
        load_rerun_settings(path)
    with pytest.raises(ContractError, match="cannot read"):
        load_rerun_settings(tmp_path / "absent.yaml")
