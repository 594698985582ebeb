from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.features.store.support import KINDS, RedisServer, Workbench, start_redis


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisServer]:
    server = start_redis()
    yield server
    server.remove()


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A server that the test may stop, freeze and empty."""
    server = start_redis()
    yield server
    server.remove()


def _bench(kind: str, folder: Path, request: pytest.FixtureRequest) -> Workbench:
    url = request.getfixturevalue("shared_redis").url if "redis" in kind else ""
    return Workbench(kind, folder, url)


@pytest.fixture(params=KINDS)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workbench]:
    bench = _bench(request.param, tmp_path, request)
    yield bench
    bench.close()


@pytest.fixture(params=[kind for kind in KINDS if "memory" not in kind])
def shared_bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workbench]:
    """Only the kinds that several processes can open at once."""
    bench = _bench(request.param, tmp_path, request)
    yield bench
    bench.close()
