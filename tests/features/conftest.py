from collections.abc import Iterator

import pytest

from tests.features.redis_server import SERVER, running_redis


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The URL of a real Redis."""
    if SERVER is None:
        pytest.skip("redis-server is not installed")
    with running_redis() as url:
        yield url
