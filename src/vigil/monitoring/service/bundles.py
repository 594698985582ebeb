"""The bundles of what is served: the features' names and the references, found by hash and verified."""

import logging
from dataclasses import dataclass

from vigil.contracts.keys import ContentHash
from vigil.errors import ContractError, Unavailable
from vigil.registry.bundle import Bundle, bundle_path, load_bundle
from vigil.registry.store import open_store
from vigil.settings import Settings

_log = logging.getLogger(__name__)
_SCHEMA = "feature_schema.json"


@dataclass(frozen=True)
class KnownBundle:
    """A verified bundle and the names of its features."""

    bundle: Bundle
    names: tuple[str, ...]
    schema: str


class Bundles:
    """Bundles by hash. One that is not there is refused, and looked for again after a while."""

    def __init__(self, settings: Settings, retry_seconds: float) -> None:
        self._uri = settings.store_uri
        self._public_key = settings.public_key
        self._retry_seconds = retry_seconds
        self._known: dict[str, KnownBundle] = {}
        self._absent: dict[str, float] = {}

    def find(self, digest: str, now: float) -> KnownBundle | None:
        """Return the bundle with this hash, or None while it cannot be had."""
        if digest in self._known:
            return self._known[digest]
        if now < self._absent.get(digest, 0):
            return None
        try:
            self._known[digest] = self._load(ContentHash(digest))
        except (ContractError, Unavailable, ValueError, KeyError, TypeError) as error:
            self._absent[digest] = now + self._retry_seconds
            _log.warning("unknown bundle", extra={"bundle": digest, "store": self._uri, "cause": str(error)})
            return None
        _log.info("bundle loaded", extra={"bundle": digest})
        return self._known[digest]

    def _load(self, digest: ContentHash) -> KnownBundle:
        address = f"{open_store(self._uri).uri}/{bundle_path(digest)}"
        bundle = load_bundle(address, public_key=self._public_key, expected_hash=digest)
        schema = bundle.json(_SCHEMA)  # not through the features' model, which would load what compiles them
        return KnownBundle(bundle, tuple(found["name"] for found in schema["features"]), schema["content_hash"])
