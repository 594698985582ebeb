"""Decisions reach the watch of their revision; what it becomes sure of reaches every sink, once, whatever dies."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from aiohttp import web

from tests.monitoring.service.events import MODEL, START, decided, decision, exchange, instance, silence, verdict
from tests.monitoring.service.stage import BEGIN, Running, in_loop, running, until, vigil
from vigil.clock import ManualClock, from_micros
from vigil.contracts.cloud_events import CloudEvent, read_event
from vigil.errors import ContractError, Unavailable
from vigil.monitoring.cause import Fact
from vigil.monitoring.samples import LabelBatch, PairCounts, ScoredBatch, Served
from vigil.monitoring.service.making import check_watches
from vigil.monitoring.service.settings import ServiceSettings, load_service_settings
from vigil.monitoring.service.statefile import owned
from vigil.monitoring.verdicts import Answer, Cause, DriftVerdict, Evidence, State, WatchStatus
from vigil.registry.bundle import Bundle, bundle_path, load_bundle

RELEASE = Path(__file__).parents[2] / "registry" / "fixtures" / "release_0_1"


class HighScores:
    """A watch that takes the mean score of a batch for the whole truth: drift above 0.5, none below."""

    made: ClassVar[list["HighScores"]] = []

    def __init__(self, served: Served) -> None:
        self.served, self.batches, self.verdicts = served, list[ScoredBatch](), list[LabelBatch]()
        self.pairs: list[PairCounts | None] = []
        self.facts: list[str] = []
        self.rows, self.since, self.now = 0, 0, 0
        self.made.append(self)

    def add(self, batch: ScoredBatch) -> None:
        self.batches.append(batch)
        self.rows += len(batch)
        drifts = batch.score.mean() > 0.5
        self.since = (self.since or int(batch.event_time.min())) if drifts else 0

    def add_labels(self, batch: LabelBatch) -> None:
        self.verdicts.append(batch)

    def advance(self, now: int) -> None:
        self.now = now

    def compare(self, pairs: PairCounts | None) -> None:
        self.pairs.append(pairs)

    def note(self, facts: Sequence[Fact]) -> None:
        self.facts = [fact.statement for fact in facts]

    def draw(self, path: Path) -> bool:
        raise OSError(f"no room for {path}")

    def status(self) -> WatchStatus:
        one = self.served
        facts = {"model": one.model, "revision": one.revision, "version": one.version, "bundle": one.bundle}
        state = State.DRIFTING if self.since else State.STEADY
        told = self._verdict(facts) if self.since else None
        return WatchStatus(**facts, state=state, verdict=told, rows=self.rows, windows=len(self.batches))

    def _verdict(self, facts: Mapping[str, str]) -> DriftVerdict:
        evidence = Evidence(kind="score", subject="score", statement="it is high", strength=9.0)
        moment = from_micros(self.since)
        return DriftVerdict(
            **facts,
            cause=Cause.POPULATION_MOVED,
            answer=Answer.RERUN,
            summary="scores are high",
            evidence=(evidence,),
            first_seen=moment,
            at=moment,
            rows=self.rows,
        )

    def snapshot(self) -> dict[str, Any]:
        return {"rows": self.rows, "since": self.since}

    def restore(self, state: dict[str, Any]) -> None:
        self.rows, self.since = state["rows"], state["since"]


def make(served: Served, bundle: Bundle, settings: Mapping[str, Any]) -> HighScores:
    return HighScores(served)


class Sink:
    """Takes the service's events; answers with `statuses`, the last one for ever."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.events: list[CloudEvent] = []
        self.asked = 0
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        self.asked += 1
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if status < 300:
            self.events.append(read_event(request.headers, await request.read()))
        return web.Response(status=status)


