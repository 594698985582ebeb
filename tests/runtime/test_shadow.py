"""Shadow traffic is a copy that nobody waits for."""

import asyncio
from typing import Any

from tests.runtime.stage import Stage, eventually, in_loop, stage
from vigil.runtime.splitter import shadow
from vigil.runtime.splitter.routes import Target


def _mirror(scene: Stage, name: str) -> Target:
    target = scene.routes.targets[name]
    scene.splitter.start_mirror(target)
    return target


def _bodies(scene: Stage, name: str) -> list[Any]:
    return sorted(seen["body"] for seen in scene.revisions[name].seen)


@in_loop
async def test_a_shadow_sees_every_decided_request_and_answers_none() -> None:
    async with stage("a", "s") as scene:
        target = _mirror(scene, "s")
        assert {await scene.revision_of(f"C{number}") for number in range(50)} == {"a"}
        await eventually(lambda: target.counts.mirrored["200"] == 50)
        assert _bodies(scene, "s") == _bodies(scene, "a")
        assert all(seen["headers"]["x-vigil-shadow"] == "true" for seen in scene.revisions["s"].seen)
        assert target.counts.requests == 0


@in_loop
async def test_events_and_explanations_are_not_mirrored() -> None:
    async with stage("a", "s") as scene:
        target = _mirror(scene, "s")
        for path in ("/v1/models/m/events", "/v1/models/m:explain"):
            async with scene.client.post(scene.url(path), data=b"{}"):
                pass
        await scene.predict()
        await eventually(lambda: target.counts.mirrored["200"] == 1)
        assert [seen["path"] for seen in scene.revisions["s"].seen] == ["/v1/models/m:predict"]


@in_loop
async def test_a_client_cannot_pass_its_request_off_as_a_shadow() -> None:
    async with stage("a") as scene:
        await scene.predict(**{"x-vigil-shadow": "true"})
        assert "x-vigil-shadow" not in {name.lower() for name in scene.revisions["a"].seen[0]["headers"]}


@in_loop
async def test_a_slow_shadow_drops_copies_and_counts_them_and_the_client_never_waits() -> None:
    async with stage("a", "s") as scene:
        scene.revisions["s"].behaviour["delay"] = 30
        target = _mirror(scene, "s")
        sent = shadow.QUEUE + shadow.WORKERS + 40
        for _ in range(sent):
            await asyncio.wait_for(scene.predict(), 20)
        assert target.counts.mirrored["dropped_queue_full"] == 40
        assert scene.routes.targets["a"].counts.answers["http", "200"] == sent


@in_loop
async def test_a_dead_or_failing_shadow_is_counted_and_the_client_gets_its_answer() -> None:
    async with stage("a", "s", "t") as scene:
        dead, failing = _mirror(scene, "s"), _mirror(scene, "t")
        scene.revisions["t"].behaviour["status"] = 500
        await scene.stop("s")
        assert await scene.revision_of("C1") == "a"
        await eventually(lambda: dead.counts.mirrored["unreachable"] == 1 and failing.counts.mirrored["500"] == 1)
        dead.ready = False
        assert await scene.revision_of("C1") == "a"
        assert dead.counts.mirrored["dropped_not_ready"] == 1


@in_loop
async def test_a_shadow_that_was_stopped_sees_nothing_more() -> None:
    async with stage("a", "s") as scene:
        _mirror(scene, "s")
        scene.splitter.stop_mirror("s")
        await scene.predict()
        assert scene.revisions["s"].seen == []
