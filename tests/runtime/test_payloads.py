"""The splitter sends copies of requests and answers to the detector service, and no client waits for that."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from tests.runtime.stage import Stage, eventually, in_loop, stage
from vigil.contracts.cloud_events import CloudEvent, read_event
from vigil.runtime.splitter import payloads
from vigil.runtime.splitter.payloads import REQUEST_TYPE, RESPONSE_TYPE, PayloadLogger

BODY = b'{"instances":[{"amount":1.0}]}'
PREDICT = "/v1/models/m:predict"


class Sink:
    """Takes events as the detector service does."""

    def __init__(self) -> None:
        self.events: list[CloudEvent] = []
        self.lengths: list[str | None] = []
        self.status = 202
        self.breaks = 0
        """How many requests are answered by the end of the connection."""
        self.open = asyncio.Event()
        self.open.set()
        self.port = 0
        self.runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_post("/", self._take)
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", self.port).start()
        self.port = self.runner.addresses[0][1]

    async def stop(self) -> None:
        if self.runner is not None:
            await self.runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        await self.open.wait()
        if self.breaks:
            self.breaks -= 1
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        self.events.append(read_event(request.headers, await request.read()))
        self.lengths.append(request.headers.get("inference-header-content-length"))
        return web.Response(status=self.status)


@asynccontextmanager
async def logged(*names: str) -> AsyncIterator[tuple[Stage, Sink, PayloadLogger]]:
    sink = Sink()
    await sink.start()
    logger = PayloadLogger("127.0.0.1", sink.port, "http://127.0.0.1:8080/")
    async with stage(*names, payloads=logger) as scene:
        yield scene, sink, logger
    await sink.stop()


async def post(scene: Stage, path: str = PREDICT, body: bytes = BODY, **headers: str) -> int:
    async with scene.client.post(scene.url(path), data=body, headers=headers) as response:
        await response.read()
        return response.status


@pytest.mark.parametrize("path", [PREDICT, "/v2/models/m/infer", "/v1/models/m/events"])
def test_request_and_answer_are_two_events_with_one_id_and_the_revision(path: str) -> None:
    @in_loop
    async def check() -> None:
        async with logged("a") as (scene, sink, _):
            await post(scene, path)
            await eventually(lambda: len(sink.events) == 2)
            request, response = sink.events
            assert (request.type, response.type) == (REQUEST_TYPE, RESPONSE_TYPE)
            assert request.id == response.id
            assert (request.data, response.json()["revision"]) == (BODY, "a")
            expected = {
                "inferenceservicename": "m",
                "namespace": "local",
                "component": "predictor",
                "endpoint": "default",
                "annotations": '{"model-revision":"a"}',
            }
            assert dict(request.extensions) == dict(response.extensions) == expected
            assert request.time is not None

    check()


@in_loop
async def test_what_is_no_decision_or_went_wrong_is_not_logged() -> None:
    async with logged("a") as (scene, sink, logger):
        await post(scene, "/v1/models/m:explain")
        async with scene.client.get(scene.url("/v2/models/m/ready")):
            pass
        scene.revisions["a"].behaviour["status"] = 429
        assert await post(scene) == 429
        scene.revisions["a"].behaviour["status"] = 200
        await post(scene)
        await eventually(lambda: logger.counts["sent"] == 1)
        assert len(sink.events) == 2


@in_loop
async def test_the_answer_of_a_shadow_is_marked_and_has_an_id_of_its_own() -> None:
    async with logged("a", "s") as (scene, sink, logger):
        scene.splitter.start_mirror(scene.routes.targets["s"])
        await post(scene)
        await eventually(lambda: logger.counts["sent"] == 2)
        shadows = [event for event in sink.events if event.extensions.get("shadow") == "true"]
        others = [event for event in sink.events if "shadow" not in event.extensions]
        assert [event.extensions["annotations"] for event in shadows] == ['{"model-revision":"s"}'] * 2
        assert [event.json()["revision"] for event in (shadows[1], others[1])] == ["s", "a"]
        assert shadows[0].data == others[0].data == BODY
        assert shadows[0].id != others[0].id


@in_loop
async def test_the_length_of_the_json_before_raw_tensors_is_told() -> None:
    async with logged("a") as (scene, sink, _):
        headers = {"inference-header-content-length": "2", "content-type": "application/octet-stream"}
        await post(scene, "/v2/models/m/infer", b"{}\x00\xff", **headers)
        await eventually(lambda: len(sink.events) == 2)
        assert sink.lengths == ["2", None]
        assert (sink.events[0].data, sink.events[0].content_type) == (b"{}\x00\xff", "application/octet-stream")


@in_loop
async def test_while_the_service_is_away_answers_wait_for_it_and_clients_do_not() -> None:
    async with logged("a") as (scene, sink, logger):
        await sink.stop()
        for _ in range(5):
            assert await post(scene) == 200
        assert logger.counts["sent"] == 0
        await sink.start()
        await eventually(lambda: logger.counts["sent"] == 5)
        assert len({event.id for event in sink.events}) == 5


@in_loop
async def test_a_service_that_breaks_off_is_told_again_under_the_same_id_but_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(payloads, "PAUSE_SECONDS", 0.01)
    async with logged("a") as (scene, sink, logger):
        sink.breaks = payloads.TRIES - 1
        await post(scene)
        await eventually(lambda: logger.counts["sent"] == 1)
        assert len({event.id for event in sink.events}) == 1
        sink.breaks = payloads.TRIES
        await post(scene)
        await eventually(lambda: logger.counts["broken"] == 1)
        await post(scene)
        await eventually(lambda: logger.counts["sent"] == 2)


@in_loop
async def test_many_answers_go_in_one_go_and_in_order() -> None:
    async with logged("a") as (scene, sink, logger):
        sink.open.clear()
        for number in range(100):
            await post(scene, body=b'{"instances":[{"amount":%d}]}' % number)
        sink.open.set()
        await eventually(lambda: logger.counts["sent"] == 100)
        amounts = [event.json()["instances"][0]["amount"] for event in sink.events if event.type == REQUEST_TYPE]
        assert amounts == list(range(100))


@in_loop
async def test_what_does_not_fit_is_dropped_whole_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payloads, "QUEUE", 3)
    async with logged("a") as (scene, sink, logger):
        sink.open.clear()
        sent = 1 + 3 + 4
        for _ in range(sent):
            assert await post(scene) == 200
        assert logger.counts["dropped_queue_full"] == 4
        sink.open.set()
        await eventually(lambda: logger.counts["sent"] == sent - 4)
        assert len(sink.events) == 2 * (sent - 4)


@in_loop
async def test_bodies_that_are_streamed_are_copied_whole() -> None:
    async with logged("a", "s") as (scene, sink, logger):
        body = b"x" * (1 << 20)
        await post(scene, body=body)
        await eventually(lambda: logger.counts["sent"] == 1)
        assert len(sink.events[0].data) == len(body)
        assert sink.events[1].json()["size"] == len(body)
        for name in ("a", "s"):
            scene.revisions[name].behaviour["padding"] = 1 << 19
        scene.splitter.start_mirror(scene.routes.targets["s"])
        await post(scene)
        await eventually(lambda: logger.counts["sent"] == 3)
        answers = [event for event in sink.events[2:] if event.type == RESPONSE_TYPE]
        assert sorted(event.json()["revision"] for event in answers) == ["a", "s"]
        assert all(len(event.data) > 1 << 19 for event in answers)


@in_loop
async def test_what_is_too_long_or_refused_is_counted() -> None:
    async with logged("a") as (scene, sink, logger):
        await post(scene, body=b"x" * (payloads.MAX_BODY + 1))
        assert logger.counts["dropped_large"] == 1
        sink.status = 503
        await post(scene)
        await eventually(lambda: logger.counts["refused_503"] == 1)
        text = await (await scene.client.get(scene.url("/metrics"))).text()
        assert "vigil_splitter_payloads_total" in text


@in_loop
async def test_at_the_end_what_waits_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payloads, "FLUSH_SECONDS", 5.0)
    kept: list[Any] = []
    async with logged("a") as (scene, sink, logger):
        for _ in range(20):
            await post(scene)
        kept += [sink, logger]
    sink, logger = kept
    assert (logger.counts["sent"], logger.counts["dropped_at_end"], len(sink.events)) == (20, 0, 40)
