"""What is counted within one slot of one model: each revision by itself, and pairs of revisions event by event."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vigil.monitoring.samples import SCORE_BINS, ArmCounts, PairCounts, Slot

SOURCE = "decisions"


@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    """What one revision decided of an event."""

    revision: str
    score: float
    flagged: bool
    schema: str
    vector: bytes | None
    names: tuple[str, ...] = ()


@dataclass(eq=False)
class _Arm:
    scored: int = 0
    flagged: int = 0
    judged: int = 0
    confirmed: int = 0
    scores: list[int] = field(default_factory=lambda: [0] * SCORE_BINS)

    def counts(self) -> ArmCounts:
        return ArmCounts(
            scored=self.scored,
            flagged=self.flagged,
            judged=self.judged,
            confirmed=self.confirmed,
            scores=tuple(self.scores) if self.scored else (),
        )


@dataclass(eq=False)
class _Pairs:
    pairs: int = 0
    only_candidate_flagged: int = 0
    only_production_flagged: int = 0
    vectors: int = 0
    vectors_differing: int = 0
    judged: int = 0
    candidate_right: int = 0
    features: Counter[str] = field(default_factory=Counter)
    differences: list[int] = field(default_factory=lambda: [0] * (2 * SCORE_BINS))

    def counts(self) -> PairCounts:
        return PairCounts(
            pairs=self.pairs,
            only_candidate_flagged=self.only_candidate_flagged,
            only_production_flagged=self.only_production_flagged,
            score_differences=tuple(self.differences) if self.pairs else (),
            vectors=self.vectors,
            vectors_differing=self.vectors_differing,
            features_differing=dict(sorted(self.features.items())),
            judged=self.judged,
            candidate_right=self.candidate_right,
        )


class Tally:
    """The counts of one interval that is not over yet."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._arms: defaultdict[str, _Arm] = defaultdict(_Arm)
        self._pairs: defaultdict[str, _Pairs] = defaultdict(_Pairs)

    def decided(self, mark: Mark) -> None:
        """Count a decision."""
        arm = self._arms[mark.revision]
        arm.scored += 1
        arm.flagged += mark.flagged
        arm.scores[_bin(mark.score, SCORE_BINS)] += 1

    def compared(self, one: Mark, other: Mark) -> None:
        """Count an event that two revisions have decided, in both orders: nothing here says which is the candidate."""
        differing = _differing(one, other)
        for candidate, production in ((one, other), (other, one)):
            pairs = self._pairs[f"{candidate.revision}|{production.revision}"]
            pairs.pairs += 1
            pairs.only_candidate_flagged += candidate.flagged and not production.flagged
            pairs.only_production_flagged += production.flagged and not candidate.flagged
            pairs.differences[_bin((candidate.score - production.score + 1) / 2, 2 * SCORE_BINS)] += 1
            if differing is not None:
                pairs.vectors += 1
                pairs.vectors_differing += bool(differing)
                pairs.features.update(differing)

    def judged(self, flags: dict[str, bool], is_fraud: bool) -> None:
        """Count a verdict on an event that the revisions flagged or did not flag."""
        for revision, flagged in flags.items():
            if flagged:
                self._arms[revision].judged += 1
                self._arms[revision].confirmed += is_fraud
        for candidate, flagged in flags.items():
            for production, other in flags.items():
                if flagged != other:
                    pairs = self._pairs[f"{candidate}|{production}"]
                    pairs.judged += 1
                    pairs.candidate_right += flagged == is_fraud

    def slot(self, seconds: float) -> Slot:
        """Return the counts as a slot, which never changes again."""
        return Slot(
            source=SOURCE,
            number=self.number,
            start=self.number * seconds,
            seconds=seconds,
            arms={revision: arm.counts() for revision, arm in sorted(self._arms.items())},
            pairs={name: pairs.counts() for name, pairs in sorted(self._pairs.items())},
        )

    def add(self, slot: Slot) -> None:
        """Count what another service had counted of the same interval before it ended."""
        for revision, counts in slot.arms.items():
            arm = self._arms[revision]
            for name in ("scored", "flagged", "judged", "confirmed"):
                setattr(arm, name, getattr(arm, name) + getattr(counts, name))
            arm.scores = _sum(arm.scores, counts.scores)
        for name, told in slot.pairs.items():
            pairs = self._pairs[name]
            for key in _PAIR_COUNTS:
                setattr(pairs, key, getattr(pairs, key) + getattr(told, key))
            pairs.features.update(told.features_differing)
            pairs.differences = _sum(pairs.differences, told.score_differences)


_PAIR_COUNTS = (
    *("pairs", "only_candidate_flagged", "only_production_flagged"),
    *("vectors", "vectors_differing", "judged", "candidate_right"),
)


def _sum(counts: list[int], more: tuple[int, ...]) -> list[int]:
    return [one + other for one, other in zip(counts, more, strict=True)] if more else counts


def _bin(value: float, bins: int) -> int:
    return min(int(value * bins), bins - 1)


def _differing(one: Mark, other: Mark) -> list[str] | None:
    """Return the features in which two vectors differ, None where they cannot be compared."""
    if one.vector is None or other.vector is None or one.schema != other.schema or len(one.vector) != len(other.vector):
        return None
    if one.vector == other.vector:
        return []
    bits: list[Any] = [np.frombuffer(mark.vector or b"", dtype="<u4") for mark in (one, other)]
    places = np.flatnonzero(bits[0] != bits[1]).tolist()
    names = one.names or other.names
    return [names[place] if place < len(names) else f"#{place}" for place in places]
