import pytest

from tests.rollout.evidence.traffic import CANDIDATE, PRODUCTION, SETTINGS, Model, Traffic, fold_all
from vigil.rollout.evidence import Evidence, Samples, fold, judge

SLOTS = list(Traffic(seed=1, candidate=Model(errors=0.01)).slots(40))


def test_no_slots_are_no_evidence() -> None:
    assert Evidence().tests == {}
    assert Evidence().samples == Samples()


def test_a_slot_that_comes_twice_counts_once() -> None:
    state = fold_all(iter(SLOTS))
    for slot in SLOTS:
        assert fold(state, slot, CANDIDATE, PRODUCTION, SETTINGS) is state


def test_a_slot_that_comes_late_is_left_out() -> None:
    late, rest = SLOTS[4], [*SLOTS[:4], *SLOTS[6:]]
    assert fold_all(iter([*rest, late])) == fold_all(iter(rest))


def test_folding_does_not_change_what_was_kept() -> None:
    state = fold_all(iter(SLOTS[:10]))
    kept = state.model_dump_json()
    fold_all(iter(SLOTS[10:]), state)
    assert state.model_dump_json() == kept


@pytest.mark.parametrize("killed_after", [0, 1, 17, 79])
def test_a_controller_that_is_killed_goes_on_from_the_document_to_the_same_verdict(killed_after: int) -> None:
    kept = fold_all(iter(SLOTS[:killed_after])).model_dump_json()
    resumed = fold_all(iter(SLOTS[max(0, killed_after - 5) :]), Evidence.model_validate_json(kept))
    whole = fold_all(iter(SLOTS))
    assert resumed.model_dump_json() == whole.model_dump_json()
    assert judge(resumed, SETTINGS) == judge(whole, SETTINGS)


def test_the_order_of_the_sources_does_not_matter() -> None:
    traffic = [slot for slot in SLOTS if slot.source == "traffic"]
    decisions = [slot for slot in SLOTS if slot.source == "decisions"]
    assert fold_all(iter([*decisions, *traffic])).tests == fold_all(iter(SLOTS)).tests


def test_other_revisions_are_none_of_its_business() -> None:
    strangers = [
        slot.model_copy(update={"arms": {**slot.arms, "m-9": slot.arms[CANDIDATE]}, "pairs": {}}) for slot in SLOTS
    ]
    assert fold_all(iter(strangers)) == fold_all(iter(SLOTS))


def test_a_slot_of_nobody_only_passes() -> None:
    empty = SLOTS[0].model_copy(update={"arms": {}, "number": 7})
    state = fold(Evidence(), empty, CANDIDATE, PRODUCTION, SETTINGS)
    assert state == Evidence(last={"traffic": 7})


def test_the_document_stays_small_enough_for_an_annotation() -> None:
    assert len(fold_all(iter(SLOTS)).model_dump_json()) < 20_000


def test_samples_of_a_step_are_those_after_its_start() -> None:
    before = fold_all(iter(SLOTS[:20])).samples
    after = fold_all(iter(SLOTS)).samples
    requests = sum(slot.arms[CANDIDATE].requests for slot in SLOTS[20:])
    assert after.since(before).requests == requests


def test_the_names_of_differing_features_are_counted() -> None:
    slots = list(Traffic(seed=2, candidate=Model(differing=0.5), share=None).slots(5))
    differing = sum(pair.vectors_differing for slot in slots for pair in slot.pairs.values())
    assert fold_all(iter(slots)).features == {"amount_mean_7d": differing}
