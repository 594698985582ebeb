from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.training.samples import Task, use_case, write_raw


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The events of a small chain."""
    return write_raw(tmp_path_factory.mktemp("raw") / "chain")


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home of its own for everything that the steps keep."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIGIL_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def trained(raw: Path, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Task:
    """A run up to its registration."""
    task = Task(tmp_path_factory.mktemp("trained"), use_case())
    task.prepare(raw)
    task.fit()
    task.judge()
    task.register()
    return task
