"""Each signal in a pair: versions that are alike pass, and one that is worse is caught for that reason alone."""

import pytest

from tests.rollout.evidence.traffic import CANDIDATE, PRODUCTION, Model, Traffic, fold_all, watch
from vigil.monitoring.samples import PairCounts
from vigil.rollout.evidence import EvidenceSettings, Judgement, Signal, Verdict, judge

SPLIT = Traffic(seed=11)
MIRRORED = Traffic(seed=12, share=None)
OF_A_SHADOW = (Signal.FLAG_RATE, Signal.SCORES)
ALIKE = {traffic: fold_all(traffic.slots(120)) for traffic in (SPLIT, MIRRORED)}

WORSE = {
    "errors": (SPLIT, Model(errors=0.02), Signal.ERRORS),
    "latency doubled": (SPLIT, Model(latency=0.024), Signal.LATENCY),
    "flags twice as often": (SPLIT, Model(flag_above=0.2), Signal.FLAG_RATE),
    "flags next to nothing": (SPLIT, Model(flag_above=0.95), Signal.FLAG_RATE),
    "precision": (SPLIT, Model(precision=0.2), Signal.PRECISION),
    "a feature of another version": (MIRRORED, Model(differing=0.2), Signal.VECTORS),
    "loses its disagreements": (MIRRORED, Model(disagreeing=0.1, right=0.1), Signal.PRECISION),
}


def blamed(judgement: Judgement) -> set[Signal]:
    return {signal for signal, verdict in judgement.signals.items() if verdict is Verdict.WORSE}


def with_candidate(traffic: Traffic, candidate: Model) -> Traffic:
    return Traffic(seed=traffic.seed, candidate=candidate, share=traffic.share)


@pytest.mark.parametrize(
    ("traffic", "required"), [(SPLIT, tuple(EvidenceSettings().required)), (MIRRORED, OF_A_SHADOW)]
)
def test_versions_that_are_alike_pass_in_every_signal_that_is_seen(
    traffic: Traffic, required: tuple[Signal, ...]
) -> None:
    judgement = judge(ALIKE[traffic], EvidenceSettings(), required=required)
    assert judgement.verdict is Verdict.FINE, judgement.statement
    assert Verdict.WORSE not in judgement.signals.values()
    assert all(judgement.signals[signal] is Verdict.FINE for signal in required)


@pytest.mark.parametrize(("traffic", "candidate", "signal"), WORSE.values(), ids=WORSE)
def test_what_is_worse_is_caught_for_that_reason_alone(traffic: Traffic, candidate: Model, signal: Signal) -> None:
    judgement = watch(with_candidate(traffic, candidate), 400)
    assert judgement.verdict is Verdict.WORSE, judgement.statement
    assert blamed(judgement) == {signal}
    assert signal in judgement.statement


@pytest.mark.parametrize("shift", [0.15, -0.15])
@pytest.mark.parametrize("traffic", [SPLIT, MIRRORED], ids=["split", "mirrored"])
def test_shifted_scores_are_caught_by_the_scores(traffic: Traffic, shift: float) -> None:
    production = Model(shift=0.2)
    candidate = Model(shift=0.2 + shift, flag_above=0.5 + shift)  # flags the same events
    judgement = watch(Traffic(seed=13, candidate=candidate, production=production, share=traffic.share), 400)
    assert Signal.SCORES in blamed(judgement)
    assert Signal.ERRORS not in blamed(judgement)
    assert Signal.LATENCY not in blamed(judgement)


def test_the_feature_that_differs_is_named() -> None:
    judgement = watch(with_candidate(MIRRORED, Model(differing=0.3)), 200)
    assert "amount_mean_7d" in judgement.statement


@pytest.mark.parametrize("candidate", [Model(latency=0.0132), Model(errors=0.003), Model(flag_above=0.46)])
def test_a_difference_within_the_tolerance_is_never_held_against_a_candidate(candidate: Model) -> None:
    judgement = watch(with_candidate(SPLIT, candidate), 400)
    assert judgement.verdict is not Verdict.WORSE, judgement.statement


def test_a_candidate_that_is_better_passes() -> None:
    production = Model(errors=0.02, latency=0.03, precision=0.4)
    traffic = Traffic(seed=14, candidate=Model(precision=0.6), production=production)
    judgement = watch(traffic, 150)
    assert judgement.verdict is Verdict.FINE, judgement.statement


def test_errors_count_by_a_limit_where_production_answers_nobody() -> None:
    broken = Traffic(seed=15, candidate=Model(errors=0.12), share=1.0)
    assert blamed(watch(broken, 200)) == {Signal.ERRORS}
    sound = Traffic(seed=15, candidate=Model(errors=0.02), share=1.0)
    assert watch(sound, 200).verdict is Verdict.INCONCLUSIVE


def test_what_breaks_after_a_long_good_time_is_caught_soon() -> None:
    good = fold_all(Traffic(seed=16).slots(1_000))
    later = Traffic(seed=17, candidate=Model(errors=0.05)).slots(60, first=1_000)
    assert judge(good, EvidenceSettings()).verdict is Verdict.FINE
    assert judge(fold_all(later, good), EvidenceSettings()).verdict is Verdict.WORSE


def test_a_few_events_that_both_decided_do_not_silence_the_comparison_of_the_arms() -> None:
    pairs = {f"{CANDIDATE}|{PRODUCTION}": PairCounts(pairs=5)}
    slots = (slot.model_copy(update={"pairs": pairs}) for slot in SPLIT.slots(40))
    assert "flags_more" in fold_all(slots).tests
    assert "flags_more" not in fold_all(MIRRORED.slots(40)).tests
