"""The registry: which version of a model is in which stage, by whose word, and what it was made from.

The ledger in the store is the truth. MLflow shows it to people: it is brought up to date after every change, and what a
crash or a dead server kept from it is made up for by the next change. Reading needs no MLflow.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vigil.clock import Clock, system_clock
from vigil.contracts.keys import ContentHash, ModelName, ModelVersion
from vigil.errors import ContractError, Unavailable
from vigil.registry.bundle import BundleRef, bundle_uri, load_bundle
from vigil.registry.cost import Cost
from vigil.registry.ledger import Approval, Ledger
from vigil.registry.stages import (
    Entry,
    ModelState,
    Registration,
    Stage,
    Step,
    VersionState,
    find_bundle,
    promote_step,
    register_step,
    replay,
    retire_step,
    rollback_step,
)
from vigil.registry.store import Store

if TYPE_CHECKING:
    from vigil.registry.tracking import Tracking

IN_PRODUCTION = ModelVersion(Stage.PRODUCTION)
"""Stands for the number of the version in production."""

_log = logging.getLogger(__name__)

_ATTEMPTS = 50
"""How often a place in the ledger may be lost to others before the caller is told to come back later."""

_TRACKING = ("sqlite:///", "http://", "https://", "postgresql", "mysql", "mssql")

_QUIET_MLFLOW = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_DISABLE_AGENT_HINT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
"""MLflow reads these when it is imported: no telemetry, and minutes of retries become seconds."""


def open_tracking(uri: str) -> "Tracking":
    """Return MLflow at a tracking URI such as `sqlite:////folder/mlflow.db` or `http://server:5000`."""
    if not uri.startswith(_TRACKING):
        raise ContractError(f"{uri} is no tracking URI: give sqlite:////folder/mlflow.db or http://server:5000")
    for name, value in _QUIET_MLFLOW.items():
        os.environ.setdefault(name, value)
    from vigil.registry.tracking import Tracking

    return Tracking(uri)


class Registry:
    """Versions and stages of all models in a store, shown in MLflow where a tracking is given.

    With `public_key` only bundles that this key has signed are registered. Every change names an actor (`person:NAME`
    or `policy:NAME`) and a reason, and raises Conflict where someone else was first.
    """

    def __init__(
        self,
        store: Store,
        tracking: "Tracking | None" = None,
        *,
        public_key: Path | None = None,
        clock: Clock = system_clock,
    ) -> None:
        self.store = store
        self._ledger = Ledger(store)
        self._tracking = tracking
        self._public_key = public_key
        self._clock = clock

    def models(self) -> list[ModelName]:
        """Return the names of all models."""
        return self._ledger.models()

    def history(self, model: ModelName) -> tuple[Entry, ...]:
        """Return everything that was ever done to a model, oldest first."""
        return self._ledger.entries(model)

    def state(self, model: ModelName) -> ModelState:
        """Return all versions of a model and their stages."""
        return replay(model, self._ledger.entries(model))

    def resolve(self, model: ModelName, version: ModelVersion = IN_PRODUCTION) -> BundleRef:
        """Return the bundle of a version; without a number, of the one in production."""
        return self.bundle_of(self.state(model).version(version))

    def bundle_of(self, version: VersionState) -> BundleRef:
        """Return the bundle of a version that was looked up already."""
        bundle = version.registration.bundle
        return BundleRef(bundle, bundle_uri(self.store, bundle))

    def register(
        self, bundle: BundleRef, *, actor: str, reason: str, run: str | None = None, cost: Cost | None = None
    ) -> VersionState:
        """Verify a bundle of this store and add it as a candidate; one that is registered keeps its version."""
        sealed = load_bundle(
            bundle_uri(self.store, bundle.hash), public_key=self._public_key, expected_hash=bundle.hash
        )
        registration = Registration(bundle=bundle.hash, bytes=sealed.size, metadata=sealed.metadata, run=run, cost=cost)

        def decide(state: ModelState) -> Step | None:
            return None if find_bundle(state, bundle.hash) else register_step(state, registration)

        state = self._change(ModelName(sealed.metadata.model), decide, actor, reason)
        return next(found for found in state.versions.values() if found.registration.bundle == bundle.hash)

    def promote(
        self,
        model: ModelName,
        version: ModelVersion,
        to: Stage = Stage.PRODUCTION,
        *,
        expected_production: ModelVersion | None,
        actor: str,
        reason: str,
    ) -> VersionState:
        """Move a version one stage on, if `expected_production` (None: no version) is in production still."""
        state = self._change(model, lambda state: promote_step(state, version, to, expected_production), actor, reason)
        return state.version(version)

    def rollback(
        self, model: ModelName, *, expected_production: ModelVersion | None, actor: str, reason: str
    ) -> VersionState:
        """Put the previous production version back, if `expected_production` is in production still; return it."""
        state = self._change(model, lambda state: rollback_step(state, expected_production), actor, reason)
        return state.version(IN_PRODUCTION)

    def retire(self, model: ModelName, version: ModelVersion, *, actor: str, reason: str) -> VersionState:
        """Retire a version that is not in production."""
        return self._change(model, lambda state: retire_step(state, version), actor, reason).version(version)

    def made_from(self, digest: ContentHash) -> list[VersionState]:
        """Return every version whose bundle, sources or inputs have this hash, and those made from such a bundle."""
        everything = [found for model in self.models() for found in self.state(model).versions.values()]
        wanted, found = {digest}, []
        while fresh := [version for version in everything if version not in found and wanted & _origins(version)]:
            found += fresh
            wanted |= {version.registration.bundle for version in fresh}
        return sorted(found, key=lambda version: (version.model, int(version.version)))

    def _change(
        self, model: ModelName, decide: Callable[[ModelState], Step | None], actor: str, reason: str
    ) -> ModelState:
        """Append what `decide` makes of the present state, again if another change came first."""
        approval = Approval(actor, reason, self._clock())
        for _ in range(_ATTEMPTS):
            step = decide(self.state(model))
            if step is None or self._ledger.append(model, step, approval):
                self.show(model)
                return self.state(model)
        raise Unavailable(f"{model} is changed by others all the time: try again")

    def show(self, model: ModelName) -> None:
        """Bring MLflow up to date, and once more if the ledger has grown meanwhile; every change does so by itself."""
        if self._tracking is None:
            return
        try:
            shown = -1
            while shown != len(self.history(model)):
                shown = len(self.history(model))
                self._tracking.show(replay(model, self.history(model)[:shown]), self.store)
        except (ContractError, Unavailable) as error:
            _log.warning("MLflow is behind: the next change makes up for it", extra={"model": model, "cause": error})


def _origins(version: VersionState) -> set[ContentHash]:
    registration = version.registration
    return {registration.bundle, registration.metadata.code.sources, *registration.metadata.parents.values()}
