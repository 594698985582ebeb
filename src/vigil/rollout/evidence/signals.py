"""The tests, and what each of them counts in a slot."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from math import exp, log

from vigil.monitoring.samples import LATENCY_BOUNDS, ArmCounts, PairCounts
from vigil.rollout.evidence.betting import Outcomes
from vigil.rollout.evidence.settings import EvidenceSettings, Signal, Tolerance
from vigil.rollout.evidence.state import Evidence

MIN_REFERENCE = 100.0
"""Answers or decisions of production before its quantiles are used."""

ARMS, PAIRS, ALONE = "arms", "pairs", "alone"


@dataclass(frozen=True)
class Compared:
    """A slot as the tests see it."""

    candidate: ArmCounts
    production: ArmCounts
    pair: PairCounts
    before: Evidence
    settings: EvidenceSettings

    @property
    def are_same_events(self) -> bool:
        """Whether the arms decided the same events for the most part: then only the pairs are compared."""
        return 2 * self.pair.pairs > min(self.candidate.scored, self.production.scored)


Count = Callable[[Compared], Outcomes | None]


@dataclass(frozen=True)
class Test:
    """One question to the evidence."""

    name: str
    signal: Signal
    group: str
    """Tests of one group say `fine` together: `arms` compares different events, `pairs` the same ones, and what is
    looked at `alone` never makes a pass."""
    words: tuple[str, str]
    """What is counted, and out of what."""
    count: Count
    swapped: bool = False
    """Whether production is the suspect: the candidate has too few."""


def _rates(bad: tuple[int, int], good: tuple[int, int], tolerance: Tolerance) -> Outcomes | None:
    if not bad[1] or not good[1]:
        return None
    return Outcomes(bad[0], bad[1], good[0], good[1], tolerance)


def _errors(seen: Compared) -> Outcomes | None:
    mine, theirs = seen.candidate, seen.production
    return _rates((mine.errors, mine.requests), (theirs.errors, theirs.requests), seen.settings.errors)


def _errors_alone(seen: Compared) -> Outcomes | None:
    mine = seen.candidate
    if seen.production.requests or not mine.requests:
        return None
    return Outcomes(mine.errors, mine.requests, 0, 0, Tolerance(margin=seen.settings.error_limit))


def _slower(share: float, seen: Compared) -> Outcomes | None:
    mine, theirs, known = seen.candidate.latency, seen.production.latency, seen.before.latency
    if not sum(mine) or not sum(theirs) or sum(known) < MIN_REFERENCE:
        return None
    bound, part = _bound(known, share, seen.settings.latency_factor)
    slower, as_slow = sum(mine[bound + 1 :]), sum(theirs[bound + 1 :])
    return Outcomes(slower, sum(mine), as_slow + part * theirs[bound], sum(theirs), seen.settings.latency)


def _bound(known: Sequence[float], share: float, factor: float) -> tuple[int, float]:
    """Return the bound that about the share would pass if slower by the factor, and the part of its own bucket."""
    total = sum(known)
    beyond = [1 - below / total for below in accumulate(known)]
    found = []
    for k, bound in enumerate(LATENCY_BOUNDS):
        part = _late_part(known, k, bound / factor)
        passing = beyond[k] + part * known[k] / total
        found.append((abs(log(max(passing, 1e-4) / share)), k, part))
    return min(found)[1:]


def _late_part(known: Sequence[float], bucket: int, seconds: float) -> float:
    """Return the part of a bucket's answers that took longer, if the tail falls as a power of the latency."""
    high = LATENCY_BOUNDS[bucket]
    low = max(LATENCY_BOUNDS[bucket - 1] if bucket else high / 4, high / 4)
    if seconds <= low or not known[bucket]:
        return 1.0
    end = sum(known[bucket + 1 :]) + 0.5
    start = end + known[bucket]
    at = start * exp(log(end / start) * log(seconds / low) / log(high / low))
    return (at - end) / known[bucket]


def _flags(swapped: bool, seen: Compared) -> Outcomes | None:
    if seen.are_same_events:
        return None
    arms = (seen.candidate, seen.production)
    mine, theirs = ((arm.flagged, arm.scored) for arm in (reversed(arms) if swapped else arms))
    return _rates(mine, theirs, seen.settings.flag_rate)


def _paired_flags(swapped: bool, seen: Compared) -> Outcomes | None:
    pair, settings = seen.pair, seen.settings
    counts = (pair.only_candidate_flagged, pair.only_production_flagged)
    mine, theirs = reversed(counts) if swapped else counts
    known = seen.before.samples
    usual = known.production_flagged / max(1, known.production_decisions)
    margin = settings.flag_rate.margin + (settings.flag_rate.ratio - 1) * usual
    return _rates((mine, pair.pairs), (theirs, pair.pairs), Tolerance(margin=margin))


