"""Slots into evidence, one after another."""

from collections.abc import Sequence
from dataclasses import replace

from vigil.monitoring.samples import ArmCounts, PairCounts, Slot
from vigil.rollout.evidence.betting import bet
from vigil.rollout.evidence.settings import EvidenceSettings
from vigil.rollout.evidence.signals import TESTS, Compared
from vigil.rollout.evidence.state import Evidence, Wealth

REMEMBERED = 20_000.0
"""Answers of production behind its quantiles: older ones fade, so that they follow the load of the day."""


def fold(state: Evidence, slot: Slot, candidate: str, production: str, settings: EvidenceSettings) -> Evidence:
    """Return the evidence with the slot in it; a slot that its source has passed already changes nothing.

    `candidate` and `production` are names of revisions. A slot of neither only counts as passed.
    """
    if slot.number <= state.last.get(slot.source, -1):
        return state
    seen = Compared(
        candidate=slot.arms.get(candidate, ArmCounts()),
        production=slot.arms.get(production, ArmCounts()),
        pair=slot.pairs.get(f"{candidate}|{production}", PairCounts()),
        before=state,
        settings=settings,
    )
    return Evidence(
        tests=_bet_all(seen),
        samples=state.samples.plus(seen.candidate, seen.production, seen.pair),
        last={**state.last, slot.source: slot.number},
        latency=_remember(state.latency, seen.production.latency),
        scores=_remember(state.scores, seen.production.scores),
        features=_add(state.features, seen.pair.features_differing),
    )


def _bet_all(seen: Compared) -> dict[str, Wealth]:
    tests = dict(seen.before.tests)
    for test in TESTS:
        if (outcomes := test.count(seen)) is not None:
            tests[test.name] = bet(tests.get(test.name, Wealth()), replace(outcomes, slack=seen.settings.pass_slack))
    return tests


def _remember(known: Sequence[float], new: Sequence[int]) -> tuple[float, ...]:
    total = sum(known) + sum(new)
    kept = min(1.0, REMEMBERED / total) if total else 1.0
    return tuple(
        kept * (old + count) for old, count in zip(known or (0.0,) * len(new), new or (0,) * len(known), strict=True)
    )


def _add(known: dict[str, int], new: dict[str, int]) -> dict[str, int]:
    return {name: known.get(name, 0) + new.get(name, 0) for name in sorted({*known, *new})}
