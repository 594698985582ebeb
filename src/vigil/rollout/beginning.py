"""The first record of a rollout, made from what the last one of the model has left."""

from datetime import timedelta

from vigil.errors import ContractError
from vigil.rollout.observation import Observation
from vigil.rollout.spec import Spec
from vigil.rollout.status import ActKind, Phase, Record, Status, Wish
from vigil.rollout.turn import Turn

_ROLLED_BACK = (Phase.ROLLED_BACK, Phase.ABORTED, Phase.FAILED)


def begin(spec: Spec, before: Record | None = None, *, logged: int = 0) -> Record:
    """Return the record that starts a rollout; `before` is the model's last one, `logged` the length of its audit log.

    One that runs is not pushed aside, but one that only watches is ended well: its version is in production.
    """
    acts, outbox = logged, before.status.outbox if before else ()
    if before is not None:
        _check(spec, before)
        acts = max(acts, before.status.acts)
    mirrored = spec.steps[0].percent == 0
    status = Status(
        since=spec.created,
        wish=Wish(percent=0, shadow="candidate" if mirrored else "none"),
        acts=acts,
        outbox=outbox,
        logged=logged,
    )
    turn = Turn(spec, status, Observation(), spec.created)
    if before is not None and before.status.phase is Phase.WATCHING:
        turn.act(ActKind.SUCCEED, f"the watch of rollout {before.spec.id} ends with the start of this one")
    turn.act(ActKind.START, spec.reason, spec.actor)
    return Record(spec=spec, status=turn.status)


def _check(spec: Spec, before: Record) -> None:
    status, old = before.status, before.spec
    if not status.over and status.phase is not Phase.WATCHING:
        raise ContractError(
            f"rollout {old.id} of {spec.model} version {old.candidate.version} is {status.standing}: wait for its end, "
            f"or `vigil rollout abort {spec.model}`"
        )
    if status.phase not in _ROLLED_BACK or status.ended is None or not spec.actor.startswith("policy:"):
        return
    until = status.ended + timedelta(seconds=old.cool_down_seconds)
    if spec.created < until:
        raise ContractError(
            f"rollout {old.id} of {spec.model} {status.phase} at {status.ended:%Y-%m-%d %H:%M} UTC ({status.cause}): "
            f"until {until:%Y-%m-%d %H:%M} UTC only a person starts another"
        )
