"""States in Redis, for several replicas: one MGET to look up, one script to commit, one channel for invalidations."""

import json
import logging
import re
import struct
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from typing import Any, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from vigil.errors import ContractError, Unavailable
from vigil.features.store.base import Change, Listener, Notice, Outcome, Receipt, Retention, StateStore, Versioned

logger = logging.getLogger(__name__)

COMMIT = """
-- KEYS: sequence, event..., state...
-- ARGV: number of events, event TTL in ms, state TTL in ms, pattern of the listeners' channels, own channel,
--       then the note of each event, then for each state its expected version and its value
local events = tonumber(ARGV[1])
local first = 2 + events
for i = 2, events + 1 do
  if redis.call('EXISTS', KEYS[i]) == 1 then return -1 end
end
local function argument(i) return 6 + events + 2 * (i - first) end
for i = first, #KEYS do
  local expected = ARGV[argument(i)]
  if expected ~= '*' and redis.call('GETRANGE', KEYS[i], 0, 7) ~= expected then return 0 end
end
local version = redis.call('INCR', KEYS[1])
if version == 1 then
  -- A new or an emptied Redis: start at the time, above all versions that a client may remember from before.
  local now = redis.call('TIME')
  version = now[1] * 1000000 + now[2]
  redis.call('SET', KEYS[1], string.format('%.0f', version))
end
local packed = struct.pack('>I8', version)
local changed = {}
for i = first, #KEYS do
  redis.call('SET', KEYS[i], packed .. ARGV[argument(i) + 1], 'PX', ARGV[3])
  changed[i - first + 1] = KEYS[i]
end
for i = 2, events + 1 do redis.call('SET', KEYS[i], ARGV[4 + i], 'PX', ARGV[2]) end
for _, channel in ipairs(redis.call('PUBSUB', 'CHANNELS', ARGV[4])) do
  if channel ~= ARGV[5] then
    redis.call('PUBLISH', channel, string.format('%.0f ', version) .. cjson.encode(changed))
  end
end
return version
"""
ANY_VERSION = b"*"
LOAD_STATES = 200
IDLE_SECONDS = 0.2
PING_AFTER, LOST_AFTER = 25, 50
"""Idle rounds of the listener after which it asks whether the line still stands, and after which it gives it up."""

_VERSION = struct.Struct(">Q")


