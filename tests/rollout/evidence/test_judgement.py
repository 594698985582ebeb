"""What is never a pass."""

import pytest

from tests.rollout.evidence.traffic import CANDIDATE, PRODUCTION, SETTINGS, Model, Traffic, fold_all, only
from vigil.monitoring.samples import Slot
from vigil.rollout.evidence import Evidence, EvidenceSettings, Minimum, Signal, Verdict, judge

SLOTS = list(Traffic(seed=21).slots(150))


def test_no_data_is_never_a_pass() -> None:
    judgement = judge(Evidence(), SETTINGS)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert set(judgement.signals) == set(SETTINGS.required)


def test_no_data_is_no_pass_even_if_nothing_is_required() -> None:
    assert judge(Evidence(), SETTINGS, required=()).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("speaking", [CANDIDATE, PRODUCTION])
def test_the_silence_of_one_version_is_no_pass(speaking: str) -> None:
    judgement = judge(fold_all(only(slot, speaking) for slot in SLOTS), SETTINGS)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    silent = "production" if speaking == CANDIDATE else "the candidate"
    assert f"0 of at least 200 answers of {silent}" in judgement.statement


def test_errors_without_production_beside_them_are_no_pass() -> None:
    alone = fold_all(only(slot, CANDIDATE) for slot in SLOTS)
    errors = next(test for test in judge(alone, SETTINGS).tests if test.name == "errors_alone")
    assert errors.verdict is Verdict.FINE
    assert judge(alone, SETTINGS).signals[Signal.ERRORS] is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("source", ["traffic", "decisions"])
def test_the_silence_of_one_source_is_no_pass(source: str) -> None:
    judgement = judge(fold_all(slot for slot in SLOTS if slot.source == source), SETTINGS)
    assert judgement.verdict is Verdict.INCONCLUSIVE


def test_a_few_samples_are_no_pass_and_no_rollback() -> None:
    for requests in (0, 1, 3):
        small = Traffic(seed=22, requests=requests, candidate=Model(errors=0.5), share=0.5).slots(3)
        assert judge(fold_all(small), SETTINGS).verdict is Verdict.INCONCLUSIVE


def test_a_step_needs_samples_of_its_own() -> None:
    state = fold_all(iter(SLOTS))
    assert judge(state, SETTINGS).verdict is Verdict.FINE
    judgement = judge(state, SETTINGS, since=state.samples)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "0 of at least 200 answers of the candidate" in judgement.missing


def test_the_minimum_holds_however_good_the_evidence_is() -> None:
    settings = EvidenceSettings(minimum=Minimum(requests=10**6))
    judgement = judge(fold_all(iter(SLOTS)), settings)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert all(verdict is Verdict.FINE for signal, verdict in judgement.signals.items() if signal in settings.required)


def test_a_signal_that_is_required_and_not_seen_is_no_pass() -> None:
    judgement = judge(fold_all(iter(SLOTS)), SETTINGS, required=(*SETTINGS.required, Signal.VECTORS))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "vectors inconclusive" in judgement.missing


def test_errors_of_a_shadow_are_not_required_but_have_to_be_fine_where_they_are_seen() -> None:
    slots = list(Traffic(seed=23, share=None).slots(60))
    wanted = (Signal.FLAG_RATE, Signal.SCORES)
    assert judge(fold_all(iter(slots)), SETTINGS, required=wanted).verdict is Verdict.FINE
    counted = Traffic(seed=24, share=0.5).slots(2)
    few = [*slots, *(slot.model_copy(update={"number": 100 + slot.number}) for slot in counted if is_traffic(slot))]
    judgement = judge(fold_all(iter(few)), SETTINGS, required=wanted)
    assert judgement.missing == ("errors inconclusive",)


def is_traffic(slot: Slot) -> bool:
    return slot.source == "traffic"


def test_worse_wins_over_everything_that_is_missing() -> None:
    state = fold_all(Traffic(seed=25, candidate=Model(errors=0.3)).slots(40))
    settings = EvidenceSettings(minimum=Minimum(requests=10**6))
    assert judge(state, settings).verdict is Verdict.WORSE


def test_every_test_says_a_sentence_with_its_numbers() -> None:
    judgement = judge(fold_all(iter(SLOTS)), SETTINGS)
    errors = next(test for test in judgement.tests if test.name == "errors")
    assert f"{errors.candidate:.2%} of the candidate's {errors.candidate_of:,.0f} answers" in errors.statement
    assert errors.production is not None
    assert f"{errors.production:.2%} of production's {errors.production_of:,.0f}" in errors.statement


def test_a_judgement_survives_its_document() -> None:
    judgement = judge(fold_all(iter(SLOTS)), SETTINGS)
    assert type(judgement).model_validate_json(judgement.model_dump_json()) == judgement
