"""Whether the previous version agrees with this one on the same events."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from vigil.monitoring.samples import SCORE_BINS, PairCounts

LEAST_PAIRS = 100
_FEW, _MANY = 0.01, 0.03
_NEAR, _FAR = 0.03, 0.08


class Agreement(StrEnum):
    """What a comparison says."""

    AGREE = "agree"
    DISAGREE = "disagree"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Comparison:
    """The previous version's answers beside this one's."""

    agreement: Agreement
    statement: str
    strength: float = 0.0


def compare(pairs: PairCounts | None) -> Comparison:
    """Return whether two versions agree; too few pairs, and what is in between, are unknown."""
    if pairs is None or pairs.pairs < LEAST_PAIRS:
        count = 0 if pairs is None else pairs.pairs
        return Comparison(
            Agreement.UNKNOWN, f"the previous version judged {count} of the same events: too few to compare"
        )
    split = (pairs.only_candidate_flagged + pairs.only_production_flagged) / pairs.pairs
    distance = _distance(pairs)
    apart = "" if distance is None else f", their scores are {distance:.3f} apart on average"
    words = f"this and the previous version flag differently in {split:.1%} of {pairs.pairs:,} events{apart}"
    if split >= _MANY or (distance or 0.0) >= _FAR:
        return Comparison(Agreement.DISAGREE, words, min(pairs.pairs * max(split, (distance or 0.0) / 3) / 5, 50.0))
    if split <= _FEW and (distance or 0.0) <= _NEAR:
        return Comparison(Agreement.AGREE, words, 3.0)
    return Comparison(Agreement.UNKNOWN, words)


def _distance(pairs: PairCounts) -> float | None:
    """Return the mean absolute difference of the scores, None if it was not observed."""
    counts = np.array(pairs.score_differences, dtype=np.float64)
    if not counts.sum():
        return None
    width = 1 / SCORE_BINS
    middles = (np.arange(len(counts)) + 0.5) * width - 1
    return float((np.maximum(np.abs(middles) - width / 2, 0) * counts).sum() / counts.sum())
