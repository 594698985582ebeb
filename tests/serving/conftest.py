from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.processes import Served, serve_pair


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serving")


@pytest.fixture(scope="session")
def pair(home: Path) -> Iterator[tuple[Served, Served]]:
    with serve_pair(home, vectors=True) as pair:
        yield pair


@pytest.fixture
def predictor(pair: tuple[Served, Served]) -> Served:
    return pair[0]


@pytest.fixture
def transformer(pair: tuple[Served, Served]) -> Served:
    return pair[1]
