"""Which store a process gets, from its settings."""

from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field

from vigil.clock import Clock, system_clock
from vigil.contracts.keys import ContentHash
from vigil.errors import MissingExtra
from vigil.features.store.base import Retention, StateStore
from vigil.features.store.cache import CachedStore
from vigil.features.store.sqlite import SqliteStore
from vigil.settings import Settings


class StoreOptions(BaseModel):
    """The online state store as configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cache_entries: int = Field(
        default=50_000, ge=1, description="keys in the cache; a tenth of the active ones is enough"
    )
    cache_ttl_seconds: float = Field(default=60.0, gt=0, description="greatest age of what the cache returns")
    state_days: float = Field(default=400.0, gt=0, description="an entity that is silent for longer starts anew")
    event_hours: float = Field(default=24.0, gt=0, description="how long a second delivery of an event is recognised")
    redis_timeout_seconds: float = Field(default=0.5, gt=0, description="wait for Redis, to connect and to answer each")

    def retention(self) -> Retention:
        """Return how long the store remembers."""
        return Retention(states=timedelta(days=self.state_days), events=timedelta(hours=self.event_hours))


def namespace_of(schema: ContentHash) -> str:
    """Return the namespace of the states of one feature schema, such as `vigil:0f3a5c7e9b1d2468`."""
    return f"vigil:{schema.removeprefix('sha256:')[:16]}"


def open_store(
    settings: Settings, schema: ContentHash, options: StoreOptions | None = None, clock: Clock = system_clock
) -> StateStore:
    """Return a cache in front of Redis where `redis_url` is set, of a SQLite file below `home` otherwise."""
    options = options or StoreOptions()
    return CachedStore(
        _behind(settings, schema, options, clock),
        capacity=options.cache_entries,
        ttl=timedelta(seconds=options.cache_ttl_seconds),
        clock=clock,
    )


def _behind(settings: Settings, schema: ContentHash, options: StoreOptions, clock: Clock) -> StateStore:
    namespace = namespace_of(schema)
    if settings.redis_url is None:
        path = settings.home / "state" / f"{namespace.replace(':', '-')}.sqlite"
        return SqliteStore(path, namespace, retention=options.retention(), clock=clock)
    try:
        from vigil.features.store.redis_store import RedisStore
    except ModuleNotFoundError as error:
        raise MissingExtra("redis", "serve") from error
    timeout = timedelta(seconds=options.redis_timeout_seconds)
    return RedisStore(settings.redis_url, namespace, retention=options.retention(), timeout=timeout)
