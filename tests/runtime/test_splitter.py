"""The splitter splits by weight, sticks to entities, reroutes round the sick and answers for itself."""

import asyncio
from collections import Counter

import pytest

from tests.runtime.stage import gather_all, in_loop, stage


@in_loop
async def test_traffic_without_entities_is_split_by_weight() -> None:
    async with stage("a", "b") as scene:
        scene.weigh(a=90, b=10)
        served = Counter([await scene.revision_of() for _ in range(200)])
    assert served == {"a": 180, "b": 20}


@in_loop
async def test_traffic_of_many_entities_is_split_by_weight() -> None:
    async with stage("a", "b") as scene:
        scene.weigh(a=75, b=25)
        served = Counter([await scene.revision_of(f"C{number}") for number in range(1000)])
    assert served["b"] == pytest.approx(250, abs=45)


@in_loop
async def test_an_entity_keeps_its_revision_while_the_weights_stay_and_few_move_when_they_change() -> None:
    customers = [f"C{number}" for number in range(400)]
    async with stage("a", "b") as scene:
        scene.weigh(a=80, b=20)
        first = {name: await scene.revision_of(name) for name in customers}
        assert {name: await scene.revision_of(name) for name in customers} == first
        scene.weigh(a=70, b=30)
        second = {name: await scene.revision_of(name) for name in customers}
    moved = [name for name in customers if first[name] != second[name]]
    assert {first[name] for name in moved} == {"a"}
    assert len(moved) == pytest.approx(40, abs=20)


@in_loop
async def test_the_header_names_the_entity_where_the_body_does_not() -> None:
    async with stage("a", "b") as scene:
        scene.weigh(a=50, b=50)
        for number in range(50):
            by_body = await scene.revision_of(f"C{number}")
            assert await scene.revision_of(**{"x-vigil-entity": f"C{number}"}) == by_body


@in_loop
async def test_a_revision_that_is_not_ready_gets_no_traffic() -> None:
    async with stage("a", "b") as scene:
        scene.weigh(a=50, b=50)
        scene.routes.targets["a"].ready = False
        assert {await scene.revision_of(f"C{number}") for number in range(40)} == {"b"}
        assert scene.routes.targets["a"].counts.rerouted > 0


@in_loop
async def test_when_a_revision_dies_no_request_fails_as_long_as_another_has_traffic() -> None:
    async with stage("a", "b") as scene:
        scene.weigh(a=50, b=50)
        noticed = []
        scene.routes.targets["a"].on_failure = lambda: noticed.append("a")
        await gather_all([scene.revision_of(f"C{number}") for number in range(20)])
        await scene.stop("a")
        assert {await scene.revision_of(f"C{number}") for number in range(40)} == {"b"}
        assert noticed == ["a"]


@in_loop
async def test_a_revision_that_hangs_up_is_a_502_and_an_event_is_not_sent_twice() -> None:
    async with stage("a", "b") as scene:
        scene.weigh(a=50, b=50)
        async with scene.client.post(scene.url("/v1/models/m/hang_up"), data=b"{}") as response:
            assert response.status == 502
            assert (await response.json())["error"]["code"] == "revision_lost"
        assert len(scene.revisions["a"].seen + scene.revisions["b"].seen) == 1


@pytest.mark.parametrize(
    ("path", "status", "cure"),
    [
        ("/v1/models/m:predict", 503, "vigil deploy MODEL"),
        ("/v2/health/ready", 503, "ready"),
        ("/nowhere", 404, "/v1/models/MODEL:predict"),
        ("/v2/repository/models/m/unload", 404, "/v1/models/MODEL:predict"),
        ("/v2/health/live", 200, "true"),
    ],
)
@in_loop
async def test_an_empty_splitter_answers_for_itself(path: str, status: int, cure: str) -> None:
    async with stage() as scene, scene.client.get(scene.url(path)) as response:
        assert response.status == status
        assert cure in await response.text()


@in_loop
async def test_an_unknown_model_is_a_404_that_lists_the_known_ones() -> None:
    async with stage("a") as scene, scene.client.post(scene.url("/v1/models/other:predict"), data=b"{}") as response:
        assert response.status == 404
        assert (await response.json())["error"]["message"] == "no model of this name is deployed, only m"


@in_loop
async def test_two_models_have_tables_of_their_own() -> None:
    async with stage("a") as scene:
        await scene.add("z", model="other")
        scene.weigh("other", z=100)
        assert await scene.revision_of("C1") == "a"
        async with scene.client.post(scene.url("/v2/models/other/infer"), data=b"{}") as response:
            assert response.headers["x-vigil-revision"] == "z"


@in_loop
async def test_metrics_count_by_revision_and_status() -> None:
    async with stage("a") as scene:
        await scene.add("bad", status=500)
        scene.weigh(a=50, bad=50)
        for _ in range(10):
            await scene.predict()
        async with scene.client.get(scene.url("/nowhere")):
            pass
        async with scene.client.get(scene.url("/metrics")) as response:
            text = await response.text()
    assert 'vigil_splitter_requests_total{code="200",model="m",protocol="http",revision="a"} 5.0' in text
    assert 'vigil_splitter_requests_total{code="500",model="m",protocol="http",revision="bad"} 5.0' in text
    assert 'vigil_splitter_seconds_count{model="m",revision="a"} 5.0' in text
    assert 'vigil_splitter_own_answers_total{code="404"} 1.0' in text


@in_loop
async def test_connections_to_a_revision_are_kept() -> None:
    async with stage("a") as scene:
        for _ in range(30):
            await scene.predict()
        assert len(scene.revisions["a"].connections) == 1


@in_loop
async def test_draining_finishes_what_is_on_the_way_and_takes_nothing_new() -> None:
    async with stage("a") as scene:
        scene.revisions["a"].behaviour["delay"] = 0.5
        running = [asyncio.ensure_future(scene.predict()) for _ in range(5)]
        await asyncio.sleep(0.2)
        await scene.splitter.drain(10)
        answers = await asyncio.gather(*running)
        assert [answer.status for answer in answers] == [200] * 5
        with pytest.raises(OSError, match="111"):
            await asyncio.open_connection("127.0.0.1", scene.port)
