"""The registry follows a rollout: what is done twice is done once."""

from collections.abc import Callable

from vigil.contracts.keys import ModelName
from vigil.registry.registry import Registry
from vigil.registry.stages import Stage
from vigil.rollout.intents import Promote, RollBack
from vigil.rollout.observation import RegistrySeen
from vigil.rollout.turn import POLICY


class RegistryStages:
    """The registry of models. `change` opens one that shows its changes in MLflow, which takes seconds."""

    def __init__(self, read: Registry, change: Callable[[], Registry]) -> None:
        self._read, self._change = read, change

    def production(self, model: str) -> RegistrySeen:
        """Return which version is in production, and by whose word."""
        state = self._read.state(ModelName(model))
        if state.production is None:
            return RegistrySeen(None)
        since = state.versions[state.production].since
        return RegistrySeen(state.production, f"by {since.actor}: {since.reason}")

    def promote(self, model: str, intent: Promote) -> None:
        """Make a version production, by way of staging where it is a candidate still."""
        registry, name = self._change(), ModelName(model)
        state = registry.state(name)
        if state.production == intent.version:
            return
        ways = [Stage.PRODUCTION]
        if state.version(intent.version).stage is Stage.CANDIDATE:
            ways = [Stage.STAGING, Stage.PRODUCTION]
        for stage in ways:
            registry.promote(
                name, intent.version, stage, expected_production=intent.expected, actor=POLICY, reason=intent.reason
            )

    def roll_back(self, model: str, intent: RollBack) -> None:
        """Put the version before back, if the one to be removed is production still."""
        registry, name = self._change(), ModelName(model)
        if registry.state(name).production == intent.expected:
            registry.rollback(name, expected_production=intent.expected, actor=POLICY, reason=intent.reason)
