"""The peer: thresholds on the candidate's own numbers, minute by minute, as the documentation of Flagger shows them.

A check compares the last minute with a fixed range, whatever its number of requests and whatever production does
meanwhile. A failed check halts the advance; five of them take the traffic back. The success rate is that of the
documentation; its 500 ms would never see a model that answers in 20 ms, so the bounds of latency and flag rate are set
from what is usual for this model, which is more than the documentation asks for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from tests.benchmarks.rollout_traces import CANDIDATE, PRODUCTION, START, Split, Trace
from vigil.monitoring.samples import LATENCY_BOUNDS, ArmCounts

MINUTE = 60.0
WEIGHTS = (10, 20, 30, 40, 50)
FAILED_CHECKS = 5
MINUTES_AT_LEAST = 10
"""At each weight: the same time as a step of ours."""


@dataclass(frozen=True)
class Strictness:
    """How the bounds are set."""

    success: float
    factor: float
    """By how much p99 and flag rate may exceed what is usual."""


@dataclass(frozen=True)
class Bounds:
    """What the candidate's last minute may show."""

    success: float
    p99: float
    flag_rate: float


@dataclass(frozen=True)
class FixedEnding:
    """How a rollout by fixed thresholds ended."""

    rolled_back: bool
    failed: tuple[str, ...]
    seconds: float
    served: int


def usual_bounds(trace: Trace, strictness: Strictness) -> Bounds:
    """Return the bounds by what production did on the day before."""
    latency, scored, flagged = [0] * (len(LATENCY_BOUNDS) + 1), 0, 0
    for hour in range(24):
        start = START - 86400.0 + 3600 * hour
        arms = [slot.arms[PRODUCTION] for slot in trace.slot(hour, start, MINUTE, Split(0)) if PRODUCTION in slot.arms]
        latency = [old + new for old, new in zip(latency, _latencies(arms), strict=True)]
        scored, flagged = scored + sum(arm.scored for arm in arms), flagged + sum(arm.flagged for arm in arms)
    factor = strictness.factor
    return Bounds(strictness.success, factor * quantile(latency, 0.99), factor * flagged / scored)


def roll_out_fixed(trace: Trace, bounds: Bounds) -> FixedEnding:
    """Return the ending of a rollout over the trace that only compares with the bounds."""
    failed: list[str] = []
    now, served = START, 0
    for weight in WEIGHTS:
        passed = 0
        while passed < MINUTES_AT_LEAST:
            arms = [
                slot.arms.get(CANDIDATE, ArmCounts()) for slot in trace.slot(int(now // 30), now, MINUTE, Split(weight))
            ]
            now, served = now + MINUTE, served + arms[0].requests
            wrong = _check(arms, bounds)
            failed.extend(wrong[:1])
            passed += not wrong
            if len(failed) >= FAILED_CHECKS:
                return FixedEnding(True, tuple(failed), now - START, served)
    return FixedEnding(False, tuple(failed), now - START, served)


def _check(arms: Sequence[ArmCounts], bounds: Bounds) -> list[str]:
    """Return the checks of a minute that failed; a minute without requests fails, as there are no values."""
    requests, errors = sum(arm.requests for arm in arms), sum(arm.errors for arm in arms)
    scored, flagged = sum(arm.scored for arm in arms), sum(arm.flagged for arm in arms)
    if not requests or not scored:
        return ["no values"]
    found = {
        "success": 1 - errors / requests < bounds.success,
        "latency": quantile(_latencies(arms), 0.99) > bounds.p99,
        "flag rate": flagged / scored > bounds.flag_rate,
    }
    return [name for name, is_wrong in found.items() if is_wrong]


def quantile(counts: Sequence[int], share: float) -> float:
    """Return the quantile in seconds, in proportion within its bucket, as Prometheus does."""
    wanted = share * sum(counts)
    low = before = 0.0
    for count, upto, high in zip(counts, accumulate(counts), LATENCY_BOUNDS, strict=False):
        if upto >= wanted:
            return low + (high - low) * (wanted - before) / count
        low, before = high, upto
    return low


def _latencies(arms: Sequence[ArmCounts]) -> list[int]:
    return [sum(counts) for counts in zip(*(arm.latency for arm in arms if arm.latency), strict=True)] or [0] * (
        len(LATENCY_BOUNDS) + 1
    )