class RedisStore(StateStore):
    """Every key starts with `{namespace}:`, so that feature schemas never read each other's states.

    Needs one primary (tested with Redis 7) and its `maxmemory-policy` of `noeviction`: any other drops live states.
    Whether states survive a restart of Redis is up to its persistence settings. A Redis that does not answer
    within `timeout` (connecting and answering each) gives Unavailable; the next call tries anew.
    """

    def __init__(
        self,
        url: str,
        namespace: str,
        *,
        retention: Retention | None = None,
        timeout: timedelta = timedelta(milliseconds=500),
        max_connections: int = 16,
    ) -> None:
        super().__init__()
        self._pool = _pool(url, timeout.total_seconds(), max_connections)
        self._client = redis.Redis(connection_pool=self._pool)
        self._address = _address(self._pool.connection_kwargs)
        prefix = f"{{{_checked(namespace)}}}:"
        self._sequence, self._event, self._state = prefix + "sequence", prefix + "event:", prefix + "state:"
        self._channels = prefix + "changes:*"
        self._channel = prefix + "changes:" + uuid.uuid4().hex
        retention = retention or Retention()
        self._state_ms = str(retention.states // timedelta(milliseconds=1))
        self._event_ms = str(retention.events // timedelta(milliseconds=1))
        self._script = self._client.register_script(COMMIT)
        self._closing = threading.Event()
        self._listening: threading.Thread | None = None

    def load(self, states: Iterable[tuple[str, bytes]]) -> int:
        """Write a snapshot over whatever is there, and return how many states it had."""
        source, count = iter(states), 0
        while batch := dict(islice(source, LOAD_STATES)):
            with self._explained():
                self._run([(key, ANY_VERSION, value) for key, value in batch.items()], {})
            count += len(batch)
        return count

    def is_used(self) -> bool:
        """Return whether anything was ever written to the namespace, since Redis was last emptied."""
        with self._explained():
            return bool(self._client.exists(self._sequence))

    def watch(self, listener: Listener) -> None:
        """Tell `listener` of every write of another client, and of anything possible whenever the line was down."""
        if self._listening is not None:
            raise ContractError("this RedisStore has a listener: open another RedisStore for another cache")
        self._listening = threading.Thread(
            target=self._listen, args=(listener,), name="vigil-state-changes", daemon=True
        )
        self._listening.start()

    def close(self) -> None:
        """Stop listening and close the connections; may be called twice."""
        self._closing.set()
        if self._listening is not None:
            self._listening.join()
        self._client.close()
        self._pool.disconnect()

    def _read(self, keys: Sequence[str]) -> tuple[list[Versioned | None], int]:
        if not keys:
            return [], 0
        with self._explained():
            values = cast("list[bytes | None]", self._client.mget([self._state + key for key in keys]))
        found = [value if value is None else Versioned(value[8:], _VERSION.unpack_from(value)[0]) for value in values]
        return found, len(found) - found.count(None)

    def _recall(self, event_ids: Sequence[str]) -> list[bytes | None]:
        if not event_ids:
            return []
        with self._explained():
            return cast("list[bytes | None]", self._client.mget([self._event + event_id for event_id in event_ids]))

    def _commit(self, changes: Sequence[Change], notes: Mapping[str, bytes]) -> Receipt:
        rows = [(key, _VERSION.pack(expected) if expected else b"", value) for key, value, expected in changes]
        with self._explained():
            version = self._run(rows, notes)
        if version > 0:
            return Receipt(Outcome.APPLIED, version)
        return Receipt(Outcome.DUPLICATE if version else Outcome.CONFLICT)

    def _run(self, rows: Sequence[tuple[str, bytes, bytes]], notes: Mapping[str, bytes]) -> int:
        keys = [self._sequence, *(self._event + event_id for event_id in notes)]
        arguments: list[str | bytes] = [str(len(notes)), self._event_ms, self._state_ms, self._channels, self._channel]
        arguments += notes.values()
        for key, expected, value in rows:
            keys.append(self._state + key)
            arguments += (expected, value)
        return cast("int", self._script(keys=keys, args=arguments))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except redis.RedisError as error:
            if isinstance(error, redis.ConnectionError | redis.TimeoutError):
                self._pool.disconnect(inuse_connections=False)
            raise Unavailable(
                f"Redis at {self._address} did not do its work ({type(error).__name__}: {error}): check that it runs, "
                "that VIGIL_REDIS_URL names it and that it has memory left, then repeat the call"
            ) from error

    def _listen(self, listener: Listener) -> None:
        is_down = False
        while not self._closing.is_set():
            try:
                for notice in self._notices():
                    is_down = False
                    listener(notice)
            except (redis.RedisError, OSError) as error:
                listener(Notice(None))
                if not is_down:
                    logger.warning("Redis at %s: no invalidations until it is back: %s", self._address, error)
                is_down = True
                self._closing.wait(IDLE_SECONDS)

    def _notices(self) -> Iterator[Notice]:
        """Yield one notice of everything once the subscription stands, then one for each write of another client."""
        with redis.client.PubSub(self._pool) as line:
            line.subscribe(self._channel)
            idle = 0
            while not self._closing.is_set():
                message = line.get_message(timeout=IDLE_SECONDS)
                idle = 0 if message else idle + 1
                if idle == PING_AFTER:
                    line.ping()
                elif idle > LOST_AFTER:
                    raise redis.TimeoutError("no answer to a ping")
                if message and (notice := self._understand(message)):
                    yield notice

    def _understand(self, message: dict[str, Any]) -> Notice | None:
        if message["type"] == "subscribe":
            return Notice(None)
        if message["type"] != "message":
            return None
        version, _, text = message["data"].partition(b" ")
        return Notice(tuple(name.removeprefix(self._state) for name in json.loads(text)), int(version))


def _checked(namespace: str) -> str:
    if not re.fullmatch(r"[\w.:-]+", namespace):
        raise ContractError(f"namespace {namespace!r}: only letters, digits and _ . : - can stand in it")
    return namespace


def _pool(url: str, seconds: float, max_connections: int) -> redis.BlockingConnectionPool:
    try:
        return redis.BlockingConnectionPool.from_url(
            url,
            max_connections=max_connections + 1,  # one for the listener
            timeout=seconds,
            socket_timeout=seconds,
            socket_connect_timeout=seconds,
            retry=Retry(NoBackoff(), 0),  # a commit is not repeated unasked: it would meet itself as a duplicate
            protocol=2,
        )
    except ValueError as error:
        raise ContractError(f"Redis URL: {error} (such as redis://host:6379/0 or unix:///run/redis.sock)") from error


def _address(options: dict[str, Any]) -> str:
    """Return where the Redis is, without its password."""
    return str(options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}")
