from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.features.store.support import RedisServer, increment, number
from vigil.contracts.keys import hash_bytes
from vigil.features.store import StoreOptions, namespace_of, open_store
from vigil.settings import Settings

SCHEMA, OTHER = hash_bytes(b"one"), hash_bytes(b"other")


def test_without_redis_the_states_are_in_a_file_below_home(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with open_store(settings, SCHEMA) as store:
        increment(store, ["a"], "e")
    with open_store(settings, SCHEMA) as store:
        assert number(store, "a") == 1
    assert [path.suffix for path in (tmp_path / "state").iterdir()] == [".sqlite"]


def test_each_feature_schema_has_its_own_file(tmp_path: Path) -> None:
    with open_store(Settings(home=tmp_path), SCHEMA) as one, open_store(Settings(home=tmp_path), OTHER) as other:
        increment(one, ["a"], "e")
        assert number(other, "a") == 0


def test_with_a_redis_url_the_states_are_in_redis(shared_redis: RedisServer, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, redis_url=shared_redis.url)
    with open_store(settings, SCHEMA) as one, open_store(settings, SCHEMA) as two:
        increment(one, ["factory"], "e")
        assert number(two, "factory") == 1
    assert not (tmp_path / "state").exists()


def test_a_namespace_is_short_and_differs_by_schema() -> None:
    assert namespace_of(SCHEMA) == "vigil:" + SCHEMA[7:23]
    assert namespace_of(SCHEMA) != namespace_of(OTHER)


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(ValidationError, match="cache_size"):
        StoreOptions.model_validate({"cache_size": 10})