def _higher(share: float, swapped: bool, seen: Compared) -> Outcomes | None:
    known = seen.before.scores
    arms = (seen.candidate.scores, seen.production.scores)
    mine, theirs = reversed(arms) if swapped else arms
    if seen.are_same_events or not sum(mine) or not sum(theirs) or sum(known) < MIN_REFERENCE:
        return None
    cut = _cut(known, share)
    return _rates((sum(mine[cut:]), sum(mine)), (sum(theirs[cut:]), sum(theirs)), seen.settings.scores)


def _cut(counts: Sequence[float], share: float) -> int:
    """Return the first bin of those that hold the share of the highest scores, or less if the bin is wide."""
    total = sum(counts)
    below = [0.0, *accumulate(counts)]
    return min(range(1, len(counts)), key=lambda k: (abs((total - below[k]) / total - share), k))


def _paired_scores(swapped: bool, seen: Compared) -> Outcomes | None:
    counts = seen.pair.score_differences
    if not sum(counts):
        return None
    middle, step = len(counts) // 2, max(1, round(seen.settings.score_step * len(counts) / 2))
    higher, lower = sum(counts[middle + step :]), sum(counts[: middle - step])
    mine, theirs = (lower, higher) if swapped else (higher, lower)
    return _rates((mine, sum(counts)), (theirs, sum(counts)), Tolerance(margin=seen.settings.scores.margin))


def _unconfirmed(seen: Compared) -> Outcomes | None:
    mine, theirs = ((arm.judged - arm.confirmed, arm.judged) for arm in (seen.candidate, seen.production))
    return _rates(mine, theirs, seen.settings.precision)


def _paired_verdicts(seen: Compared) -> Outcomes | None:
    right, judged = seen.pair.candidate_right, seen.pair.judged
    return _rates((judged - right, judged), (right, judged), seen.settings.paired_precision)


def _vectors(seen: Compared) -> Outcomes | None:
    if not seen.pair.vectors:
        return None
    return Outcomes(seen.pair.vectors_differing, seen.pair.vectors, 0, 0, seen.settings.vectors)


def _both_ways(
    name: str,
    ways: tuple[str, str],
    signal: Signal,
    group: str,
    words: tuple[str, str],
    count: Callable[[bool, Compared], Outcomes | None],
) -> Iterator[Test]:
    """Yield the test that the candidate has too many, and that it has too few."""
    for way, swapped in zip(ways, (False, True), strict=True):
        yield Test(f"{name}_{way}", signal, group, words, partial(count, swapped), swapped)


TESTS = (
    Test("errors", Signal.ERRORS, ARMS, ("errors", "answers"), _errors),
    Test("errors_alone", Signal.ERRORS, ALONE, ("errors", "answers"), _errors_alone),
    Test("slower_p90", Signal.LATENCY, ARMS, ("slow answers", "answers"), partial(_slower, 0.1)),
    Test("slower_p99", Signal.LATENCY, ARMS, ("very slow answers", "answers"), partial(_slower, 0.01)),
    *_both_ways("flags", ("more", "fewer"), Signal.FLAG_RATE, ARMS, ("flags", "decisions"), _flags),
    *_both_ways(
        *("paired_flags", ("more", "fewer"), Signal.FLAG_RATE, PAIRS),
        *(("flags that the other does not raise", "shared events"), _paired_flags),
    ),
    *_both_ways(
        *("scores_p50", ("higher", "lower"), Signal.SCORES, ARMS),
        *(("scores above production's usual median", "decisions"), partial(_higher, 0.5)),
    ),
    *_both_ways(
        *("scores_p90", ("higher", "lower"), Signal.SCORES, ARMS),
        *(("scores above production's usual 90 %", "decisions"), partial(_higher, 0.1)),
    ),
    *_both_ways(
        *("paired_scores", ("higher", "lower"), Signal.SCORES, PAIRS),
        *(("scores well above the other's", "shared events"), _paired_scores),
    ),
    Test("precision", Signal.PRECISION, ARMS, ("false flags", "judged flags"), _unconfirmed),
    Test("paired_precision", Signal.PRECISION, PAIRS, ("wrong sides", "judged disagreements"), _paired_verdicts),
    Test("vectors", Signal.VECTORS, PAIRS, ("differing vectors", "shared events"), _vectors),
)
