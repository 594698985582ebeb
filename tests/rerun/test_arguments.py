"""What a rerun is given: said by the rules, or as the last run of the model on this machine was given."""

import json
from pathlib import Path

import pytest

from tests.rerun.verdicts import NOON, verdict
from vigil.errors import ContractError
from vigil.orchestration.filling import Purpose
from vigil.rerun.arguments import prepare
from vigil.rerun.records import Decision, Rerun, asked_by
from vigil.rerun.settings import ModelRules, Then
from vigil.usecase import load_use_case


@pytest.fixture
def rerun() -> Rerun:
    return Rerun(asked=asked_by(verdict()), decision=Decision.START, why="it drifts", received=NOON)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Return the folder of runs with one of the model and a later one of another."""
    for name, data in (("card_fraud", "/data/cards"), ("retail_pos", "/data/tills")):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "run.json").write_text("{}")
        given = {"use_case": load_use_case(name).text, "raw_uri": data, "source": "mapping.yaml"}
        (folder / "arguments.json").write_text(json.dumps(given))
    return tmp_path / "runs"


def test_without_rules_a_run_gets_what_the_last_one_of_its_model_got(rerun: Rerun, runs: Path) -> None:
    given = prepare(rerun, ModelRules(), runs, "here", Purpose.HERE).arguments
    assert (given["raw_uri"], given["source"]) == ("/data/cards", "mapping.yaml")
    assert json.loads(given["use_case"])["name"] == "card_fraud"
    assert given["deploy_target"] == "none", "a rollout follows, so the pipeline deploys nothing"


def test_rules_win_over_the_last_run(rerun: Rerun, runs: Path) -> None:
    rules = ModelRules(data="/data/new", use_case="retail_pos", then=Then.DEPLOY, parameters={"traffic_percent": "5"})
    given = prepare(rerun, rules, runs, "here", Purpose.HERE).arguments
    assert given["raw_uri"] == "/data/new"
    assert "source" not in given, "the mapping of other data says nothing of these"
    assert json.loads(given["use_case"])["name"] == "retail_pos"
    assert given["traffic_percent"] == 5
    assert "deploy_target" not in given


def test_a_run_without_known_data_says_which_setting_is_missing(rerun: Rerun, tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="`data`"):
        prepare(rerun, ModelRules(), tmp_path / "runs", "here", Purpose.HERE)
    stranger = rerun.model_copy(update={"asked": asked_by(verdict(model="unheard_of"))})
    with pytest.raises(ContractError, match="`use_case`"):
        prepare(stranger, ModelRules(data="/data"), tmp_path / "runs", "here", Purpose.HERE)
