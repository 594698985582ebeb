"""Slots count what each revision decided, what two decided of the same events, and what verdicts said of it."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.monitoring.service.events import decided, verdict
from tests.monitoring.service.stage import BEGIN, in_loop, running
from vigil.clock import ManualClock
from vigil.monitoring.samples import SCORE_BINS, Slot
from vigil.monitoring.service.payloads import Row
from vigil.monitoring.service.settings import ServiceSettings
from vigil.monitoring.service.slots import SlotBook
from vigil.monitoring.service.tally import Mark, Tally

OLD, NEW = {"revision": "m-v1"}, {"revision": "m-v2", "shadow": True}


@in_loop
async def test_a_shadow_is_compared_with_what_the_client_got_event_by_event(tmp_path: Path) -> None:
    async with running(tmp_path) as stage:
        for name, old, new in (("a", 0.1, 0.1), ("b", 0.9, 0.2), ("c", 0.2, 0.95)):
            await stage.send(decided(name, old, vector=[1.0, 2.0], **OLD))
            await stage.send(decided(name, new, vector=[1.0, 2.0 if name == "a" else 2.5], **NEW))
        await stage.send(decided("alone", 0.9, **OLD))
        (slot,) = await stage.slots()
        assert {name: (arm.scored, arm.flagged) for name, arm in slot.arms.items()} == {"m-v1": (4, 2), "m-v2": (3, 1)}
        pairs = slot.pairs["m-v2|m-v1"]
        assert (pairs.pairs, pairs.only_candidate_flagged, pairs.only_production_flagged) == (3, 1, 1)
        assert (pairs.vectors, pairs.vectors_differing, pairs.features_differing) == (3, 2, {"#1": 2})
        assert [bin for bin, count in enumerate(pairs.score_differences) if count] == [15, 50, 87]
        assert slot.pairs["m-v1|m-v2"].only_candidate_flagged == 1


@in_loop
async def test_vectors_of_different_schemas_are_not_compared(tmp_path: Path) -> None:
    async with running(tmp_path) as stage:
        await stage.send(decided("a", vector=[1.0], **OLD))
        await stage.send(decided("a", vector=[2.0], feature_schema="sha256:" + "6" * 64, **NEW))
        (slot,) = await stage.slots()
        assert (slot.pairs["m-v2|m-v1"].pairs, slot.pairs["m-v2|m-v1"].vectors) == (1, 0)


@in_loop
async def test_verdicts_judge_flagged_decisions_and_pairs_that_disagree_in_the_slot_in_which_they_come(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as stage:
        for name, old, new in (("a", 0.9, 0.9), ("b", 0.9, 0.2), ("c", 0.2, 0.95), ("d", 0.1, 0.1)):
            await stage.send([*decided(name, old, **OLD), *decided(name, new, **NEW)])
        (first,) = await stage.slots()
        for name, is_fraud in (("a", True), ("b", False), ("c", True), ("d", True), ("nobody", True)):
            await stage.send(verdict(name, is_fraud))
        (slot,) = await stage.slots(after=first.number)
        arms = {name: (arm.scored, arm.judged, arm.confirmed) for name, arm in slot.arms.items()}
        assert arms == {"m-v1": (0, 2, 1), "m-v2": (0, 2, 2)}
        assert (slot.pairs["m-v2|m-v1"].judged, slot.pairs["m-v2|m-v1"].candidate_right) == (2, 2)
        assert (slot.pairs["m-v1|m-v2"].judged, slot.pairs["m-v1|m-v2"].candidate_right) == (2, 0)


@in_loop
async def test_a_second_verdict_on_the_same_event_changes_no_count(tmp_path: Path) -> None:
    async with running(tmp_path) as stage:
        await stage.send([*decided("a", 0.9), *verdict("a", True)])
        (slot,) = await stage.slots()
        assert (slot.arms["m-v1"].judged, slot.arms["m-v1"].confirmed) == (1, 1)
        renamed = [replace(event, id="v2") for event in verdict("a", False)]
        await stage.send(renamed)
        assert [found.arms for found in await stage.slots(after=slot.number)] in ([], [{}])


@in_loop
async def test_slots_are_told_once_they_are_closed_and_only_those_after_a_number(tmp_path: Path) -> None:
    async with running(tmp_path) as stage:
        for name in "abc":
            await stage.send(decided(name))
            await stage.slots()
        found = await stage.slots()
        assert [slot.number for slot in found] == [int(BEGIN.timestamp() // 5) + place for place in range(3)]
        assert [slot.start for slot in found] == [BEGIN.timestamp() + 5 * place for place in range(3)]
        assert await stage.slots(after=found[1].number) == found[2:]


@in_loop
async def test_a_clock_that_is_put_back_changes_nothing_that_is_closed(tmp_path: Path) -> None:
    async with running(tmp_path) as stage:
        await stage.send(decided("a"))
        (before,) = await stage.slots()
        stage.clock.advance(timedelta(hours=-1))
        await stage.send(decided("b"))
        stage.clock.advance(timedelta(hours=1))
        found = await stage.slots()
        assert found[0] == before
        assert found[1].number > before.number


@in_loop
async def test_a_restart_changes_no_closed_slot_and_goes_on_with_the_open_one(tmp_path: Path) -> None:
    clock = ManualClock(BEGIN)
    async with running(tmp_path, clock=clock) as stage:
        await stage.send(decided("a", 0.9))
        closed = await stage.slots()
        await stage.send(decided("b", 0.9))
    async with running(tmp_path, clock=clock) as stage:
        assert [Slot.model_validate(slot) for slot in await stage.get("/v1/slots/card_fraud")] == closed
        await stage.send([*decided("c"), *decided("b", 0.9), *verdict("a", True)])
        (slot,) = await stage.slots(after=closed[-1].number)
        arm = slot.arms["m-v1"]
        assert (arm.scored, arm.flagged, arm.judged, sum(arm.scores)) == (2, 1, 1, 2)
        assert await stage.outcome("duplicates") == 2


def test_a_line_that_a_crash_cut_off_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    book = SlotBook(path, ServiceSettings())
    for at in (0.0, 5.0, 10.0):
        book.decided([(ROW, MARK)], at)
    book.close_until(100.0)
    with path.open("ab") as file:
        file.write(b'{"source":"decisions","num')
    again = SlotBook(path, ServiceSettings())
    assert list(again.closed) == list(book.closed)
    again.decided([(ROW, MARK)], 200.0)
    again.close_until(300.0)
    assert [number for number, _ in SlotBook(path, ServiceSettings()).closed] == [0, 1, 2, 40]


def test_old_slots_leave_memory_and_file(tmp_path: Path) -> None:
    limits = ServiceSettings(slot_seconds=1.0, slot_hours=10 / 3600)
    book = SlotBook(tmp_path / "m.jsonl", limits)
    for at in range(100):
        book.decided([(ROW, MARK)], float(at))
    book.close_until(100.0)
    assert [number for number, _ in book.closed] == list(range(90, 100))
    assert len((tmp_path / "m.jsonl").read_text().splitlines()) <= 20


ROW = Row("a", 0, "", {}, 0.5, {}, False, None)
MARK = Mark("m-v1", 0.5, False, "", None)

scores = st.floats(min_value=0, max_value=1)


@given(st.lists(st.tuples(scores, scores, st.booleans(), st.booleans(), st.booleans()), max_size=30))
@settings(max_examples=50, deadline=None)
def test_counts_agree_with_each_other_whatever_was_decided(events: list[tuple[float, float, bool, bool, bool]]) -> None:
    tally, copy = Tally(7), Tally(7)
    for one, other, flags_one, flags_other, is_fraud in events:
        marks = Mark("a", one, flags_one, "s", None), Mark("b", other, flags_other, "s", None)
        for mark in marks:
            tally.decided(mark)
        tally.compared(*marks)
        tally.judged({"a": flags_one, "b": flags_other}, is_fraud)
    slot = tally.slot(5.0)
    for arm in slot.arms.values():
        assert sum(arm.scores) == arm.scored == len(events)
        assert arm.confirmed <= arm.judged <= arm.flagged <= arm.scored
    for name, pairs in slot.pairs.items():
        mirrored = slot.pairs["|".join(reversed(name.split("|")))]
        assert pairs.only_candidate_flagged == mirrored.only_production_flagged
        assert pairs.judged == pairs.only_candidate_flagged + pairs.only_production_flagged
        assert pairs.candidate_right + mirrored.candidate_right == pairs.judged
        assert len(pairs.score_differences) == 2 * SCORE_BINS
        assert sum(pairs.score_differences) == pairs.pairs
    copy.add(slot)
    assert copy.slot(5.0) == slot
