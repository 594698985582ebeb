"""Events go in as the loggers send them; what is wrong, twice or too much is refused or counted."""

from pathlib import Path
from typing import Any

import pytest

from tests.monitoring.service.events import REQUEST, RESPONSE, decided, decision, event, exchange, exchange_v2, instance
from tests.monitoring.service.stage import Running, in_loop, running
from vigil.contracts.cloud_events import CloudEvent, to_structured
from vigil.monitoring.samples import ArmCounts


async def _arm(stage: Running, revision: str = "m-v1") -> ArmCounts:
    (slot,) = await stage.slots()
    return slot.arms[revision]


@in_loop
async def test_a_request_and_its_answer_are_a_decision_in_a_slot(tmp_path: Path) -> None:
    async with running(tmp_path) as stage:
        assert await stage.send(decided("a", 0.07)) == [202, 202]
        arm = await _arm(stage)
        assert (arm.scored, arm.flagged, arm.scores.index(1)) == (1, 0, 3)
        assert (await stage.get("/v1/slots/another")) == []


@in_loop
async def test_the_answer_may_come_before_its_request(tmp_path: Path) -> None:
    async with running(tmp_path) as stage:
        await stage.send(reversed(decided("a", 0.9)))
        assert (await _arm(stage)).flagged == 1


@in_loop
async def test_structured_events_say_the_same(tmp_path: Path) -> None:
    async with running(tmp_path) as stage:
        for made in decided("a"):
            headers, body = to_structured(made)
            async with stage.http.post(stage.url, data=body, headers=headers) as response:
                assert response.status == 202
        assert (await _arm(stage)).scored == 1


@pytest.mark.parametrize("binary", [False, True])
def test_v2_says_the_same_with_raw_tensors_too_though_nobody_says_where_the_json_ends(
    tmp_path: Path, binary: bool
) -> None:
    @in_loop
    async def check() -> None:
        async with running(tmp_path) as stage:
            await stage.send(exchange_v2("a", ["1", "2", "3"], [0.1, 0.95, 1.0], binary))
            arm = await _arm(stage)
            assert (arm.scored, arm.flagged, arm.scores[5], arm.scores[49]) == (3, 2, 1, 1)

    check()


@in_loop
async def test_an_event_that_comes_twice_counts_once(tmp_path: Path) -> None:
    async with running(tmp_path) as stage:
        for _ in range(3):
            await stage.send(decided("a"))
        assert (await _arm(stage)).scored == 1
        assert await stage.outcome("duplicates") == 4


@in_loop
async def test_halves_that_find_no_other_half_are_counted(tmp_path: Path) -> None:
    async with running(tmp_path, pair_seconds=10) as stage:
        request, _ = decided("a")
        await stage.send([request, decided("b")[1]])
        await stage.slots()
        assert (await stage.metrics())["vigil_monitor_unpaired_events"] == 2
        await stage.slots()
        await stage.slots()
        assert (await stage.outcome("unpaired_request"), await stage.outcome("unpaired_response")) == (1, 1)


BAD: list[tuple[dict[str, str], bytes, str | None]] = [
    ({"ce-specversion": "1.0", "ce-source": "s", "ce-type": REQUEST}, b"{}", "ce-id"),
    ({"ce-specversion": "1.0", "ce-id": "1", "ce-source": "s", "ce-type": "other"}, b"{}", "ce-type"),
    ({"ce-specversion": "0.1", "ce-id": "1", "ce-source": "s", "ce-type": REQUEST}, b"{}", "ce-specversion"),
    ({"content-type": "application/json"}, b"{}", "ce-specversion"),
    ({"content-type": "application/cloudevents+json"}, b"{", None),
    ({"content-type": "application/cloudevents+json"}, b'{"specversion":"1.0","id":"1","source":"s"}', "type"),
]


