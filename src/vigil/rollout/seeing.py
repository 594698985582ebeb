"""Takes an observation into the status: who answered, what was counted, what the evidence says."""

from vigil.monitoring.samples import Slot
from vigil.monitoring.verdicts import Cause
from vigil.rollout.evidence import Verdict, fold, judge
from vigil.rollout.status import FINAL, Counted, HoldKind, Phase
from vigil.rollout.turn import Turn

_NOT_FOLDED = FINAL | {Phase.STARTING, Phase.ROLLING_BACK}


def see(turn: Turn) -> None:
    """Take everything that is observed into the status; nothing is decided here."""
    if turn.jump:
        turn.set(in_force=None, counted=Counted())
    _see_log(turn)
    _see_serving(turn)
    _see_silence(turn)
    _see_slots(turn)
    _count_time(turn)


def _see_log(turn: Turn) -> None:
    """Forget the acts that the audit log holds."""
    seen, status = turn.seen.log, turn.status
    if seen is not None and seen.length >= status.logged:
        left = tuple(act for act in status.outbox if act.number > seen.length)
        turn.set(logged=seen.length, head=seen.head, outbox=left)


def _see_serving(turn: Turn) -> None:
    serving, status = turn.seen.serving, turn.status
    if serving is None:
        return
    candidate, production = serving.candidate, serving.production
    turn.set(
        observed=round(candidate.percent) if candidate else 0,
        candidate_revision=candidate.name if candidate else status.candidate_revision,
        production_revision=production.name if production else status.production_revision,
        in_force=(status.in_force or turn.now) if serving.grants(status.wish) else None,
        waited=0.0 if candidate and candidate.ready else status.waited + turn.passed,
        failed_before=(status.failed_before or status.ticked is None) and bool(candidate and candidate.failed),
    )


def _see_silence(turn: Turn) -> None:
    """Count for how long each part has not answered."""
    seen, silence = turn.seen, dict(turn.status.silence)
    sources = {slot.source for slot in seen.slots}
    requests = any(arm.requests for slot in seen.slots for arm in slot.arms.values())
    fresh = {
        HoldKind.SERVING: seen.serving is not None,
        HoldKind.REGISTRY: seen.registry is not None,
        HoldKind.AUDIT: seen.log is not None,
        HoldKind.TRAFFIC: "traffic" in sources,
        HoldKind.SPLIT: turn.status.in_force is not None,
    }
    if turn.spec.detector:
        # A source without requests has nothing to tell.
        idle = HoldKind.DECISIONS not in seen.gone and not requests
        fresh[HoldKind.WATCH] = seen.watch is not None
        fresh[HoldKind.DECISIONS] = "decisions" in sources
        if idle and not fresh[HoldKind.DECISIONS]:
            del fresh[HoldKind.DECISIONS]
    for part, answered in fresh.items():
        silence[part] = 0.0 if answered else silence.get(part, 0.0) + turn.passed
    turn.set(silence=silence)


def _see_slots(turn: Turn) -> None:
    data_broken = any(verdict.cause is Cause.DATA_BROKEN for verdict in turn.verdicts())
    for slot in turn.seen.slots:
        if slot.number <= turn.status.cursors.get(slot.source, -1):
            continue
        turn.set(cursors={**turn.status.cursors, slot.source: slot.number})
        _count_served(turn, slot)
        if turn.status.phase in _NOT_FOLDED or slot.start < turn.spec.created.timestamp():
            continue
        _count(turn, slot)
        # Decisions on broken data say nothing of the model that made them.
        if not (data_broken and slot.source == "decisions"):
            _fold(turn, slot)
    if turn.status.phase not in _NOT_FOLDED:
        _judge(turn)


def _fold(turn: Turn, slot: Slot) -> None:
    candidate, production = turn.status.candidate_revision, turn.status.production_revision
    if candidate is not None and production is not None:
        turn.set(evidence=fold(turn.status.evidence, slot, candidate, production, turn.spec.evidence))


def _judge(turn: Turn) -> None:
    turn.set(judgement=judge(turn.status.evidence, turn.settings, turn.status.before))


def _count(turn: Turn, slot: Slot) -> None:
    """Count the requests of a slot that lies wholly within the time of the present split."""
    status = turn.status
    if slot.source != "traffic" or status.in_force is None or slot.start < status.in_force.timestamp():
        return
    came = [
        slot.arms[name].requests if name in slot.arms else 0
        for name in (status.candidate_revision, status.production_revision)
    ]
    counted = status.counted
    turn.set(counted=Counted(candidate=counted.candidate + came[0], production=counted.production + came[1]))


def _count_served(turn: Turn, slot: Slot) -> None:
    """Count what clients have seen of the candidate; answers to copies are not."""
    status = turn.status
    candidate = slot.arms.get(status.candidate_revision or "")
    if slot.source == "traffic" and candidate and turn.step.percent > 0 and status.phase is not Phase.STARTING:
        turn.set(served=status.served + candidate.requests)


def _count_time(turn: Turn) -> None:
    """Count the time since the last tick as watched, if nothing was amiss when it began."""
    status = turn.status
    if status.in_force is not None and not status.holds and status.paused is None and not turn.jump:
        turn.set(watched=status.watched + turn.passed)


def watched(turn: Turn) -> float:
    """Return the seconds under watch: the time since the last sign of some part is not."""
    return turn.status.watched - max(turn.status.silence.values(), default=0.0)


def is_passed(turn: Turn) -> bool:
    """Return whether the step may be left for the next one: no data is never a pass."""
    status, step = turn.status, turn.step
    return (
        status.judgement is not None
        and status.judgement.verdict is Verdict.FINE
        and status.in_force is not None
        and watched(turn) >= step.bake_seconds
        and status.samples >= step.minimum_samples
    )
