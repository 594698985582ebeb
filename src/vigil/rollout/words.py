"""A rollout in sentences."""

from vigil.rollout.spec import Spec
from vigil.rollout.status import Phase, Status


def message(spec: Spec, status: Status) -> str:
    """Return one sentence: where the rollout stands, and what it waits for."""
    if status.over or status.phase is Phase.ROLLING_BACK:
        return f"{_PHASES[status.phase]}: {status.cause}"
    if status.paused:
        return f"paused by {status.paused.actor}: {status.paused.reason}"
    if status.holds:
        return "halted: " + "; ".join(hold.text for hold in status.holds)
    return _PHASES[status.phase] + _waits_for(spec, status)


_PHASES = {
    Phase.STARTING: "the candidate comes up without traffic",
    Phase.SHADOWING: "the candidate gets copies of the requests",
    Phase.CANARY: "the candidate serves a part of the traffic",
    Phase.BAKING: "the candidate serves, and the version before is kept warm",
    Phase.PROMOTING: "the registry is told",
    Phase.WATCHING: "the candidate is production, and is watched on",
    Phase.ROLLING_BACK: "traffic goes back",
    Phase.SUCCEEDED: "succeeded",
    Phase.ROLLED_BACK: "rolled back",
    Phase.ABORTED: "aborted",
    Phase.FAILED: "failed",
}


def _waits_for(spec: Spec, status: Status) -> str:
    if status.phase is Phase.WATCHING:
        return f", {max(spec.watch_seconds - status.watched, 0):.0f} s more"
    if status.phase in (Phase.STARTING, Phase.PROMOTING):
        return ""
    if status.in_force is None:
        return f"; waits until {status.wish.percent} % is in force"
    step = spec.steps[status.step]
    lacking = []
    if status.watched < step.bake_seconds:
        lacking.append(f"{step.bake_seconds - status.watched:.0f} s of its bake")
    if status.judgement is not None:
        lacking += status.judgement.missing
    if status.samples < step.minimum_samples:
        lacking.append(f"{status.samples:,} of at least {step.minimum_samples:,} samples")
    return f"; waits for {', '.join(lacking)}" if lacking else ""
