"""Known frauds that a model must still find after it was fitted on screened rows. Too few of them is a failure."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vigil.contracts.artifacts import Manifest, seal, verify
from vigil.errors import ContractError
from vigil.members.base import FRAUD, FeatureMatrix, Scores, TrainingRows
from vigil.members.files import read_arrays, write_arrays

Score = Callable[[FeatureMatrix], Scores]
"""Such as `Member.score`: higher is more anomalous."""

KIND = "canaries"
LEAST = 20
"""Known frauds below which nothing is proved."""
_VECTORS = "vectors.npz"


@dataclass(frozen=True)
class CanaryVerdict:
    """Whether every known fraud is still found, and why not."""

    passed: bool
    reason: str
    canaries: int
    detected: float | None
    """Share of them that reach the threshold; None where that is not known."""
    missed: tuple[int, ...] = ()
    """Numbers of the rows that do not."""


def check_canaries(
    score: Score, canaries: FeatureMatrix | None, threshold: float, *, least: int = LEAST, minimum: float = 1.0
) -> CanaryVerdict:
    """Return whether at least `minimum` of the canaries reach the threshold; none or too few of them never pass."""
    count = 0 if canaries is None else len(canaries)
    if canaries is None or count < least:
        reason = f"{count} known frauds prove nothing, at least {least} are needed: add some to the stored set"
        return CanaryVerdict(False, reason, count, None)
    if not np.isfinite(threshold):
        return CanaryVerdict(False, f"the threshold is {threshold}: it has to be a finite number", count, None)
    scores = np.asarray(score(canaries), dtype=np.float64)
    if scores.shape != (count,):
        return CanaryVerdict(False, f"{count} known frauds got scores of shape {scores.shape}", count, None)
    missed = np.flatnonzero(~(scores >= threshold))
    share = 1 - len(missed) / count
    outcome = f"{count - len(missed)} of {count} known frauds reach the threshold {threshold:g}"
    return CanaryVerdict(share >= minimum, outcome, count, share, tuple(map(int, missed)))


def choose_canaries(rows: TrainingRows, score: Score, threshold: float, count: int, seed: int) -> FeatureMatrix:
    """Return up to `count` of the labelled frauds that a trusted model finds, drawn with the seed, in order of rows.

    ContractError if it finds none: a set of frauds that no model finds would hold up every model for ever.
    """
    frauds = np.flatnonzero(rows.labels == FRAUD)
    found = frauds[_scores(rows, frauds, score) >= threshold]
    if not len(found):
        raise ContractError(f"the model finds none of {len(frauds)} labelled frauds at {threshold:g}: no canaries")
    drawn = np.random.default_rng(seed).permutation(found)[:count]
    return rows.take(np.sort(drawn)).matrix


def write_canaries(canaries: FeatureMatrix, folder: Path) -> Manifest:
    """Write the set into a sealed folder, and return its manifest; the same set gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    content = write_arrays({"values": canaries.values, "names": np.array(canaries.names)})
    (folder / _VECTORS).write_bytes(content)
    return seal(folder, KIND, rows={KIND: len(canaries)})


def read_canaries(folder: Path) -> FeatureMatrix:
    """Return the set of a sealed folder, or raise ContractError if it was changed or is of another kind."""
    manifest = verify(folder)
    if manifest.kind != KIND:
        raise ContractError(f"{folder} holds {manifest.kind}, not {KIND}")
    arrays = read_arrays({_VECTORS: (folder / _VECTORS).read_bytes()}, _VECTORS)
    return FeatureMatrix(np.ascontiguousarray(arrays["values"]), tuple(map(str, arrays["names"])))


def _scores(rows: TrainingRows, chosen: NDArray[np.int64], score: Score) -> Scores:
    if not len(chosen):
        return np.empty(0)
    return np.asarray(score(rows.take(chosen).matrix), dtype=np.float64)
