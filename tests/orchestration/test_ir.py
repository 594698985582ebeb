"""What is read from a compiled pipeline."""

from pathlib import Path

import pytest
import yaml

from vigil.errors import ContractError
from vigil.orchestration.ir import CompiledPipeline, Kind, load_pipeline


def test_steps_come_in_the_order_in_which_they_can_run_with_their_conditions(compiled: dict) -> None:
    steps = compiled["small"].steps
    assert [(step.key, step.title) for step in steps] == [
        ("make-rows", "Make rows"),
        ("publish", "Publish"),
        ("tell", "Tell"),
    ]
    assert [step.conditions for step in steps] == [(), ("Make rows == 'publish'",), ()]
    assert [step.is_exit_handler for step in steps] == [False, False, True]
    assert steps[0].artifact_kinds == {"table": "system.Dataset", "metrics": "system.Metrics"}


def test_parameters_have_type_and_default(compiled: dict) -> None:
    parameters = compiled["typed"].parameters
    assert {name: one.kind for name, one in parameters.items()} == {
        "count": Kind.INTEGER,
        "ratio": Kind.NUMBER,
        "flag": Kind.BOOLEAN,
        "names": Kind.LIST,
        "options": Kind.STRUCT,
    }
    assert parameters["count"].required
    assert not parameters["ratio"].required
    assert parameters["ratio"].default == 0.5


def test_the_hash_is_that_of_the_content_not_of_the_compiler(compiled: dict, tmp_path: Path) -> None:
    def changed(old: str, new: str) -> CompiledPipeline:
        text = compiled["small"].path.read_text()
        assert old in text
        path = tmp_path / "changed.yaml"
        path.write_text(text.replace(old, new))
        return load_pipeline(path)

    assert changed("sdkVersion: kfp-2.17.0", "sdkVersion: kfp-2.17.3").content_hash == compiled["small"].content_hash
    assert changed("defaultValue: hello", "defaultValue: hullo").content_hash != compiled["small"].content_hash


@pytest.mark.parametrize("text", ["", "just text", "a: [", "components: {}", "\x00"])
def test_a_file_that_is_no_compiled_pipeline_is_refused_by_name(text: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    with pytest.raises(ContractError, match=r"odd\.yaml"):
        load_pipeline(path)


@pytest.mark.parametrize(("old", "new"), [("NUMBER_INTEGER", "NUMBER_COMPLEX"), ("componentRef", "componentReference")])
def test_a_pipeline_of_another_kind_is_refused_by_name(compiled: dict, tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(compiled["small"].path.read_text().replace(old, new))
    with pytest.raises(ContractError, match=r"odd\.yaml is no pipeline that this version"):
        load_pipeline(path)


def test_a_file_that_is_absent_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"gone\.yaml"):
        load_pipeline(tmp_path / "gone.yaml")


def test_tasks_that_wait_for_each_other_are_refused(compiled: dict, tmp_path: Path) -> None:
    spec = yaml.safe_load(compiled["small"].path.read_text())
    spec["root"]["dag"]["tasks"]["exit-handler-1"]["dependentTasks"] = ["tell"]
    path = tmp_path / "circle.yaml"
    path.write_text(yaml.safe_dump(spec))
    with pytest.raises(ContractError, match="wait for each other"):
        load_pipeline(path)
