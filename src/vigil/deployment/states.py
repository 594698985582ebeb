"""Gives the online store the past of the training run, before the first request comes."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vigil.contracts.artifacts import read_manifest
from vigil.contracts.keys import ContentHash
from vigil.deployment.request import DeployRequest
from vigil.errors import ContractError
from vigil.features.states import HydrateOutcome, hydrate, read_states
from vigil.features.store.factory import open_store
from vigil.registry.bundle import fetch_bundle, load_bundle
from vigil.settings import Settings

_log = logging.getLogger(__name__)


def check_bundle(request: DeployRequest, settings: Settings) -> ContentHash | None:
    """Return the feature schema of the request's bundle once it is verified; None for one only the cluster can read."""
    if "://" in request.bundle_uri and not request.bundle_uri.startswith("gs://"):
        return None
    bundle = load_bundle(
        request.bundle_uri, public_key=settings.public_key, expected_hash=ContentHash(request.bundle_hash)
    )
    if bundle.metadata.model != request.model:
        raise ContractError(f"{request.bundle_uri} is a bundle of {bundle.metadata.model}, not of {request.model}")
    return ContentHash(bundle.metadata.feature_schema)


def check_states(request: DeployRequest) -> None:
    """Refuse sealed states that are not those of the training run."""
    if request.feature_state_uri is not None:
        with _verified(request.feature_state_uri, request):
            return


def fill_store(request: DeployRequest, settings: Settings, schema: ContentHash | None) -> HydrateOutcome | None:
    """Load the sealed states into the online store of the settings; a store in use is left as it is."""
    if request.feature_state_uri is None:
        return None
    with _verified(request.feature_state_uri, request) as folder:
        expected = schema or read_states(folder).feature_schema
        with open_store(settings, expected) as store:
            outcome = hydrate(store, folder, expected)
    _log.info(str(outcome), extra={"model": request.model, "version": request.version})
    return outcome


@contextmanager
def _verified(uri: str, request: DeployRequest) -> Iterator[Path]:
    """Give the folder of the states, whose hash is the one that the run sealed."""
    with _folder(uri) as folder:
        found = read_manifest(folder).content_hash
        if request.feature_state_hash not in (None, found):
            raise ContractError(f"{uri} has the hash {found}, the run sealed {request.feature_state_hash}")
        yield folder


@contextmanager
def _folder(uri: str) -> Iterator[Path]:
    """Give the folder itself, or a copy of what lies in the bucket for as long as it is needed."""
    if not uri.startswith("gs://"):
        yield Path(uri)
        return
    with tempfile.TemporaryDirectory(prefix="vigil-states-") as folder:
        fetch_bundle(uri, Path(folder))
        yield Path(folder)