@in_loop
async def test_what_is_no_event_is_refused_with_the_field_that_is_wrong(tmp_path: Path) -> None:
    async with running(tmp_path, event_bytes=1000) as stage:
        for headers, body, field in BAD:
            async with stage.http.post(stage.url, data=body, headers=headers) as response:
                assert (response.status, (await response.json())["error"]["field"]) == (400, field)
        (large,) = await stage.send([event(REQUEST, "1", b"x" * 2000)])
        assert large == 413


ANSWER: dict[str, Any] = {"predictions": [decision("a")], "model_name": "m"}
UNREADABLE: list[tuple[Any, Any, str]] = [
    (b"{", ANSWER, "not_json"),
    ({"instances": [instance("a")]}, b"\xff", "not_json"),
    ([1], ANSWER, "unreadable"),
    ({"other": 1}, ANSWER, "unreadable"),
    ({"instances": [instance("a"), instance("b")]}, ANSWER, "unreadable"),
    ({"instances": [{"event_id": "a"}]}, ANSWER, "unreadable"),
    ({"instances": [instance("a", event_time="noon")]}, ANSWER, "unreadable"),
    ({"instances": [instance("a")]}, {**ANSWER, "predictions": [decision("a", 7.0)]}, "unreadable"),
    ({"instances": [instance("a")]}, {**ANSWER, "predictions": [decision("a") | {"vector": "%"}]}, "unreadable"),
    ({"instances": [instance("a")]}, {"error": "x"}, "unreadable"),
    ({"inputs": [{"name": "x"}]}, {"outputs": []}, "unreadable"),
    ({"events": {"kind": "verdict"}}, {}, "unreadable"),
    ({"events": [{"kind": "verdict"}]}, {}, "unreadable"),
]


@in_loop
async def test_payloads_that_say_nothing_are_counted_and_do_no_harm(tmp_path: Path) -> None:
    async with running(tmp_path) as stage:
        for number, (request, response, _) in enumerate(UNREADABLE):
            await stage.send([event(REQUEST, str(number), request), event(RESPONSE, str(number), response)])
        await stage.send(decided("a"))
        assert (await _arm(stage)).scored == 1
        for reason in ("not_json", "unreadable"):
            expected = sum(found == reason for _, _, found in UNREADABLE)
            assert await stage.outcome(f"refused_{reason}") == expected


@in_loop
async def test_what_does_not_fit_into_the_queue_is_answered_by_503_and_counted(tmp_path: Path) -> None:
    many = [instance(str(number)) for number in range(50)]
    answers = [decision(str(number)) for number in range(50)]
    async with running(tmp_path, queue_bytes=20_000) as stage:
        statuses = await stage.send(exchange("a", many, answers))
        assert statuses == [202, 503]
        metrics = await stage.metrics()
        assert metrics[f'vigil_monitor_events_total{{outcome="dropped",type="{RESPONSE}"}}'] == 1
        assert await stage.send(decided("b")) == [202, 202]


@in_loop
async def test_the_revision_of_an_older_server_is_told_by_the_annotation_of_the_pod(tmp_path: Path) -> None:
    def annotated(made: CloudEvent) -> CloudEvent:
        told = {**made.extensions, "annotations": '{"model-revision":"m-00007"}'}
        return CloudEvent(made.id, made.source, made.type, made.data, extensions=told)

    plain = {name: value for name, value in decision("a").items() if name != "revision"}
    async with running(tmp_path) as stage:
        await stage.send(map(annotated, exchange("a", [instance("a")], [plain])))
        assert (await _arm(stage, "m-00007")).scored == 1


@in_loop
async def test_a_question_about_slots_that_is_no_number_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as stage:
        answer = await stage.get("/v1/slots/card_fraud?after=yesterday")
        assert answer["error"]["field"] == "after"


@in_loop
async def test_a_bundle_that_is_not_in_the_store_is_counted_and_slots_go_on(tmp_path: Path) -> None:
    async with running(tmp_path) as stage:
        await stage.send(decided("a"))
        assert (await _arm(stage)).scored == 1
        assert await stage.outcome("unwatched_unknown_bundle") == 1
        assert await stage.get("/v1/watch") == []
