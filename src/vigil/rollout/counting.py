"""Counts that only grow, cut into slots; what starts again from zero is noticed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from vigil.clock import Clock
from vigil.monitoring.samples import ArmCounts, Slot


@dataclass(frozen=True)
class Counted:
    """What a revision has done since its counters began."""

    live: ArmCounts = field(default_factory=ArmCounts)
    mirrored: ArmCounts = field(default_factory=ArmCounts)
    """Answers to copies of requests, which no client has seen."""


Source = tuple[str, str]
"""A revision, and one of its servers, which has counters of its own."""


@dataclass
class _Last:
    at: float
    epoch: str
    counts: dict[Source, Counted] = field(default_factory=dict)


class Counter:
    """Makes `traffic` slots of growing counts. Its first look at a model begins a slot, and closes none."""

    def __init__(self, seconds: float, clock: Clock) -> None:
        self._seconds, self._clock = seconds, clock
        self._last: dict[str, _Last] = {}

    def close(self, model: str, epoch: str, counts: Mapping[Source, Counted], after: int) -> list[Slot]:
        """Return the slot since the last one, if it is long enough; `epoch` changes where all counters begin anew."""
        now, last = self._clock().timestamp(), self._last.get(model)
        if last is None or last.epoch != epoch or now < last.at:
            self._last[model] = _Last(now, epoch, dict(counts))
            return []
        if now - last.at < self._seconds:
            return []
        self._last[model] = _Last(now, epoch, dict(counts))
        arms: dict[str, ArmCounts] = {}
        for source, found in counts.items():
            more = _since(found, last.counts.get(source, Counted()))
            arms[source[0]] = _plus(arms[source[0]], more) if source[0] in arms else more
        number = max(math.floor(now / self._seconds), after + 1)
        return [Slot(source="traffic", number=number, start=last.at, seconds=now - last.at, arms=arms)]


def _since(now: Counted, before: Counted) -> ArmCounts:
    live, mirrored = _less(now.live, before.live), _less(now.mirrored, before.mirrored)
    return live if live.requests or not mirrored.requests else mirrored


def _less(now: ArmCounts, before: ArmCounts) -> ArmCounts:
    """Return the difference; counters that have begun anew count from zero."""
    if now.requests < before.requests or now.errors < before.errors or _fell(now.latency, before.latency):
        before = ArmCounts()
    earlier = before.latency or (0,) * len(now.latency)
    return ArmCounts(
        requests=now.requests - before.requests,
        errors=now.errors - before.errors,
        latency=tuple(new - old for new, old in zip(now.latency, earlier, strict=True)),
    )


def _fell(now: tuple[int, ...], before: tuple[int, ...]) -> bool:
    return bool(now and before) and any(new < old for new, old in zip(now, before, strict=True))


def _plus(left: ArmCounts, right: ArmCounts) -> ArmCounts:
    latency = [left.latency or (0,) * len(right.latency), right.latency or (0,) * len(left.latency)]
    return ArmCounts(
        requests=left.requests + right.requests,
        errors=left.errors + right.errors,
        latency=tuple(map(sum, zip(*latency, strict=True))),
    )
