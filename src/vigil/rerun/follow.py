"""What follows a run that has registered a version: a rollout of it, by steps and under watch."""

from dataclasses import dataclass

from vigil.errors import MissingExtra
from vigil.rerun.records import Rerun
from vigil.rerun.settings import RerunSettings, Then
from vigil.settings import Settings

ACTOR = "policy:rerun"


@dataclass(frozen=True)
class Rollouts:
    """Starts rollouts in the runtime of this machine, where the rules of the model ask for one."""

    settings: Settings
    told: RerunSettings

    def __call__(self, rerun: Rerun) -> str:
        """Return the rollout of the version, started now unless it was before; "" where none is wanted."""
        rules = self.told.rules(rerun.asked.model)
        if rules.then not in (None, Then.ROLLOUT) or rerun.outcome is None or rerun.outcome.version is None:
            return ""
        try:
            from vigil.rollout.connecting import local_site
        except ModuleNotFoundError as error:
            raise MissingExtra(str(error.name), "serve") from error
        from vigil.rollout.opening import Order, read_plan, start

        site, version = local_site(self.settings), rerun.outcome.version
        known = site.records.load(rerun.asked.model)
        if known is None or known.record.spec.candidate.version != version:
            plan = read_plan(rules.plan).model_copy(update={"feature_state": rerun.outcome.feature_state})
            reason = f"{rerun.run}: {rerun.asked.why}"
            record = start(Order(rerun.asked.model, version, ACTOR, reason), plan, site.desk())
        else:
            record = known.record
        if site.ensure_controller is not None:
            site.ensure_controller()
        return f"rollout {record.spec.id}"
