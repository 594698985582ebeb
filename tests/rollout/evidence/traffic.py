"""Slots of two versions that are alike but for what a test names; seeded."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vigil.monitoring.samples import LATENCY_BOUNDS, SCORE_BINS, ArmCounts, PairCounts, Slot
from vigil.rollout.evidence import Evidence, EvidenceSettings, Judgement, Verdict, fold, judge

CANDIDATE, PRODUCTION = "m-2", "m-1"
SETTINGS = EvidenceSettings()
SECONDS = 30.0


@dataclass(frozen=True)
class Model:
    """How a version answers."""

    errors: float = 0.002
    latency: float = 0.012
    suspicion: float = 0.02
    """Part of the events with high scores."""
    shift: float = 0.0
    """Added to every score."""
    flag_above: float = 0.5
    precision: float = 0.5
    differing: float = 0.0
    """Part of the vectors that differ from production's."""
    disagreeing: float = 0.0
    """Part of the flags that only one side raises."""
    right: float = 0.5
    """Part of the disagreements in which the candidate is right."""


@dataclass(frozen=True)
class Traffic:
    """The stream of slots; `share` of None mirrors everything to the candidate."""

    seed: int
    candidate: Model = Model()
    production: Model = Model()
    share: float | None = 0.2
    requests: float = 600
    burst: int = 1
    """Outcomes come in series of so many alike."""

    def slots(self, count: int, first: int = 0) -> Iterator[Slot]:
        """Return slots of both sources, in turn."""
        rng = np.random.default_rng(self.seed)
        for number in range(first, first + count):
            yield from self.pair_of_slots(rng, number)

    def pair_of_slots(self, rng: np.random.Generator, number: int) -> tuple[Slot, Slot]:
        """Return what both sources say of one interval."""
        total = int(rng.poisson(self.requests))
        mine = 0 if self.share is None else int(rng.binomial(total, self.share))
        frame: dict[str, Any] = {"number": number, "start": number * SECONDS, "seconds": SECONDS}
        arms = {
            CANDIDATE: _answers(rng, self.candidate, mine, self.burst),
            PRODUCTION: _answers(rng, self.production, total - mine, self.burst),
        }
        if self.share is not None:
            decided = {
                CANDIDATE: _decisions(rng, self.candidate, _scores(rng, self.candidate, mine, self.burst)),
                PRODUCTION: _decisions(rng, self.production, _scores(rng, self.production, total - mine, self.burst)),
            }
            return Slot(source="traffic", arms=arms, **frame), Slot(source="decisions", arms=decided, **frame)
        scores = _scores(rng, self.production, total, self.burst)
        moved = (scores + self.candidate.shift).clip(0, 1)
        decided = {
            CANDIDATE: _decisions(rng, self.candidate, moved),
            PRODUCTION: _decisions(rng, self.production, scores),
        }
        pairs = {f"{CANDIDATE}|{PRODUCTION}": _pair(rng, self.candidate, scores, moved)}
        del arms[CANDIDATE]
        return Slot(source="traffic", arms=arms, **frame), Slot(source="decisions", arms=decided, pairs=pairs, **frame)


def _bursts(rng: np.random.Generator, count: int, rate: float, burst: int) -> int:
    return min(count, burst * int(rng.binomial(count // burst, rate))) if burst > 1 else int(rng.binomial(count, rate))


def _answers(rng: np.random.Generator, model: Model, requests: int, burst: int) -> ArmCounts:
    seconds = model.latency * np.exp(0.5 * rng.standard_normal(requests))
    counts = np.bincount(np.searchsorted(LATENCY_BOUNDS, seconds), minlength=len(LATENCY_BOUNDS) + 1)
    errors = _bursts(rng, requests, model.errors, burst)
    return ArmCounts(requests=requests, errors=errors, latency=tuple(counts.tolist()))


def _scores(rng: np.random.Generator, model: Model, count: int, burst: int) -> NDArray[np.float64]:
    singles = -(-count // burst)
    high = rng.random(singles) < model.suspicion
    found = np.where(high, rng.beta(6, 2, singles), rng.beta(0.6, 12, singles))
    return (np.repeat(found, burst)[:count] + model.shift).clip(0, 1)


def _decisions(rng: np.random.Generator, model: Model, scores: NDArray[np.float64]) -> ArmCounts:
    if not len(scores):
        return ArmCounts()
    flagged = int((scores > model.flag_above).sum())
    bins = np.bincount((scores * SCORE_BINS).astype(int).clip(0, SCORE_BINS - 1), minlength=SCORE_BINS)
    return ArmCounts(
        scored=len(scores),
        flagged=flagged,
        scores=tuple(bins.tolist()),
        judged=flagged,
        confirmed=int(rng.binomial(flagged, model.precision)),
    )


def _pair(
    rng: np.random.Generator, model: Model, scores: NDArray[np.float64], moved: NDArray[np.float64]
) -> PairCounts:
    bins = 2 * SCORE_BINS
    places = np.floor((moved - scores + 1) / 2 * bins + 1e-9).astype(int).clip(0, bins - 1)
    vectors = int(rng.binomial(len(scores), model.differing))
    flagged = int((scores > model.flag_above).sum())
    only = int(rng.binomial(flagged, model.disagreeing))
    return PairCounts(
        pairs=len(scores),
        only_candidate_flagged=only + int(((moved > model.flag_above) & (scores <= model.flag_above)).sum()),
        only_production_flagged=only,
        score_differences=tuple(np.bincount(places, minlength=bins).tolist()),
        vectors=len(scores),
        vectors_differing=vectors,
        features_differing={"amount_mean_7d": vectors} if vectors else {},
        judged=2 * only,
        candidate_right=int(rng.binomial(2 * only, model.right)),
    )


def fold_all(slots: Iterator[Slot], state: Evidence | None = None, settings: EvidenceSettings = SETTINGS) -> Evidence:
    """Return the evidence after all slots."""
    state = state or Evidence()
    for slot in slots:
        state = fold(state, slot, CANDIDATE, PRODUCTION, settings)
    return state


def watch(traffic: Traffic, slots: int, settings: EvidenceSettings = SETTINGS) -> Judgement:
    """Return the first judgement that blames the candidate, or the last one; it looks after every slot."""
    state = Evidence()
    judgement = judge(state, settings)
    for slot in traffic.slots(slots):
        state = fold(state, slot, CANDIDATE, PRODUCTION, settings)
        judgement = judge(state, settings)
        if judgement.verdict is Verdict.WORSE:
            return judgement
    return judgement


def only(slot: Slot, *revisions: str) -> Slot:
    """Return the slot with these arms alone."""
    return slot.model_copy(update={"arms": {name: arm for name, arm in slot.arms.items() if name in revisions}})
