"""The online state store: what the engine knows of each entity, for one event at a time.

>>> from vigil.features.store import Change, MemoryStore
>>> with MemoryStore() as store:
...     store.get_many(["customer:4711"])
...     store.commit([Change("customer:4711", b"state")], event_id="t-1").outcome.value
...     store.commit([Change("customer:4711", b"state")], event_id="t-1").outcome.value
...     store.get_many(["customer:4711"])
[None]
'applied'
'duplicate'
[Versioned(value=b'state', version=1)]
"""

from vigil.features.store.base import (
    ABSENT,
    Change,
    Listener,
    Notice,
    Outcome,
    Receipt,
    Retention,
    StateStore,
    Versioned,
)
from vigil.features.store.cache import CachedStore
from vigil.features.store.counts import StoreCounts
from vigil.features.store.factory import StoreOptions, namespace_of, open_store
from vigil.features.store.memory import MemoryStore
from vigil.features.store.metrics import StoreCollector, export_metrics
from vigil.features.store.sqlite import SqliteStore

__all__ = [
    "ABSENT",
    "CachedStore",
    "Change",
    "Listener",
    "MemoryStore",
    "Notice",
    "Outcome",
    "Receipt",
    "Retention",
    "SqliteStore",
    "StateStore",
    "StoreCollector",
    "StoreCounts",
    "StoreOptions",
    "Versioned",
    "export_metrics",
    "namespace_of",
    "open_store",
]
