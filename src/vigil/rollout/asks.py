"""What a person asks of a running rollout, and whether it can be done."""

from vigil.rollout.evidence import Verdict
from vigil.rollout.status import STEPPING, ActKind, HoldKind, Pause, Phase, Request, Status
from vigil.rollout.turn import Turn


def take(turn: Turn, request: Request) -> None:
    """Do what is asked, or note in the audit log why it cannot be done."""
    refusal = refuse(turn.status, request) or _refuse_unseen(turn, request)
    if refusal is not None:
        turn.act(ActKind.REFUSE, f"{request.action}: {refusal} (asked: {request.reason})", request.actor)
        return
    {"pause": _pause, "resume": _resume, "promote": _promote, "abort": _abort}[request.action](turn, request)


def refuse(status: Status, request: Request) -> str | None:
    """Return why a request cannot be done, as far as the status knows; None if it can."""
    if status.over or status.phase is Phase.ROLLING_BACK:
        return f"the rollout is {status.phase}"
    match request.action:
        case "pause" if status.paused:
            return "it is paused already"
        case "resume" if not status.paused and not _is_asking(status):
            return "it is neither paused nor waiting for an answer"
        case "promote":
            return _refuse_promotion(status)
    return None


def _refuse_promotion(status: Status) -> str | None:
    if status.phase is Phase.WATCHING:
        return None
    if status.phase not in STEPPING:
        return f"it is {status.phase}: there is no step to pass"
    if status.judgement is not None and status.judgement.verdict is Verdict.WORSE:
        return f"the evidence is against the candidate: {status.judgement.statement}"
    return None


def _refuse_unseen(turn: Turn, request: Request) -> str | None:
    candidate = turn.seen.serving.candidate if turn.seen.serving else None
    if request.action == "promote" and (candidate is None or not candidate.ready):
        return "the candidate is not seen ready"
    return None


def _is_asking(status: Status) -> bool:
    return any(hold.kind is HoldKind.INCONCLUSIVE for hold in status.holds)


def _pause(turn: Turn, request: Request) -> None:
    turn.set(paused=Pause(actor=request.actor, reason=request.reason, at=request.at))
    turn.act(ActKind.PAUSE, request.reason, request.actor)


def _resume(turn: Turn, request: Request) -> None:
    """Go on; a step that was not decided begins again."""
    if _is_asking(turn.status):
        turn.set(watched=0.0)
    turn.set(paused=None)
    turn.act(ActKind.RESUME, request.reason, request.actor)


def _promote(turn: Turn, request: Request) -> None:
    """Pass the step, or all steps, in spite of what the evidence lacks; a watch is ended."""
    turn.set(paused=None)
    status = turn.status
    last = len(turn.spec.steps) - 1
    turn.act(ActKind.PROMOTE, request.reason, request.actor)
    if status.phase is Phase.WATCHING:
        turn.end(Phase.SUCCEEDED, ActKind.SUCCEED, f"{request.actor} ended the watch: {request.reason}")
    elif request.fully or status.step == last:
        turn.enter(Phase.PROMOTING, last)
    else:
        turn.enter_step(status.step + 1)


def _abort(turn: Turn, request: Request) -> None:
    turn.roll_back(request.reason, Phase.ABORTED, request.actor)
