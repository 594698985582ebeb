"""Pipelines of a checkout become files, the same for the same source."""

import os
from pathlib import Path

import pytest
import yaml

from vigil.errors import ContractError
from vigil.orchestration.compiling import compiled_files, differences
from vigil.orchestration.ir import load_pipeline, version_name

PART = """
from kfp import dsl

@dsl.component(base_image="registry.test/python:1", install_kfp_package=False)
def say(text: str) -> str:
    return text
"""
WHOLE = """
from kfp import dsl
from components.say import say

@dsl.pipeline(name="inner-part")
def inner(text: str = "inner"):
    say(text=text)

@dsl.pipeline(name="two-words", display_name="Two words")
def two_words(text: str = "hello"):
    inner(text=text)
"""
FILES = [Path("manifests/pipelines/two_words.yaml"), Path("pipelines/compiled/two_words.yaml")]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "components").mkdir()
    (tmp_path / "pipelines").mkdir()
    for folder in ("components", "pipelines"):
        (tmp_path / folder / "__init__.py").touch()
    (tmp_path / "components" / "say.py").write_text(PART)
    (tmp_path / "pipelines" / "two_words.py").write_text(WHOLE)
    (tmp_path / "pipelines" / "helpers.py").write_text("from pipelines.two_words import two_words\n")
    return tmp_path


def write(checkout: Path, files: dict[Path, str]) -> None:
    for path, text in files.items():
        (checkout / path).parent.mkdir(parents=True, exist_ok=True)
        (checkout / path).write_text(text)


def test_the_same_source_gives_the_same_bytes_wherever_it_lies(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path_factory.mktemp("other") / "checkout"
    checkout.rename(other)
    first = compiled_files(other)
    other.rename(checkout)
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    assert compiled_files(checkout) == first
    assert str(checkout) not in "".join(first.values())
    assert not any((checkout / "pipelines").glob("compiled"))


def test_each_pipeline_gives_a_file_and_a_manifest_whose_version_is_named_by_content(
    checkout: Path,
) -> None:
    files = compiled_files(checkout)
    write(checkout, files)
    assert list(files) == FILES
    assert differences(checkout, files) == []
    compiled = load_pipeline(checkout / FILES[1])
    pipeline, version = yaml.safe_load_all(files[FILES[0]])
    assert (pipeline["kind"], version["kind"]) == ("Pipeline", "PipelineVersion")
    assert {one["apiVersion"] for one in (pipeline, version)} == {"pipelines.kubeflow.org/v2beta1"}
    assert {one["metadata"]["namespace"] for one in (pipeline, version)} == {"kubeflow"}
    assert pipeline["metadata"]["name"] == version["spec"]["pipelineName"] == "two-words"
    assert version["metadata"]["name"] == version["spec"]["displayName"] == version_name(compiled)
    assert pipeline["spec"]["displayName"] == "two-words"
    assert version["spec"]["pipelineSpec"] == compiled.spec


def test_what_is_out_of_date_absent_or_surplus_is_named(checkout: Path) -> None:
    write(checkout, compiled_files(checkout))
    source = checkout / "pipelines" / "two_words.py"
    source.write_text(WHOLE.replace('"hello"', '"hullo"'))
    (checkout / FILES[0]).unlink()
    (checkout / "pipelines" / "compiled" / "gone.yaml").write_text("")
    found = differences(checkout, compiled_files(checkout))
    assert [text.splitlines()[0] for text in found] == [
        "manifests/pipelines/two_words.yaml is absent",
        "pipelines/compiled/two_words.yaml differs",
        "pipelines/compiled/gone.yaml comes from no pipeline",
    ]
    assert "defaultValue: hullo" in found[1]


def test_a_module_that_does_not_compile_is_an_error_with_its_last_lines(checkout: Path) -> None:
    (checkout / "pipelines" / "two_words.py").write_text(WHOLE.replace("inner(text=text)", "inner(text=1.5)"))
    with pytest.raises(ContractError, match="the pipelines do not compile") as caught:
        compiled_files(checkout)
    assert "STRING" in str(caught.value)


def test_a_folder_without_pipelines_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="give --checkout"):
        compiled_files(tmp_path)


def test_the_committed_files_are_as_their_sources_say(monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).parents[2]
    for name in [name for name in os.environ if name.startswith("VIGIL_")]:
        monkeypatch.delenv(name)
    assert differences(root, compiled_files(root)) == []
