"""The sample pipelines, compiled once, and a way to run them on this machine."""

from collections.abc import Callable
from pathlib import Path

import pytest

from vigil.orchestration.ir import CompiledPipeline, load_pipeline
from vigil.orchestration.local import LocalRequest, run_local
from vigil.orchestration.runs import LocalRun

NAMES = ("small", "bad", "loop", "greedy", "foreign", "typed")


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, CompiledPipeline]:
    from kfp import compiler

    from tests.orchestration import samples

    folder = tmp_path_factory.mktemp("compiled")
    for name in NAMES:
        compiler.Compiler().compile(getattr(samples, name), str(folder / f"{name}.yaml"))
    return {name: load_pipeline(folder / f"{name}.yaml") for name in NAMES}


@pytest.fixture(autouse=True)
def steps_find_the_misdeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps never see the folder that the user stands in, so say where `tests` lies."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


@pytest.fixture
def run(compiled: dict[str, CompiledPipeline], tmp_path: Path) -> Callable[..., LocalRun]:
    def start(name: str, *, retries: int = 0, **arguments: object) -> LocalRun:
        return run_local(LocalRequest(compiled[name], arguments, tmp_path / "runs", retries))

    return start
