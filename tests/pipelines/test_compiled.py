"""The compiled pipelines are those of the code, and keep the rules."""

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler

from tests.pipelines import lint, misdeeds
from vigil.orchestration.compiling import COMPILED
from vigil.usecase import shipped

ROOT = Path(__file__).parents[2]
NAMES = ("training", "retraining", "batch_scoring", "site_models")

pytestmark = pytest.mark.xdist_group("compiled")


def compiled_anew(folder: Path, **variables: str) -> Path:
    """Compile in a process of its own: the image is read from the environment when the components are imported."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("VIGIL_")}
    command = [sys.executable, "-m", "vigil.orchestration.compiling", str(ROOT), str(folder)]
    subprocess.run(command, check=True, cwd=ROOT, env={**bare, **variables}, capture_output=True)
    return folder / COMPILED


@pytest.fixture(scope="module")
def anew(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled_anew(tmp_path_factory.mktemp("compiled"))


def documents(path: Path) -> list[Any]:
    found = list(yaml.safe_load_all(path.read_text()))
    found[0].pop("sdkVersion")
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_pipeline_is_what_the_code_compiles_to(anew: Path, name: str) -> None:
    committed = documents(shipped("compiled") / f"{name}.yaml")
    assert documents(anew / f"{name}.yaml") == committed, (
        "run `vigil pipeline compile --manifests` and commit what it wrote"
    )


def test_the_image_of_every_step_is_the_one_that_was_asked_for(tmp_path: Path) -> None:
    image = "registry.test/vigil-python@sha256:" + "a" * 64
    spec, _ = lint.read(compiled_anew(tmp_path, VIGIL_IMAGE=image) / "training.yaml")
    assert {container["image"] for container in lint.executors(spec).values()} == {image}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rule", lint.RULES, ids=lambda rule: rule.__name__)
def test_every_pipeline_keeps_every_rule(name: str, rule: lint.Rule) -> None:
    assert rule(*lint.read(shipped("compiled") / f"{name}.yaml")) == []


@pytest.mark.parametrize("rule", lint.RULES, ids=lambda rule: rule.__name__)
def test_every_rule_finds_a_pipeline_that_breaks_it(rule: lint.Rule, tmp_path: Path) -> None:
    path = tmp_path / "misdeed.yaml"
    compiler.Compiler().compile(getattr(misdeeds, rule.__name__), str(path))
    assert rule(*lint.read(path)) != []


def test_a_condition_on_text_with_a_quote_is_found(tmp_path: Path) -> None:
    path = tmp_path / "misdeed.yaml"
    compiler.Compiler().compile(misdeeds.conditions_decide_on_plain_words, str(path))
    assert lint.conditions_decide_on_single_values(*lint.read(path)) != []


def test_training_and_retraining_differ_in_what_they_are_told_only() -> None:
    first, second = (lint.read(shipped("compiled") / f"{name}.yaml")[0] for name in ("training", "retraining"))
    assert lint.executors(first) == lint.executors(second)
    given = {
        spec["pipelineInfo"]["name"]: set(spec["root"]["inputDefinitions"]["parameters"]) for spec in (first, second)
    }
    assert given["retraining"] - given["training"] == {"cause", "event_id"}
    assert given["training"] <= given["retraining"]


def test_a_body_of_a_component_is_short_and_imports_inside() -> None:
    for path in sorted((ROOT / "components").glob("*.py")):
        tree = ast.parse(path.read_text())
        assert "from __future__" not in path.read_text(), f"{path.name}: kfp cannot read such annotations"
        found = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
        for function in found:
            body = function.body[1:]
            assert ast.get_docstring(function), function.name
            assert body[-1].end_lineno - body[0].lineno + 1 <= 15, f"{path.name}: {function.name}"  # type: ignore[operator]
        outside = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        allowed = ("from kfp import", "from components.base import", "import functools", "from vigil.settings import")
        assert all(line.startswith(allowed) for line in outside), (path.name, outside)
