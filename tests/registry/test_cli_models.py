"""`vigil models` shows the ledger and changes it only after asking."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tests.registry.conftest import Desk
from tests.registry.samples import FEATURES
from vigil.cli_models import app
from vigil.errors import ContractError
from vigil.registry.bundle import BundleRef
from vigil.registry.stages import Stage
from vigil.registry.store import FolderStore


class Terminal:
    """Runs `vigil models` on a store, without MLflow."""

    def __init__(self, store: FolderStore) -> None:
        self.options = ["--store", store.uri, "--tracking-uri", "none"]

    def run(self, *arguments: str, answer: str | None = None) -> Result:
        return CliRunner(env={"COLUMNS": "200"}).invoke(app, [*self.options, *arguments], input=answer)

    def json(self, *arguments: str) -> Any:
        result = self.run(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


@pytest.fixture
def terminal(desk: Desk, store: FolderStore) -> Terminal:
    desk.enthrone("1")
    return Terminal(store)


def test_list_names_every_version_with_its_stage_and_who_brought_it_there(terminal: Terminal) -> None:
    lines = terminal.run("list").stdout.splitlines()
    (production,) = [line for line in lines if "production" in line]
    for word in ("card_fraud", "1", "2026-06-01", "person:ana", "looks good"):
        assert word in production
    assert len([line for line in lines if "candidate" in line]) == 2


def test_list_as_json_is_for_programs(terminal: Terminal, bundles: list[BundleRef]) -> None:
    first = terminal.json("list")[0]
    assert (first["version"], first["stage"], first["bundle"]) == ("1", "production", bundles[0].hash)
    assert first["uri"] == bundles[0].uri


def test_list_can_be_narrowed_to_a_stage(terminal: Terminal) -> None:
    assert [one["version"] for one in terminal.json("list", "--stage", "candidate")] == ["2", "3"]


def test_list_can_be_narrowed_to_a_model(terminal: Terminal) -> None:
    assert terminal.json("list", "site_metrics") == []


def test_list_finds_what_was_made_from_a_data_set(terminal: Terminal) -> None:
    assert [one["version"] for one in terminal.json("list", "--from", FEATURES)] == ["1", "2", "3"]


def test_list_finds_the_version_of_a_decision_by_its_bundle(terminal: Terminal, bundles: list[BundleRef]) -> None:
    assert [one["version"] for one in terminal.json("list", "--from", bundles[1].hash)] == ["2"]


def test_an_empty_registry_says_how_the_first_version_comes_about(tmp_path: Path) -> None:
    assert "a training run registers the first one" in Terminal(FolderStore(tmp_path)).run("list").stdout


def test_the_registry_lies_in_the_home_of_vigil(terminal: Terminal, store: FolderStore, tmp_path: Path) -> None:
    store.root.rename(tmp_path / "models")
    result = CliRunner(env={"VIGIL_HOME": str(tmp_path)}).invoke(app, ["list", "--json"])
    assert [one["version"] for one in json.loads(result.stdout)] == ["1", "2", "3"]


def test_show_tells_data_code_metrics_and_history(terminal: Terminal) -> None:
    text = terminal.run("show", "card_fraud", "1").stdout
    for word in (
        FEATURES,
        "average_precision",
        "0.625",
        "training_window.start",
        "policy:gates-v1",
        "all gates passed",
    ):
        assert word in text


def test_show_without_a_version_is_about_production(terminal: Terminal) -> None:
    document = terminal.json("show", "card_fraud")
    assert document["version"] == "1"
    assert [entry["action"] for entry in document["history"]] == ["register", "promote", "promote"]
    assert document["metadata"]["metrics"]["auc"] == 0.5


def test_show_of_an_unknown_version_is_one_sentence(terminal: Terminal) -> None:
    error = terminal.run("show", "card_fraud", "9").exception
    assert isinstance(error, ContractError)
    assert str(error) == "card_fraud has no version 9: it has 1, 2, 3"


def test_a_reason_is_shown_as_it_was_written(terminal: Terminal) -> None:
    terminal.run("retire", "card_fraud", "3", "--reason", "see [bold]ticket[/] 7", "--yes")
    assert "see [bold]ticket[/] 7" in terminal.run("list").stdout


def test_compare_shows_what_differs_and_by_how_much(terminal: Terminal) -> None:
    lines = terminal.run("compare", "card_fraud", "production", "2").stdout.splitlines()
    (auc,) = [line for line in lines if "metrics.auc" in line]
    for word in ("0.5", "0.625", "+0.125"):
        assert word in auc


def test_compare_leaves_out_what_is_equal(terminal: Terminal) -> None:
    assert terminal.json("compare", "card_fraud", "1", "2")["different"] == {
        "bytes": [1115, 1117],
        "metrics.auc": [0.5, 0.625],
    }


def test_a_version_does_not_differ_from_itself(terminal: Terminal) -> None:
    assert "do not differ" in terminal.run("compare", "card_fraud", "1", "production").stdout


def test_promote_says_what_it_will_do_and_asks(terminal: Terminal, desk: Desk) -> None:
    desk.promote("2", Stage.STAGING, expected="1")
    result = terminal.run("promote", "card_fraud", "2", "--reason", "better", answer="y\n")
    assert "card_fraud: version 2 goes to production, version 1 goes to staging. Go on?" in result.stderr
    assert "card_fraud version 2 is now in stage production." in result.stdout
    assert desk.stages() == {"1": "staging", "2": "production", "3": "candidate"}


@pytest.mark.parametrize("answer", ["n\n", ""])
def test_without_a_yes_nothing_is_promoted(terminal: Terminal, desk: Desk, answer: str) -> None:
    before = desk.stages()
    arguments = ("promote", "card_fraud", "2", "--to", "staging", "--reason", "better")
    assert terminal.run(*arguments, answer=answer).exit_code == 1
    assert desk.stages() == before


def test_promote_records_who_and_why(terminal: Terminal, desk: Desk) -> None:
    terminal.run(
        *("promote", "card_fraud", "2", "--to", "staging"), *("--reason", "better", "--by", "policy:night", "--yes")
    )
    last = desk.registry.history("card_fraud")[-1]
    assert (last.actor, last.reason) == ("policy:night", "better")


def test_promote_without_a_reason_is_refused(terminal: Terminal) -> None:
    result = terminal.run("promote", "card_fraud", "2", "--yes")
    assert result.exit_code == 2
    assert "--reason" in result.stderr


def test_promote_is_refused_before_it_asks_where_it_cannot_be_done(terminal: Terminal) -> None:
    result = terminal.run("promote", "card_fraud", "2", "--reason", "better")
    assert str(result.exception) == "card_fraud version 2 is in stage candidate: the next step is staging"
    assert "Go on?" not in result.output


def test_promote_is_refused_if_production_changed_while_it_asked(terminal: Terminal, desk: Desk) -> None:
    desk.promote("2", Stage.STAGING, expected="1")
    desk.promote("3", Stage.STAGING, expected="1")

    command = [sys.executable, "-c", "from vigil.cli_models import app; app()", *terminal.options]
    command += ["promote", "card_fraud", "2", "--reason", "better"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0) as process:
        question = b""
        while b"Go on?" not in question:
            question += process.stderr.read(1000) or pytest.fail(f"it did not ask: {question.decode()}")
        desk.promote("3", expected="1")
        process.stdin.write(b"y\n")
        assert b"card_fraud version 3 is in production, by person:ana" in process.stderr.read()
    assert process.returncode == 1
    assert desk.stages() == {"1": "staging", "2": "staging", "3": "production"}


def test_rollback_goes_back_to_the_version_before(terminal: Terminal, desk: Desk) -> None:
    desk.enthrone("2", expected="1")
    document = terminal.json("rollback", "card_fraud", "--reason", "worse", "--yes")
    assert (document["version"], document["stage"], document["reason"]) == ("1", "production", "worse")


def test_rollback_asks_too(terminal: Terminal, desk: Desk) -> None:
    desk.enthrone("2", expected="1")
    result = terminal.run("rollback", "card_fraud", "--reason", "worse", answer="n\n")
    assert "card_fraud: version 1 goes to production, version 2 goes to candidate. Go on?" in result.stderr
    assert desk.stages()["2"] == "production"


def test_retire_refuses_the_production_version(terminal: Terminal) -> None:
    error = terminal.run("retire", "card_fraud", "1", "--reason", "old", "--yes").exception
    assert "is in production: promote another version or roll back first" in str(error)


def test_retire_takes_a_version_out_of_use(terminal: Terminal, desk: Desk) -> None:
    result = terminal.run("retire", "card_fraud", "3", "--reason", "old", "--yes")
    assert result.stdout == "card_fraud version 3 is now in stage retired.\n"
    assert desk.stages()["3"] == "retired"


@pytest.mark.parametrize("command", ["list", "show", "compare", "promote", "rollback", "retire"])
def test_every_command_teaches_with_an_example(terminal: Terminal, command: str) -> None:
    text = " ".join(terminal.run(command, "--help").stdout.split())
    assert f"vigil models {command}" in text
