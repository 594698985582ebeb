"""What only Redis can do: tell other replicas, go away, and come back."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import timedelta
from uuid import uuid4

import pytest
import redis

from tests.features.store.support import RedisServer, eventually, increment, lossy_line, number
from vigil.errors import ContractError, Unavailable
from vigil.features.store import CachedStore, Change, Outcome
from vigil.features.store.redis_store import RedisStore

NAMESPACE = "vigil:test"
HOUR = timedelta(hours=1)


@contextmanager
def replicas(server: RedisServer) -> Iterator[tuple[CachedStore, CachedStore]]:
    """Two caches whose entries live for an hour, so that only a message can make them true."""
    with CachedStore(open_redis(server), ttl=HOUR) as one, CachedStore(open_redis(server), ttl=HOUR) as two:
        assert hears(one, two)
        assert hears(two, one)
        yield one, two


def hears(listener: CachedStore, speaker: CachedStore) -> bool:
    """Return whether a word of the speaker came through; everything said before has then come through as well."""
    before = listener.counts.invalidations

    def heard() -> bool:
        key = f"ready:{uuid4()}"
        listener.get_many([key])
        increment(speaker, [key], key)
        return listener.counts.invalidations > before

    return eventually(heard)


def open_redis(server: RedisServer, namespace: str = NAMESPACE) -> RedisStore:
    return RedisStore(server.url, namespace, timeout=timedelta(milliseconds=300))


def test_a_write_of_one_replica_drops_the_entry_of_the_other(own_redis: RedisServer) -> None:
    with replicas(own_redis) as (one, two):
        increment(one, ["a", "b"], "e1")
        assert (number(two, "a"), number(two, "b")) == (1, 1)
        increment(one, ["a"], "e2")
        before = two.counts.hits
        assert eventually(lambda: number(two, "a") == 2)
        assert number(two, "b") == 1
        assert two.counts.hits > before


def test_a_key_created_by_one_replica_is_no_longer_absent_for_the_other(own_redis: RedisServer) -> None:
    with replicas(own_redis) as (one, two):
        assert two.get_many(["a"]) == [None]
        increment(one, ["a"], "e")
        assert eventually(lambda: number(two, "a") == 1)


def test_a_snapshot_loaded_by_one_replica_reaches_the_other(own_redis: RedisServer) -> None:
    with replicas(own_redis) as (one, two):
        assert two.get_many(["k777"]) == [None]
        one.load((f"k{i}", b"%d" % i) for i in range(1000))
        assert eventually(lambda: number(two, "k777") == 777)


def test_a_replica_does_not_drop_what_it_wrote_itself(own_redis: RedisServer) -> None:
    with replicas(own_redis) as (one, two):
        increment(one, ["own"], "e")
        assert hears(one, two)
        before = one.counts.hits
        assert number(one, "own") == 1
        assert one.counts.hits == before + 1


def test_after_a_restart_of_redis_the_replicas_hear_of_each_other_again(own_redis: RedisServer) -> None:
    with replicas(own_redis) as (one, two):
        own_redis.stop()
        own_redis.start()
        assert hears(one, two)
        assert hears(two, one)


def test_a_restart_of_redis_empties_the_caches_since_messages_may_be_lost(own_redis: RedisServer) -> None:
    with CachedStore(open_redis(own_redis), ttl=HOUR) as store:
        increment(store, ["a"], "e")
        own_redis.stop()
        assert eventually(lambda: store.entries() == 0)


def test_a_write_while_nobody_could_hear_it_is_seen_once_the_line_stands_again(own_redis: RedisServer) -> None:
    with replicas(own_redis) as (one, two), redis.Redis.from_url(own_redis.url) as client:
        increment(one, ["a"], "e1")
        client.client_kill_filter(_type="pubsub")
        assert eventually(lambda: one.entries() == 0)
        assert number(one, "a") == 1
        increment(two, ["a"], "e2")
        assert eventually(lambda: number(one, "a") == 2)


def test_a_redis_that_went_away_is_unavailable_and_works_again_when_it_is_back(own_redis: RedisServer) -> None:
    with open_redis(own_redis) as store:
        increment(store, ["a"], "e1")
        own_redis.stop()
        for call in (
            lambda: store.get_many(["a"]),
            lambda: store.commit([Change("a", b"2")], "e2"),
            lambda: store.seen("e1"),
            lambda: store.load([("a", b"2")]),
        ):
            with pytest.raises(Unavailable, match=r"Redis at .*redis\.sock .*check that it runs.*VIGIL_REDIS_URL"):
                call()
        assert store.counts.unavailable == 3
        own_redis.start()
        assert increment(store, ["a"], "e3") is Outcome.APPLIED
        assert number(store, "a") == 1


def test_a_redis_that_hangs_is_unavailable_within_the_timeout(own_redis: RedisServer) -> None:
    with open_redis(own_redis) as store:
        increment(store, ["a"], "e")
        own_redis.freeze()
        with pytest.raises(Unavailable, match=r"TimeoutError|Timeout"):
            store.get_many(["a"])
        own_redis.thaw()
        assert number(store, "a") == 1


def test_after_an_error_no_old_connection_is_used_again(own_redis: RedisServer) -> None:
    with open_redis(own_redis) as store, redis.Redis.from_url(own_redis.url) as client:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: store.get_many(["a"]), range(200)))
        old = {line["id"] for line in client.client_list()} - {str(client.client_id())}
        own_redis.freeze()
        with pytest.raises(Unavailable):
            store.get_many(["a"])
        own_redis.thaw()
        store.get_many(["a"])
        assert eventually(lambda: old.isdisjoint(line["id"] for line in client.client_list()))


def test_an_event_whose_commit_timed_out_is_applied_exactly_once(own_redis: RedisServer) -> None:
    with open_redis(own_redis) as store:
        assert store.get_many(["a"]) == [None]
        store.commit([], "warm-up")
        own_redis.freeze()
        with pytest.raises(Unavailable):
            store.commit([Change("a", b"1")], "e")
        own_redis.thaw()
        assert increment(store, ["a"], "e") in (Outcome.APPLIED, Outcome.DUPLICATE)
        assert increment(store, ["a"], "e") is Outcome.DUPLICATE
        assert number(store, "a") == 1


def test_a_commit_whose_answer_was_lost_is_unavailable_not_a_duplicate_of_itself(own_redis: RedisServer) -> None:
    with lossy_line(own_redis) as line, RedisStore(line.url, NAMESPACE) as store:
        increment(store, ["a"], "e1")
        line.loses_next_answer = True
        with pytest.raises(Unavailable):
            store.commit([], "e2")
        assert store.commit([], "e2").outcome is Outcome.DUPLICATE


def test_a_refused_connection_names_the_host_but_never_the_password() -> None:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"redis://user:s3cret@127.0.0.1:{port}/0"
    with RedisStore(url, NAMESPACE) as store, pytest.raises(Unavailable, match=f"Redis at 127.0.0.1:{port}") as caught:
        store.get_many(["a"])
    assert "s3cret" not in str(caught.value)


def test_a_redis_without_memory_is_unavailable_with_its_reason(own_redis: RedisServer) -> None:
    with open_redis(own_redis) as store, redis.Redis.from_url(own_redis.url) as client:
        client.config_set("maxmemory", 1)
        with pytest.raises(Unavailable, match="has memory left"):
            store.commit([Change("a", b"1")], "e")


def test_nothing_in_redis_lives_for_ever_but_the_sequence(own_redis: RedisServer) -> None:
    with open_redis(own_redis) as store, redis.Redis.from_url(own_redis.url) as client:
        increment(store, ["a", "b"], "e")
        store.load([("c", b"1")])
        lasting = [key for key in client.scan_iter() if client.pttl(key) < 0]
        assert lasting == [b"{vigil:test}:sequence"]


def test_two_feature_schemas_never_read_each_others_states_and_events(own_redis: RedisServer) -> None:
    with open_redis(own_redis, "vigil:one") as one, open_redis(own_redis, "vigil:two") as two:
        increment(one, ["a"], "e")
        assert two.get_many(["a"]) == [None]
        assert not two.seen("e")


def test_versions_of_an_emptied_redis_are_larger_than_any_before(own_redis: RedisServer) -> None:
    with open_redis(own_redis) as store, redis.Redis.from_url(own_redis.url) as client:
        before = store.commit([Change("a", b"1")])
        client.flushall()
        assert store.commit([Change("a", b"2")]).version > before.version


def test_a_script_that_redis_forgot_is_sent_again(own_redis: RedisServer) -> None:
    with open_redis(own_redis) as store, redis.Redis.from_url(own_redis.url) as client:
        increment(store, ["a"], "e1")
        client.script_flush()
        assert increment(store, ["a"], "e2") is Outcome.APPLIED


def test_a_url_that_is_none_is_refused_with_an_example() -> None:
    with pytest.raises(ContractError, match="such as redis://host:6379/0"):
        RedisStore("localhost:6379", NAMESPACE)


def test_a_namespace_that_could_match_others_is_refused() -> None:
    with pytest.raises(ContractError, match=r"namespace 'vigil:\*'"):
        RedisStore("redis://localhost:6379/0", "vigil:*")


def test_a_second_listener_of_one_store_is_refused(own_redis: RedisServer) -> None:
    behind = open_redis(own_redis)
    with CachedStore(behind), pytest.raises(ContractError, match="another RedisStore"):
        CachedStore(behind)
