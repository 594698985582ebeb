"""What a run is told beyond what somebody typed."""

import getpass
from pathlib import Path

import pytest
import yaml

from vigil.errors import ContractError
from vigil.orchestration.filling import Purpose, Wanted, filled_arguments
from vigil.orchestration.ir import CompiledPipeline, load_pipeline
from vigil.usecase import load_use_case

NAMES = ("use_case", "raw_uri", "data_version", "code_version")
OPTIONAL = ("source", "started_by", "where", "cause", "deploy_target")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory, compiled: dict) -> CompiledPipeline:
    """A pipeline that takes what ours take."""
    spec = yaml.safe_load(compiled["small"].path.read_text())
    needed = {name: {"parameterType": "STRING"} for name in NAMES}
    others = {name: {"parameterType": "STRING", "isOptional": True, "defaultValue": ""} for name in OPTIONAL}
    spec["root"]["inputDefinitions"]["parameters"] = needed | others
    path = tmp_path_factory.mktemp("taking") / "taking.yaml"
    path.write_text(yaml.safe_dump(spec))
    return load_pipeline(path)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    path = tmp_path / "raw.csv"
    path.write_text("a,b\n1,2\n")
    return path


def test_a_use_case_is_given_by_name_and_data_by_path(pipeline: CompiledPipeline, raw: Path) -> None:
    wanted = Wanted("card_fraud", str(raw), where="/runs")
    said = filled_arguments(pipeline, wanted, Purpose.HERE)
    assert said["use_case"] == load_use_case("card_fraud").text
    assert said["raw_uri"] == str(raw)
    assert said["started_by"] == f"person:{getpass.getuser()}"
    assert (said["cause"], said["where"]) == ("started by hand", "/runs")
    assert "deploy_target" not in said


def test_on_a_server_the_versions_are_hashes_and_the_target_is_kserve(pipeline: CompiledPipeline, raw: Path) -> None:
    first = filled_arguments(pipeline, Wanted("card_fraud", str(raw)), Purpose.ONCE)
    assert first["deploy_target"] == "kserve"
    assert first["code_version"].startswith("sha256:")
    raw.write_text("a,b\n1,3\n")
    second = filled_arguments(pipeline, Wanted("card_fraud", str(raw)), Purpose.ONCE)
    assert second["code_version"] == first["code_version"]
    assert second["data_version"] != first["data_version"]


def test_no_run_of_a_schedule_can_take_a_cached_result_of_another(pipeline: CompiledPipeline, raw: Path) -> None:
    said = filled_arguments(pipeline, Wanted("card_fraud", str(raw)), Purpose.REPEATED)
    assert said["data_version"] == ""
    assert said["code_version"].endswith("[[schedule]]")


def test_what_is_said_wins(pipeline: CompiledPipeline, raw: Path) -> None:
    pairs = ("deploy_target=none", "code_version=mine", "started_by=policy:drift", f"raw_uri={raw}")
    said = filled_arguments(pipeline, Wanted("card_fraud", pairs=pairs), Purpose.ONCE)
    assert (said["deploy_target"], said["code_version"], said["started_by"]) == ("none", "mine", "policy:drift")
    assert said["raw_uri"] == str(raw)


@pytest.mark.parametrize(
    ("wanted", "complaint"),
    [
        (Wanted(), "needs --use-case NAME: card_fraud, retail_pos"),
        (Wanted("card_fraud"), "needs --data PATH"),
        (Wanted("cardfraud", "gs://a/b"), "no use case at cardfraud"),
        (Wanted("card_fraud", "/nowhere/at/all.csv"), "--data: there is nothing at /nowhere/at/all.csv"),
        (Wanted("card_fraud", "gs://a/b", pairs=("sauce=x",)), "did you mean source?"),
    ],
)
def test_what_is_missing_or_wrong_is_named_by_its_option(
    pipeline: CompiledPipeline, wanted: Wanted, complaint: str
) -> None:
    with pytest.raises(ContractError, match=complaint):
        filled_arguments(pipeline, wanted, Purpose.HERE)


def test_an_option_that_the_pipeline_does_not_take_is_refused(compiled: dict, raw: Path) -> None:
    with pytest.raises(ContractError, match="pipeline small takes no --data"):
        filled_arguments(compiled["small"], Wanted(data=str(raw)), Purpose.HERE)
    assert filled_arguments(compiled["small"], Wanted(), Purpose.ONCE) == {}
