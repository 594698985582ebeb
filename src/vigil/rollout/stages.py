"""The registry follows a rollout: what is done twice is done once."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from vigil.contracts.keys import ModelName
from vigil.errors import ContractError, VigilError
from vigil.registry.registry import Registry
from vigil.registry.stages import Stage
from vigil.rollout.intents import Promote, RollBack
from vigil.rollout.observation import RegistrySeen
from vigil.rollout.turn import POLICY

_log = logging.getLogger(__name__)


class RegistryStages:
    """The registry of models. `shown` opens one that shows changes in MLflow: that takes seconds, and nobody waits."""

    def __init__(self, registry: Registry, shown: Callable[[], Registry] | None = None) -> None:
        self._registry, self._shown = registry, shown
        self._background = ThreadPoolExecutor(1, thread_name_prefix="mlflow")

    def production(self, model: str) -> RegistrySeen:
        """Return which version is in production, and by whose word."""
        state = self._registry.state(ModelName(model))
        if state.production is None:
            return RegistrySeen(None)
        since = state.versions[state.production].since
        return RegistrySeen(state.production, f"by {since.actor}: {since.reason}")

    def promote(self, model: str, intent: Promote) -> None:
        """Make a version production, by way of staging where it is a candidate still."""
        registry, name = self._registry, ModelName(model)
        while (state := registry.state(name)).production != intent.version:
            is_candidate = state.version(intent.version).stage is Stage.CANDIDATE
            to = Stage.STAGING if is_candidate else Stage.PRODUCTION
            try:
                registry.promote(
                    name, intent.version, to, expected_production=intent.expected, actor=POLICY, reason=intent.reason
                )
            except ContractError:
                if registry.state(name) == state:
                    raise
                continue  # another controller did it meanwhile: look again
        self._show(name)

    def roll_back(self, model: str, intent: RollBack) -> None:
        """Put the version before back, if the one to be removed is production still."""
        registry, name = self._registry, ModelName(model)
        if registry.state(name).production == intent.expected:
            registry.rollback(name, expected_production=intent.expected, actor=POLICY, reason=intent.reason)
            self._show(name)

    def _show(self, model: ModelName) -> None:
        if self._shown is not None:
            self._background.submit(_show, self._shown, model)


def _show(shown: Callable[[], Registry], model: ModelName) -> None:
    """Bring MLflow up to date; the ledger is the truth, and the next change makes up for what fails here."""
    try:
        shown().show(model)
    except VigilError as error:
        _log.warning("MLflow is behind", extra={"model": model, "cause": str(error)})
