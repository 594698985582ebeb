"""Simulated traffic of two versions of a model: what makes rollouts hard, and is not the candidate's fault.

Requests follow the day, come in bursts, and are split by customer, some of whom buy far more than others and look
more suspicious than others. Errors come in outages that hit both versions and in series of one customer; latencies have
a heavy tail, follow the load, and single replicas have hiccups. Verdicts come hours later, for some of the flags, some
of them wrong. The environment of a slot depends on the seed and the slot alone, whatever the split.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from vigil.monitoring.samples import LATENCY_BOUNDS, SCORE_BINS, ArmCounts, PairCounts, Slot

CANDIDATE, PRODUCTION = "m-2", "m-1"
START = 1_790_000_000.0
HOUR, DAY = 3600.0, 86400.0
CUSTOMERS = 10_000
FLAG_BIN = 25
"""Scores of one half and more are flagged."""

PRECISION = 0.5
JUDGED, WRONG_VERDICTS = 0.7, 0.05
"""Part of the flags that somebody judges, and part of the verdicts that are wrong."""

MEDIAN_DELAY, DELAY_SIGMA, LONGEST_DELAY_HOURS = 8.0, 1.0, 168
"""Hours from a flag to its verdict, log-normal."""

REPLICAS = 4
"""Of production; the candidate has one."""


class Kind(StrEnum):
    """What is the matter with a candidate."""

    IDENTICAL = "identical"
    RETRAINED = "retrained"
    """As good, from other rows: its scores scatter, and it disagrees on some flags."""
    ERRORS = "errors"
    LATENCY = "latency"
    SCORES = "scores"
    PRECISION = "precision"
    FEATURE = "feature"


BAD = (Kind.ERRORS, Kind.LATENCY, Kind.SCORES, Kind.PRECISION, Kind.FEATURE)
EXTRA_ERRORS, SLOWER, SHIFT_BINS, LOST_PRECISION = 0.02, 2.0, 5, 0.1
FEATURE_SHARE = 0.4
"""Part of the events for which the wrong version of a feature differs."""


@dataclass(frozen=True)
class Split:
    """Who serves and who only sees copies."""

    percent: float
    shadow: str = "none"


@dataclass(frozen=True)
class Environment:
    """What is the same for both versions in a slot."""

    requests: int
    errors: float
    load: float
    suspicion: float
    """By how much fraud is more frequent than usual."""


@dataclass
class Trace:
    """The traffic of one rollout."""

    seed: int
    kind: Kind
    drifts: bool = False
    """Whether the inputs drift during the rollout: more fraud and more load for both versions alike."""
    pending: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    hour: int = 0
    arms: dict[float, tuple[float, tuple[float, float]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rng = np.random.default_rng((self.seed, 0))
        self.per_minute = float(np.exp(rng.uniform(np.log(300), np.log(3000))))
        self.phase = float(rng.uniform(0, DAY))
        self.base_errors = float(np.exp(rng.uniform(np.log(0.0005), np.log(0.004))))
        self.median_latency = float(np.exp(rng.uniform(np.log(0.006), np.log(0.04))))
        self.flag_rate = float(np.exp(rng.uniform(np.log(0.01), np.log(0.03))))
        weight = rng.lognormal(0, 1, CUSTOMERS)
        self.weight = weight / weight.sum()
        self.suspicion = rng.lognormal(-0.125, 0.5, CUSTOMERS)
        self.place = rng.uniform(0, 100, CUSTOMERS)
        self.noise = 0.0
        self.pending = {name: np.zeros(4096, dtype=np.int64) for name in _LABELS}

    def slot(self, number: int, start: float, seconds: float, split: Split) -> list[Slot]:
        """Return what the two sources observe in an interval."""
        rng = np.random.default_rng((self.seed, 1, number))
        now = self._environment(np.random.default_rng((self.seed, 2, number)), start, seconds)
        if split.percent not in self.arms:
            self.arms[split.percent] = self._arms(split.percent)
        share, suspicion = self.arms[split.percent]
        mine = int(rng.binomial(now.requests, _scattered(rng, share)))
        counts = (mine, now.requests - mine)
        rates = tuple(self.flag_rate * now.suspicion * factor for factor in suspicion)
        traffic = {
            CANDIDATE: self._answers(rng, counts[0], now, (self.kind, 1)),
            PRODUCTION: self._answers(rng, counts[1], now, (Kind.IDENTICAL, REPLICAS)),
        }
        if split.shadow != "none":  # whose answers to copies are counted, but not timed
            name, kind = (CANDIDATE, self.kind) if split.shadow == "candidate" else (PRODUCTION, Kind.IDENTICAL)
            copies = self._answers(rng, now.requests, now, (kind, 1))
            traffic[name] = copies.model_copy(update={"latency": ()})
        decisions, pairs = self._decisions(rng, counts, rates, split.shadow)
        labels, judged = self._verdicts(start + seconds)
        decisions = {name: arm.model_copy(update=labels[name]) for name, arm in decisions.items()}
        pair = pairs.model_copy(update=judged)
        frame = {"number": number, "start": start, "seconds": seconds}
        return [
            Slot(source="traffic", arms={name: arm for name, arm in traffic.items() if arm.requests}, **frame),
            Slot(source="decisions", arms=decisions, pairs={f"{CANDIDATE}|{PRODUCTION}": pair}, **frame),
        ]

    def _environment(self, rng: np.random.Generator, start: float, seconds: float) -> Environment:
        self.noise = 0.8 * self.noise + 0.15 * float(rng.standard_normal())
        day = 1 + 0.7 * np.sin(2 * np.pi * (start + self.phase) / DAY)
        drift = 1 + 0.5 * min(1.0, (start - START) / HOUR) if self.drifts else 1.0
        mean = self.per_minute / 60 * seconds * day * np.exp(self.noise) * drift
        burst = 3.0 if rng.random() < 0.01 else 1.0
        requests = int(rng.poisson(rng.gamma(8.0, mean * burst / 8.0)))
        outage = float(rng.uniform(0.02, 0.2)) if rng.random() < 0.003 else 0.0
        load = float((0.85 + 0.15 * day * burst * drift) * np.exp(0.1 * rng.standard_normal()))
        return Environment(requests, self.base_errors + outage, load, drift * float(rng.lognormal(-0.045, 0.3)))

    def _arms(self, percent: float) -> tuple[float, tuple[float, float]]:
        """Return the candidate's share of the requests, and how suspicious the customers of each arm are."""
        mine = self.place < percent
        share = min(1.0, float(self.weight[mine].sum()))
        level = self.weight * self.suspicion
        return share, tuple(
            float(level[who].sum() / self.weight[who].sum()) if who.any() else 1.0 for who in (mine, ~mine)
        )  # type: ignore[return-value]

    def _answers(
        self, rng: np.random.Generator, requests: int, now: Environment, served: tuple[Kind, int]
    ) -> ArmCounts:
        kind, replicas = served
        if not requests:
            return ArmCounts()
        errors = int(rng.binomial(requests, now.errors))
        series = int(rng.poisson(requests * self.base_errors / 4)) if rng.random() < 0.5 else 0
        errors += int(rng.geometric(0.35, series).sum()) if series else 0
        median = self.median_latency * now.load
        if kind is Kind.ERRORS:
            errors += int(rng.binomial(requests, EXTRA_ERRORS))
        if kind is Kind.LATENCY:
            median *= SLOWER
        stuck = rng.binomial(replicas, 0.01) / replicas
        chances = (1 - stuck) * _latency_chances(median) + stuck * _latency_chances(4 * median)
        latency = _multinomial(rng, requests, chances)
        return ArmCounts(requests=requests, errors=min(errors, requests), latency=tuple(latency.tolist()))

    def _decisions(
        self, rng: np.random.Generator, counts: tuple[int, int], rates: tuple[float, ...], shadow: str
    ) -> tuple[dict[str, ArmCounts], PairCounts]:
        bins = [_clustered(rng, count, _score_chances(rate)) for count, rate in zip(counts, rates, strict=True)]
        total = bins[0] + bins[1]
        seen_by = {
            CANDIDATE: total if shadow == "candidate" else bins[0],
            PRODUCTION: total if shadow == "production" else bins[1],
        }
        pair = self._pair(rng, total) if shadow != "none" else PairCounts()
        seen_by[CANDIDATE] = self._changed(seen_by[CANDIDATE])
        found = {name: _scored(score) for name, score in seen_by.items() if score.sum()}
        for name, score in seen_by.items():
            self._await_verdicts(rng, name, int(score[FLAG_BIN:].sum()))
        return found, pair

    def _changed(self, scores: NDArray[np.int64]) -> NDArray[np.int64]:
        if self.kind is not Kind.SCORES:
            return scores
        moved = np.zeros_like(scores)
        moved[SHIFT_BINS:] = scores[:-SHIFT_BINS]
        moved[-1] += scores[-SHIFT_BINS:].sum()
        return moved

    def _pair(self, rng: np.random.Generator, scores: NDArray[np.int64]) -> PairCounts:
        """Return how the versions differ over the same events."""
        events, flagged = int(scores.sum()), int(scores[FLAG_BIN:].sum())
        near = int(scores[FLAG_BIN - SHIFT_BINS : FLAG_BIN].sum())
        vectors = int(rng.binomial(events, FEATURE_SHARE)) if self.kind is Kind.FEATURE else 0
        differing, mean, scatter = {
            Kind.SCORES: (events, SHIFT_BINS / SCORE_BINS, 0.0),
            Kind.FEATURE: (vectors, 0.0, 0.03),
            Kind.RETRAINED: (events, 0.0, 0.02),
        }.get(self.kind, (0, 0.0, 0.0))
        differences = np.zeros(2 * SCORE_BINS, dtype=np.int64)
        differences[SCORE_BINS] = events - differing
        if differing:
            values = mean + scatter * rng.standard_normal(differing)
            places = np.floor((values + 1) / 2 * 2 * SCORE_BINS + 1e-9).astype(np.int64)
            differences += np.bincount(places.clip(0, 2 * SCORE_BINS - 1), minlength=2 * SCORE_BINS)
        lost = {Kind.RETRAINED: 0.1, Kind.PRECISION: LOST_PRECISION * PRECISION, Kind.FEATURE: 0.02}.get(self.kind, 0.0)
        only_candidate = near if self.kind is Kind.SCORES else int(rng.binomial(flagged, lost))
        only_production = int(rng.binomial(flagged, lost))
        right = 0.0 if self.kind is Kind.PRECISION else 0.5
        if self.kind is Kind.SCORES:
            right = PRECISION / 2
        self._await_pairs(rng, only_candidate + only_production, right)
        return PairCounts(
            pairs=events,
            only_candidate_flagged=only_candidate,
            only_production_flagged=only_production,
            score_differences=tuple(differences.tolist()),
            vectors=events,
            vectors_differing=vectors,
            features_differing={"customer_amount_mean_7d": vectors} if vectors else {},
        )

    def _await_verdicts(self, rng: np.random.Generator, arm: str, flagged: int) -> None:
        judged = int(rng.binomial(flagged, JUDGED))
        precision = PRECISION
        if arm == CANDIDATE and self.kind is Kind.PRECISION:
            precision *= 1 - LOST_PRECISION
        true = int(rng.binomial(judged, precision * (1 - WRONG_VERDICTS) + (1 - precision) * WRONG_VERDICTS))
        self._later(rng, f"{arm} confirmed", true)
        self._later(rng, f"{arm} false", judged - true)

    def _await_pairs(self, rng: np.random.Generator, disagreed: int, right: float) -> None:
        judged = int(rng.binomial(disagreed, JUDGED))
        good = int(rng.binomial(judged, right * (1 - WRONG_VERDICTS) + (1 - right) * WRONG_VERDICTS))
        self._later(rng, "pair right", good)
        self._later(rng, "pair wrong", judged - good)

    def _later(self, rng: np.random.Generator, label: str, count: int) -> None:
        if count:
            when = self.hour + 1 + np.searchsorted(_delays(), rng.random(count))
            np.add.at(self.pending[label], when, 1)

    def _verdicts(self, end: float) -> tuple[dict[str, dict[str, int]], dict[str, int]]:
        """Return the verdicts that have become known since the last slot."""
        hour = int((end - START) // HOUR)
        come = {name: int(counts[self.hour + 1 : hour + 1].sum()) for name, counts in self.pending.items()}
        self.hour = hour
        arms = {
            arm: {"judged": come[f"{arm} confirmed"] + come[f"{arm} false"], "confirmed": come[f"{arm} confirmed"]}
            for arm in (CANDIDATE, PRODUCTION)
        }
        return arms, {"judged": come["pair right"] + come["pair wrong"], "candidate_right": come["pair right"]}


_LABELS = (
    *(f"{arm} {word}" for arm in (CANDIDATE, PRODUCTION) for word in ("confirmed", "false")),
    *("pair right", "pair wrong"),
)


def _scattered(rng: np.random.Generator, share: float) -> float:
    """Return the share of a slot, which varies with the customers who are awake."""
    if not 0 < share < 1:
        return round(share)
    return float(min(1.0, share * rng.lognormal(-0.005, 0.1)))


@cache
def _delays() -> NDArray[np.float64]:
    """Return the share of the verdicts that have come after so many hours."""
    edges = np.log(np.arange(LONGEST_DELAY_HOURS + 1).clip(1e-9) / MEDIAN_DELAY) / DELAY_SIGMA
    chances = ndtr(edges)[1:-1]
    return np.asarray(chances / ndtr(edges[-1]))


def _latency_chances(median: float) -> NDArray[np.float64]:
    """Return the chance of each bucket: log-normal, and one in fifty from a Pareto tail."""
    bounds = np.asarray(LATENCY_BOUNDS)
    body = ndtr(np.log(bounds / median) / 0.5)
    tail = 1 - (np.maximum(bounds / median, 1.0)) ** -1.5
    return np.diff(0.98 * body + 0.02 * tail, prepend=0.0, append=1.0)


@cache
def _score_parts() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the scores of unsuspicious events, and of suspicious ones, by bin."""
    middle = (np.arange(SCORE_BINS) + 0.5) / SCORE_BINS
    usual = middle ** (0.6 - 1) * (1 - middle) ** (14 - 1)
    fraud = middle ** (5 - 1) * (1 - middle) ** (2.2 - 1)
    return usual / usual.sum(), fraud / fraud.sum()


def _score_chances(flag_rate: float) -> NDArray[np.float64]:
    usual, fraud = _score_parts()
    part = min(0.5, flag_rate / float(fraud[FLAG_BIN:].sum()))
    return (1 - part) * usual + part * fraud


def _clustered(rng: np.random.Generator, count: int, chances: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return counts by bin where half of the events come in series of four alike."""
    series = int(rng.binomial(count, 0.5)) // 4
    return 4 * _multinomial(rng, series, chances) + _multinomial(rng, count - 4 * series, chances)


def _multinomial(rng: np.random.Generator, count: int, chances: NDArray[np.float64]) -> NDArray[np.int64]:
    return rng.multinomial(count, chances / chances.sum())


def _scored(scores: NDArray[np.int64]) -> ArmCounts:
    return ArmCounts(scored=int(scores.sum()), flagged=int(scores[FLAG_BIN:].sum()), scores=tuple(scores.tolist()))