@asynccontextmanager
async def sink(*statuses: int, port: int = 0) -> AsyncIterator[Sink]:
    made = Sink(*statuses)
    app = web.Application()
    app.router.add_post("/", made.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    yield made
    await runner.cleanup()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home whose store holds the bundle of the first release."""
    HighScores.made = []
    shutil.copytree(RELEASE, tmp_path / "models" / bundle_path(load_bundle(RELEASE).hash))
    return tmp_path


def facts() -> dict[str, Any]:
    bundle = load_bundle(RELEASE)
    return {"bundle": bundle.hash, "feature_schema": bundle.json("feature_schema.json")["content_hash"]}


def names() -> tuple[str, ...]:
    return tuple(found["name"] for found in load_bundle(RELEASE).json("feature_schema.json")["features"])


async def drift(stage: Running, score: float, name: str = "a", **changes: Any) -> None:
    await stage.send(decided(name, score, **facts(), **changes))
    stage.clock.advance(timedelta(seconds=1))


def test_a_watch_gets_rows_with_event_time_site_fields_levels_and_the_features_of_the_bundle(home: Path) -> None:
    vectors = np.arange(2 * len(names()), dtype=np.float32).reshape(2, -1)
    rows = [instance("a", 3, amount=5.5), instance("b", 7, site_id=None)]
    made = [
        decision(name, score, vector, **facts()) for name, score, vector in zip("ab", (0.2, 0.9), vectors, strict=True)
    ]

    @in_loop
    async def check() -> None:
        async with running(home, make) as stage:
            await stage.send(exchange("1", rows, made))
            await stage.passes(lambda: bool(HighScores.made and HighScores.made[0].batches))

    check()
    (batch,) = HighScores.made[0].batches
    assert batch.served == Served(MODEL, "m-v1", "1", *facts().values())
    assert (list(batch.event_ids), list(batch.sites)) == (["a", "b"], ["S1", ""])
    assert [from_micros(int(time)) for time in batch.event_time] == [START + timedelta(seconds=n) for n in (3, 7)]
    assert batch.names == names()
    assert np.array_equal(batch.values, vectors)
    assert batch.fields["amount"] == [5.5, 17.0]
    assert batch.fields["site_id"] == ["S1", None]
    assert batch.fields["quantity"] == [None, None]
    assert batch.levels["boosted"].tolist() == batch.score.tolist() == [0.2, 0.9]
    assert batch.flagged.tolist() == [False, True]


@in_loop
async def _check_rest(home: Path) -> None:
    async with running(home, make) as stage:
        await stage.send([*decided("a", 0.9, **facts()), *decided("a", 0.1, revision="m-v2", shadow=True, **facts())])
        await stage.send([*verdict("a", True), *silence("till")])
        await stage.slots()
        stage.clock.advance(timedelta(seconds=30))
        live, shadow = sorted(HighScores.made, key=lambda watch: watch.served.revision)
        await stage.passes(lambda: live.now > START.timestamp() * 1e6 + 29e6)
        assert [list(batch.event_ids) for batch in live.verdicts] == [["a"]]
        assert live.verdicts[0].is_fraud.tolist() == [True]
        assert (shadow.served.shadow, shadow.batches[0].served.shadow) == (False, True)
        assert live.facts == ["nothing came from till of S1 for 1.5 hours"]
        (told,) = [pairs for pairs in shadow.pairs if pairs]
        assert (told.pairs, told.only_production_flagged) == (1, 1)


def test_verdicts_pairs_and_the_time_reach_the_watches_too(home: Path) -> None:
    _check_rest(home)


@in_loop
async def _check_missing_vectors(home: Path) -> None:
    async with running(home, make) as stage:
        rows = [decision("a", vector=[1.0] * len(names()), **facts()), decision("b", **facts())]
        await stage.send(exchange("1", [instance("a"), instance("b")], rows))
        await stage.send(decided("c", vector=[1.0], **facts()))
        await stage.passes(lambda: bool(HighScores.made) and HighScores.made[0].rows == 3)
        assert all((batch.names, batch.values.shape[1]) == ((), 0) for batch in HighScores.made[0].batches)


def test_rows_without_whole_vectors_are_watched_without_features(home: Path) -> None:
    _check_missing_vectors(home)


async def _check_command_line(url: str) -> None:
    verdict = await asyncio.to_thread(vigil, url, "verdict", MODEL)
    assert verdict.exit_code == 2
    assert all(text in verdict.stdout for text in ("scores are high", "population_moved", "rerun", "it is high"))
    as_json = await asyncio.to_thread(vigil, url, "verdict", MODEL, "--json")
    assert json.loads(as_json.stdout)[0]["revision"] == "m-v1"
    status = await asyncio.to_thread(vigil, url, "status")
    (row,) = [line.split() for line in status.stdout.splitlines() if MODEL in line]
    assert row[:5] == [MODEL, "m-v1", "drifting", "population_moved", "rerun"]


@in_loop
async def _check_alarm(home: Path) -> None:
    async with sink(202) as one, sink(200) as other, running(home, make, sinks=f"{one.url}, {other.url}") as stage:
        await drift(stage, 0.9, "a")
        await drift(stage, 0.95, "b")
        await stage.passes(lambda: len(one.events) == len(other.events) == 1)
        (status,) = await stage.get(f"/v1/watch/{MODEL}")
        told = DriftVerdict.model_validate(one.events[0].json())
        assert DriftVerdict.model_validate(status["verdict"]).id == told.id
        assert (one.events[0].type, one.events[0].id, one.events[0].subject) == ("vigil.drift.detected", told.id, MODEL)
        metrics = await stage.metrics()
        await _check_command_line(stage.url)
        labels = 'cause="population_moved",model="card_fraud",revision="m-v1"'
        assert metrics[f"vigil_monitor_drift_strength{{{labels}}}"] == 9.0
        assert metrics['vigil_monitor_state{model="card_fraud",revision="m-v1",state="drifting"}'] == 1
        await drift(stage, 0.1, "c")
        await stage.passes(lambda: len(one.events) == len(other.events) == 2)
        assert (one.events[1].type, one.events[1].id) == ("vigil.drift.ended", f"{told.id}-ended")
        assert (await stage.metrics())["vigil_monitor_outbox_events"] == 0


def test_a_drift_is_told_to_every_sink_once_when_it_begins_and_once_when_it_ends(home: Path) -> None:
    _check_alarm(home)


@in_loop
async def _check_forgotten(home: Path) -> None:
    async with sink(202) as taker, running(home, make, sinks=taker.url, forgotten_hours=2) as stage:
        await drift(stage, 0.9)
        await stage.passes(lambda: len(taker.events) == 1)
        stage.clock.advance(timedelta(hours=1))
        await drift(stage, 0.1, "b", revision="m-v2")
        await stage.passes(lambda: len(HighScores.made) == 2)
        assert len(await stage.get("/v1/watch")) == 2
        stage.clock.advance(timedelta(hours=1.5))
        await stage.passes(lambda: len(taker.events) == 2)
        assert taker.events[1].type == "vigil.drift.ended"
        assert [one["revision"] for one in await stage.get("/v1/watch")] == ["m-v2"]


def test_a_revision_that_is_served_no_more_is_forgotten_and_its_drift_ends(home: Path) -> None:
    _check_forgotten(home)


@in_loop
async def _check_renamed(home: Path) -> None:
    async with sink(202) as taker, running(home, make, sinks=taker.url) as stage:
        await drift(stage, 0.9)
        await stage.passes(lambda: len(taker.events) == 1)
        await drift(stage, 0.1, "b", model_version="2")
        await stage.passes(lambda: len(taker.events) == 2)
        assert taker.events[1].id == f"{taker.events[0].id}-ended"
        (status,) = await stage.get("/v1/watch")
        assert (status["revision"], status["version"], status["rows"]) == ("m-v1", "2", 1)


def test_a_revision_whose_name_is_given_to_another_version_is_watched_anew(home: Path) -> None:
    _check_renamed(home)


@in_loop
async def _check_refused(home: Path) -> None:
    def refuse(served: Served, bundle: Bundle, settings: Mapping[str, Any]) -> HighScores:
        raise ContractError("the reference is damaged")

    async with running(home, refuse) as stage:
        await drift(stage, 0.9)
        assert (await stage.slots())[0].arms["m-v1"].scored == 1
        assert await stage.outcome("unwatched_refused") == 1


def test_a_bundle_whose_reference_is_refused_is_counted_and_slots_go_on(home: Path) -> None:
    _check_refused(home)


@in_loop
async def _check_retry(home: Path) -> None:
    async with (
        sink(500, 429, 202) as busy,
        sink(400) as wrong,
        running(home, make, sinks=f"{busy.url},{wrong.url}") as stage,
    ):
        await drift(stage, 0.9)
        await stage.passes(lambda: len(busy.events) == 1)
        assert busy.asked == 3
        await stage.passes(lambda: wrong.asked == 1)
        await asyncio.sleep(0.7)
        assert wrong.asked == 1
        metrics = await stage.metrics()
        assert metrics['vigil_monitor_sent_total{outcome="refused"}'] == 1
        assert metrics["vigil_monitor_outbox_events"] == 0


def test_a_sink_that_is_busy_is_asked_again_and_one_that_refuses_is_not(home: Path) -> None:
    _check_retry(home)


@in_loop
async def _check_outbox(home: Path) -> None:
    clock = ManualClock(BEGIN)
    async with sink(202) as gone:
        pass
    async with running(home, make, clock=clock, sinks=gone.url) as stage:
        await drift(stage, 0.9)
        await stage.passes(lambda: len(list((home / "monitor/outbox").glob("*.json"))) == 1)
    port = int(gone.url.rstrip("/").rpartition(":")[2])
    async with sink(202, port=port) as back, running(home, make, clock=clock, sinks=gone.url) as stage:
        await stage.passes(lambda: len(back.events) == 1)
        await drift(stage, 0.9, "later")
        await stage.passes(lambda: HighScores.made[-1].rows == 2)
        stage.clock.advance(timedelta(seconds=1))
        await asyncio.sleep(0.5)
        assert len(back.events) == 1


def test_what_no_sink_has_taken_is_sent_after_a_restart_and_what_was_told_is_not_told_again(home: Path) -> None:
    _check_outbox(home)


@in_loop
async def _check_damaged(home: Path) -> None:
    outbox = home / "monitor" / "outbox"
    outbox.mkdir(parents=True)
    (outbox / "1.json").write_text("{")
    (home / "monitor" / "state.json").write_text("no state")
    async with sink(202) as taker, running(home, make, sinks=taker.url) as stage:
        await drift(stage, 0.9)
        await stage.passes(lambda: len(taker.events) == 1)
        assert (home / "monitor" / "state.damaged").read_text() == "no state"
        assert list(outbox.glob("*.json")) == []


def test_damaged_files_are_put_aside_and_the_service_goes_on(home: Path) -> None:
    _check_damaged(home)


def test_a_bundle_that_comes_later_is_found_when_it_is_looked_for_again(tmp_path: Path) -> None:
    HighScores.made = []

    @in_loop
    async def check() -> None:
        async with running(tmp_path, make, bundle_retry_seconds=10) as stage:
            await drift(stage, 0.1)
            await until(lambda: stage_outcome(stage, 1))
            shutil.copytree(RELEASE, tmp_path / "models" / bundle_path(load_bundle(RELEASE).hash))
            await drift(stage, 0.1, "b")
            await until(lambda: stage_outcome(stage, 2))
            stage.clock.advance(timedelta(seconds=10))
            await drift(stage, 0.1, "c")
            await stage.passes(lambda: bool(HighScores.made))

    async def stage_outcome(stage: Running, rows: int) -> bool:
        return await stage.outcome("unwatched_unknown_bundle") == rows

    check()
    assert HighScores.made[0].rows == 1


def test_a_bundle_without_a_reference_is_counted_by_a_watch_that_never_alarms(home: Path) -> None:
    @in_loop
    async def check() -> None:
        clock = ManualClock(BEGIN)
        async with running(home, clock=clock) as stage:
            await drift(stage, 0.9)
            await stage.slots()
        async with running(home, clock=clock) as stage:
            await drift(stage, 0.1, "b")
            await until(lambda: knows_both(stage))
            (status,) = await stage.get("/v1/watch")
            assert (status["state"], status["anomaly_rate"]) == ("warming", 0.0)

    async def knows_both(stage: Running) -> bool:
        stage.clock.advance(timedelta(seconds=1))
        (status,) = await stage.get("/v1/watch")
        return bool(status["rows"] == 2)

    check()


def test_two_services_do_not_work_in_one_folder(tmp_path: Path) -> None:
    with owned(tmp_path), pytest.raises(Unavailable, match="another VIGIL_HOME"), owned(tmp_path):
        pass
    with owned(tmp_path):
        pass


def test_settings_come_from_a_file_by_model_and_a_wrong_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "monitor.yaml"
    path.write_text(json.dumps({"slot_seconds": 2, "watch": {"window_rows": 50}, "models": {"m": {"warm_rows": 9}}}))
    found = load_service_settings(path)
    assert (found.slot_seconds, found.watch_of("m")) == (2.0, {"window_rows": 50, "warm_rows": 9})
    path.write_text("slot_second: 2")
    with pytest.raises(ContractError, match="slot_second: Extra inputs"):
        load_service_settings(path)
    with pytest.raises(ContractError, match="check --config"):
        load_service_settings(tmp_path / "nothing")
    with pytest.raises(ContractError, match=r"models\.m\.window_row: Extra"):
        check_watches(ServiceSettings(models={"m": {"window_row": 3}}))
