"""Looking after every slot does not inflate the error: shares over fixed seeds, within stated intervals."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from tests.rollout.evidence.traffic import CANDIDATE, PRODUCTION, Model, Traffic, watch
from vigil.monitoring.samples import Slot
from vigil.rollout.evidence import Evidence, EvidenceSettings, Verdict, fold, judge
from vigil.rollout.evidence.betting import Outcomes, bet, fine_strength, worse_strength
from vigil.rollout.evidence.settings import Tolerance
from vigil.rollout.evidence.state import Wealth

RUNS, SLOTS = 300, 80
LOOSE = 0.05
"""A level at which false alarms can be counted in few runs."""


def peek(
    rng: np.random.Generator, rates: tuple[float, float], tolerance: Tolerance, burst: int = 1
) -> tuple[bool, bool]:
    """Return whether `worse` and whether `fine` was ever sure at the loose level, looking after every slot."""
    wealth, worse, fine = Wealth(), False, False
    for _ in range(SLOTS):
        rate = rng.gamma(4, 0.25)  # of the slot, for both alike
        many = (int(rng.poisson(30)), int(rng.poisson(300)))
        bad = [burst * int(rng.poisson(of * rate * share / burst)) for of, share in zip(many, rates, strict=True)]
        wealth = bet(wealth, Outcomes(bad[0], many[0], bad[1], many[1], tolerance))
        worse |= worse_strength(wealth) >= np.log(1 / LOOSE)
        fine |= fine_strength(wealth) >= np.log(1 / LOOSE)
    return worse, fine


def is_within(count: int, level: float) -> bool:
    """Return whether so many of the runs are to be expected at the level, with a chance of 0.1 % to be wrong."""
    return bool(binom.sf(count - 1, RUNS, level) > 1e-3)


@pytest.mark.parametrize("burst", [1, 5])
@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_a_candidate_at_the_edge_of_its_tolerance_is_blamed_no_more_often_than_stated(rate: float, burst: int) -> None:
    tolerance = Tolerance(ratio=1.25, margin=0.01)
    rng = np.random.default_rng((31, burst))
    edge = (tolerance.ratio * rate + tolerance.margin, rate)
    assert is_within(sum(peek(rng, edge, tolerance, burst)[0] for _ in range(RUNS)), LOOSE)


@pytest.mark.parametrize("burst", [1, 3])
@pytest.mark.parametrize("rate", [0.01, 0.1, 0.3])
def test_a_candidate_beyond_its_tolerance_passes_no_more_often_than_stated(rate: float, burst: int) -> None:
    tolerance = Tolerance(ratio=1.25, margin=0.01)
    rng = np.random.default_rng((32, burst))
    beyond = (1.02 * (tolerance.ratio * rate + tolerance.margin), rate)
    assert is_within(sum(peek(rng, beyond, tolerance, burst)[1] for _ in range(RUNS)), LOOSE)


def test_the_same_check_fails_where_it_has_to() -> None:
    rng = np.random.default_rng(33)
    tolerance = Tolerance(ratio=1.25, margin=0.01)
    assert not is_within(sum(peek(rng, (0.2, 0.05), tolerance)[0] for _ in range(RUNS)), LOOSE)
    assert not is_within(sum(peek(rng, (0.05, 0.05), tolerance)[1] for _ in range(RUNS)), LOOSE)


@pytest.mark.parametrize("seed", range(12))
def test_bursts_blame_nobody(seed: int) -> None:
    traffic = Traffic(seed=100 + seed, share=(0.05, 0.25, 0.5)[seed % 3], burst=4)
    assert watch(traffic, 60).verdict is not Verdict.WORSE


def drifting(seed: int) -> Iterator[Slot]:
    """Yield slots in which errors, latencies, fraud and load of both versions grow ten times, two times, and so on."""
    for number in range(120):
        grown = number / 120
        model = Model(errors=0.002 + 0.02 * grown, latency=0.012 * (1 + grown), suspicion=0.02 + 0.1 * grown)
        model = replace(model, shift=0.15 * grown, precision=0.5 - 0.3 * grown)
        traffic = Traffic(seed=1000 * seed + number, candidate=model, production=model, requests=300 + 900 * grown)
        yield from traffic.slots(1, first=number)


@pytest.mark.parametrize("seed", range(6))
def test_drift_that_hits_both_versions_never_blames_the_candidate(seed: int) -> None:
    state = Evidence()
    for slot in drifting(seed):
        state = fold(state, slot, CANDIDATE, PRODUCTION, EvidenceSettings())
        assert judge(state, EvidenceSettings()).verdict is not Verdict.WORSE


@pytest.mark.parametrize("slots", [1, 3])
def test_a_hiccup_of_the_only_replica_blames_nobody(slots: int) -> None:
    state = Evidence()
    sound, stuck = Traffic(seed=41), Traffic(seed=42, candidate=Model(latency=0.12, errors=0.3))
    for slot in (*sound.slots(40), *stuck.slots(slots, first=40), *sound.slots(40, first=43)):
        state = fold(state, slot, CANDIDATE, PRODUCTION, EvidenceSettings())
        assert judge(state, EvidenceSettings()).verdict is not Verdict.WORSE
