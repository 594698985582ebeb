"""Why a rollout halts. Each reason is looked for afresh in every tick, so that it ends when its cause does."""

import math
from collections.abc import Iterator

from vigil.monitoring.verdicts import Answer
from vigil.rollout.seeing import is_passed
from vigil.rollout.status import STEPPING, Hold, HoldKind, Phase
from vigil.rollout.turn import Turn

_SILENT = {
    HoldKind.SERVING: "the place of serving does not answer",
    HoldKind.TRAFFIC: "no counts of requests come",
    HoldKind.DECISIONS: "no counts of decisions come from the detector service",
    HoldKind.WATCH: "the detector service does not answer",
    HoldKind.REGISTRY: "the registry does not answer",
    HoldKind.AUDIT: "the audit log cannot be read",
}

_EVIDENCE_OF_WRONG_SPLIT = math.log(1e6)
_UNEVEN_POINTS, _UNEVEN_SHARE = 0.02, 0.2
"""How far a split by entity may lie from what was asked, whatever the number of requests."""
_REQUESTS_OF_ONE_ENTITY = 5.0
"""The split is by entity, so that requests are not independent: so many of them count as one."""


def find_holds(turn: Turn) -> tuple[Hold, ...]:
    """Return all reasons to halt now."""
    return tuple(Hold(kind=kind, text=text[:1000]) for kind, text in _find(turn))


def _find(turn: Turn) -> Iterator[tuple[HoldKind, str]]:
    if turn.jump:
        way = "the clock went back by" if turn.jump < 0 else "nobody watched, or the clock jumped, for"
        yield HoldKind.CLOCK, f"{way} {abs(turn.jump):.0f} s: that time is not counted"
    yield from _silences(turn)
    yield from _refusal(turn)
    yield from _registry(turn)
    yield from _log(turn)
    yield from _split(turn)
    yield from _candidate(turn)
    yield from _drift(turn)
    yield from _inconclusive(turn)


def _silences(turn: Turn) -> Iterator[tuple[HoldKind, str]]:
    for kind, text in _SILENT.items():
        seconds = turn.status.silence.get(kind, 0.0)
        if seconds > turn.spec.patience.silence:
            why = f": {turn.seen.gone[kind]}" if kind in turn.seen.gone else ""
            yield kind, f"{text}, for {seconds:.0f} s now{why}"


def _refusal(turn: Turn) -> Iterator[tuple[HoldKind, str]]:
    """Yield why the place of serving did not do what it was asked for last."""
    if turn.seen.serving is not None and HoldKind.SERVING in turn.seen.gone:
        yield HoldKind.SERVING, turn.seen.gone[HoldKind.SERVING]


def _registry(turn: Turn) -> Iterator[tuple[HoldKind, str]]:
    seen, spec = turn.seen.registry, turn.spec
    promoted = turn.status.phase in (Phase.PROMOTING, Phase.WATCHING)
    expected = {spec.production.version} | ({spec.candidate.version} if promoted else set())
    if seen is not None and seen.production not in expected:
        yield (
            HoldKind.REGISTRY,
            (f"version {seen.production} was made production meanwhile ({seen.by}): abort this rollout, or undo that"),
        )
    elif seen is not None and seen.production == spec.candidate.version:
        return  # a refusal that came before does not matter any more
    elif turn.status.phase is Phase.PROMOTING and HoldKind.REGISTRY in turn.seen.gone:
        yield HoldKind.REGISTRY, f"the registry does not take the promotion: {turn.seen.gone[HoldKind.REGISTRY]}"


def _log(turn: Turn) -> Iterator[tuple[HoldKind, str]]:
    seen, status = turn.seen.log, turn.status
    if seen is not None and seen.length < status.logged:
        yield HoldKind.AUDIT, f"the audit log has lost entries: it had {status.logged} and has {seen.length}"
    elif seen is None and "changed or removed" in turn.seen.gone.get(HoldKind.AUDIT, ""):
        yield HoldKind.AUDIT, turn.seen.gone[HoldKind.AUDIT]


def _split(turn: Turn) -> Iterator[tuple[HoldKind, str]]:
    status, serving = turn.status, turn.seen.serving
    if serving is None:
        return
    if serving.strangers:
        others = ", ".join(f"{name} has {percent:g} %" for name, percent in serving.strangers.items())
        yield HoldKind.SPLIT, f"someone deployed another version meanwhile: {others}"
    elif status.phase is not Phase.STARTING and status.silence.get(HoldKind.SPLIT, 0) > turn.spec.patience.split:
        yield (
            HoldKind.SPLIT,
            (f"{status.wish.percent} % was asked for the candidate, it has {status.observed} %"),
        )
    elif status.in_force is not None and is_wrong_share(*_shares(turn)):
        yield (
            HoldKind.SPLIT,
            (
                f"{status.wish.percent} % was asked for the candidate; it served {status.counted.candidate} requests "
                f"and production {status.counted.production}"
            ),
        )


def _shares(turn: Turn) -> tuple[int, int, float]:
    counted = turn.status.counted
    return counted.candidate, counted.candidate + counted.production, turn.status.wish.percent / 100


def is_wrong_share(served: int, requests: int, asked: float) -> bool:
    """Return whether the served share contradicts the asked one, by the Chernoff bound of the binomial at 1e-6.

    A split by entity is uneven for good where a few buy much: a share near the asked one is never called wrong.
    """
    if not 0 < asked < 1 or not requests:
        return False
    share, evidence = served / requests, 0.0
    if abs(share - asked) <= max(_UNEVEN_POINTS, _UNEVEN_SHARE * min(asked, 1 - asked)):
        return False
    for observed, wanted in ((share, asked), (1 - share, 1 - asked)):
        evidence += observed * math.log(observed / wanted) if observed else 0.0
    return requests / _REQUESTS_OF_ONE_ENTITY * evidence > _EVIDENCE_OF_WRONG_SPLIT


def _candidate(turn: Turn) -> Iterator[tuple[HoldKind, str]]:
    serving, phase = turn.seen.serving, turn.status.phase
    if serving is None or phase is Phase.STARTING:
        return
    if serving.candidate is None or not serving.candidate.ready:
        yield HoldKind.CANDIDATE, f"the candidate is not ready, for {turn.status.waited:.0f} s now"


def _drift(turn: Turn) -> Iterator[tuple[HoldKind, str]]:
    """Yield the verdicts that no rollout answers; a population that moved concerns both versions alike."""
    for verdict in turn.verdicts():
        whose = "the candidate" if turn.blames_candidate(verdict) else "production"
        if verdict.answer in (Answer.HOLD, Answer.ASK):
            yield HoldKind.DRIFT, f"the watch over {whose} says {verdict.cause}: {verdict.summary}"
        elif verdict.answer is Answer.ROLL_BACK and not turn.blames_candidate(verdict):
            yield HoldKind.DRIFT, f"production itself got worse: {verdict.summary}; promote or abort"


def _inconclusive(turn: Turn) -> Iterator[tuple[HoldKind, str]]:
    status = turn.status
    if status.phase not in STEPPING or is_passed(turn):
        return
    if status.watched >= turn.step.bake_seconds + turn.spec.patience.evidence:
        yield (
            HoldKind.INCONCLUSIVE,
            (
                f"after {status.watched:.0f} s of step {turn.step.percent} % the evidence is neither for nor against "
                "the candidate: promote, resume (which begins the step again), or abort"
            ),
        )
