"""The tick: one pure function from what is wanted, decided and seen to what is decided next and to be done."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from vigil.monitoring.verdicts import Answer
from vigil.rollout.asks import take
from vigil.rollout.evidence import Verdict
from vigil.rollout.holds import find_holds
from vigil.rollout.intents import Intent, Log, Promote, RollBack, Serve, Tell, event_id, still_to_log
from vigil.rollout.observation import Observation
from vigil.rollout.seeing import is_passed, see, watched
from vigil.rollout.spec import Spec
from vigil.rollout.status import FINAL, STEPPING, ActKind, HoldKind, Phase, Status, Wish
from vigil.rollout.turn import Turn
from vigil.rollout.words import message

_HALTING = STEPPING | {Phase.STARTING, Phase.PROMOTING, Phase.WATCHING}
_ASSERTED_WITH_STRANGERS = FINAL | {Phase.ROLLING_BACK}


@dataclass(frozen=True)
class Decision:
    """What a tick comes to. The status has to be kept before the intents are executed."""

    status: Status
    intents: tuple[Intent, ...]


def tick(spec: Spec, status: Status, seen: Observation, now: datetime) -> Decision:
    """Return the next status, and what is to be done; the same arguments give the same decision, whoever asks.

    - No data is never a pass: a part that does not answer, a wrong split, a jump of the clock halt the rollout where it
      is; it goes on by itself when the cause is over.
    - Only evidence of candidate against production, a verdict of the watch on the candidate, a candidate that fails, or
      a person take traffic back.
    """
    if status.settled:
        return Decision(status, ())
    turn = Turn(spec, status, seen, now)
    see(turn)
    for request in seen.requests:
        take(turn, request)
    _halt_or_resume(turn)
    _PHASES[turn.status.phase](turn)
    turn.set(ticked=now)
    intents = tuple(_intents(turn))
    if turn.status.over and not intents:
        turn.set(settled=True)
    turn.set(message=message(spec, turn.status))
    return Decision(turn.status, intents)


def _halt_or_resume(turn: Turn) -> None:
    """Note why it halts, and tell when that changes."""
    before = {hold.kind for hold in turn.status.holds}
    found = find_holds(turn) if turn.status.phase in _HALTING else ()
    kinds = {hold.kind for hold in found}
    turn.set(holds=found)
    if fresh := [hold.text for hold in found if hold.kind not in before]:
        turn.act(ActKind.HALT, "; ".join(fresh))
    elif before and not kinds:
        turn.act(ActKind.RESUME, f"over: {', '.join(sorted(before))}")


def _starting(turn: Turn) -> None:
    """Wait for the candidate, without any traffic."""
    status, seen = turn.status, turn.seen
    candidate = seen.serving.candidate if seen.serving else None
    if candidate is not None and candidate.failed and not status.failed_before:
        turn.end(Phase.FAILED, ActKind.FAIL, f"the candidate failed before it was ready: {candidate.failed}")
        return
    if status.waited > turn.spec.patience.ready:
        lacks = candidate.lacks if candidate else None
        why = seen.gone.get(HoldKind.SERVING) or lacks or "the place of serving names no reason"
        turn.end(Phase.FAILED, ActKind.FAIL, f"the candidate was not ready after {status.waited:.0f} s: {why}")
        return
    if status.old_verdicts is None and (seen.watch is not None or not turn.spec.detector):
        blaming = [one.id for one in turn.verdicts() if turn.blames_candidate(one)]
        turn.set(old_verdicts=tuple(blaming))
    if turn.status.old_verdicts is None or turn.status.paused or turn.status.holds:
        return
    if seen.serving and candidate and candidate.ready and status.in_force:
        mirrored = turn.step.percent == 0 and len(turn.spec.steps) > 1
        skipped = mirrored and not seen.serving.can_shadow
        turn.enter_step(1 if skipped else 0)
        note = ": requests cannot be mirrored there, the mirrored step is left out" if skipped else ""
        turn.act(ActKind.STEP, f"the candidate is ready; step {turn.step.percent} %{note}")


def _stepping(turn: Turn) -> None:
    if _is_rolled_back(turn) or turn.status.paused or turn.status.holds or not is_passed(turn):
        return
    judgement = turn.status.judgement
    statement = judgement.statement if judgement and turn.settings.required else "nothing speaks against the candidate"
    reason = f"step {turn.step.percent} % passed: {statement}"
    if turn.status.step == len(turn.spec.steps) - 1:
        turn.enter(Phase.PROMOTING)
        turn.act(ActKind.PROMOTE, reason)
    else:
        turn.enter_step(turn.status.step + 1)
        turn.act(ActKind.STEP, f"{reason}; step {turn.step.percent} %")


def _promoting(turn: Turn) -> None:
    """Let the registry follow; only then is the version before given up as the one that is warm."""
    if _is_rolled_back(turn):
        return
    registry, serving = turn.seen.registry, turn.seen.serving
    if registry is None or registry.production != turn.spec.candidate.version or serving is None:
        return
    turn.set(wish=Wish(percent=100, shadow="production"))
    if serving.grants(turn.status.wish):
        turn.enter(Phase.WATCHING)
        turn.act(ActKind.STEP, f"version {turn.spec.candidate.version} is production; it is watched on")


def _watching(turn: Turn) -> None:
    if _is_rolled_back(turn) or turn.status.paused or turn.status.holds:
        return
    if watched(turn) >= turn.spec.watch_seconds:
        turn.end(Phase.SUCCEEDED, ActKind.SUCCEED, f"nothing amiss in {turn.status.watched:.0f} s after the bake")


def _rolling_back(turn: Turn) -> None:
    """Wait until serving and registry are seen to be back."""
    serving, registry, status = turn.seen.serving, turn.seen.registry, turn.status
    if serving is None or registry is None or not serving.grants(status.wish):
        return
    if registry.production == turn.spec.candidate.version:
        return
    aborted = status.ending is Phase.ABORTED
    turn.end(
        Phase.ABORTED if aborted else Phase.ROLLED_BACK,
        ActKind.ABORTED if aborted else ActKind.ROLLED_BACK,
        f"version {turn.spec.production.version} serves all traffic again: {status.cause}",
    )


def _over(turn: Turn) -> None:
    return


_PHASES: dict[Phase, Callable[[Turn], None]] = {
    Phase.STARTING: _starting,
    Phase.PROMOTING: _promoting,
    Phase.WATCHING: _watching,
    Phase.ROLLING_BACK: _rolling_back,
    **dict.fromkeys(STEPPING, _stepping),
    **dict.fromkeys(FINAL, _over),
}


def _is_rolled_back(turn: Turn) -> bool:
    """Take traffic back where something speaks against the candidate, paused or halted as it may be."""
    if (blame := _blame(turn)) is None:
        return False
    turn.roll_back(blame)
    return True


def _blame(turn: Turn) -> str | None:
    status, serving = turn.status, turn.seen.serving
    if status.judgement is not None and status.judgement.verdict is Verdict.WORSE:
        return f"the evidence is against the candidate: {status.judgement.statement}"
    for verdict in turn.verdicts():
        if verdict.answer is Answer.ROLL_BACK and turn.blames_candidate(verdict):
            return f"the watch says {verdict.cause}: {verdict.summary}"
    if serving is not None and serving.candidate is not None and serving.candidate.failed:
        return f"the candidate failed: {serving.candidate.failed}"
    if status.waited > turn.spec.patience.ready:
        return f"the candidate has not been ready for {status.waited:.0f} s"
    return None


def _intents(turn: Turn) -> list[Intent]:
    """Return what is not yet as it is to be, traffic first."""
    spec, status, seen = turn.spec, turn.status, turn.seen
    intents: list[Intent] = []
    if _is_asserted(turn):
        intents.append(Serve(status.wish))
    if acts := still_to_log(status):
        intents.append(Log(acts))
    production = seen.registry.production if seen.registry else None
    if status.phase is Phase.PROMOTING and production == spec.production.version:
        reason = f"rollout {spec.id} ended its bake; audit log of {status.logged} entries, head {status.head}"
        intents.append(Promote(spec.candidate.version, spec.production.version, reason))
    if status.phase is Phase.ROLLING_BACK and production == spec.candidate.version:
        intents.append(RollBack(spec.candidate.version, f"rollout {spec.id}: {status.cause}"[:2000]))
    if status.over and (told := event_id(spec, status.phase)) not in seen.told:
        intents.append(Tell(told))
    return intents


def _is_asserted(turn: Turn) -> bool:
    """Return whether the place of serving has to be told the wish: it is not true, and nobody else is at work there."""
    serving, status = turn.seen.serving, turn.status
    if serving is None:
        return status.phase is Phase.ROLLING_BACK
    if serving.strangers and status.phase not in _ASSERTED_WITH_STRANGERS:
        return False
    return not serving.grants(status.wish)
