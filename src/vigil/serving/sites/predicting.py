"""The predictor of sites: readings in, how surprising each is out; what it learns stays over restarts."""

import asyncio
import logging
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from kserve import InferOutput, InferRequest, InferResponse

from vigil.clock import Clock, system_clock, to_micros
from vigil.errors import ContractError, Unavailable
from vigil.fleet.live import LiveShard
from vigil.fleet.shelf import Shelf, in_folder, in_production
from vigil.registry.registry import Registry
from vigil.registry.store import open_store
from vigil.serving.http import Answer, Request
from vigil.serving.lane import Lane
from vigil.serving.layer import Route
from vigil.serving.metrics import Metrics
from vigil.serving.options import ServerOptions
from vigil.serving.refusals import INVALID, TOO_LARGE, Refusal
from vigil.serving.served import Headers, Served, protocol_of
from vigil.serving.sites.answers import Scored, events_of, scored_of
from vigil.serving.sites.asked import FIELDS, Asked, asked_of_instances, asked_of_tensors, latest_time
from vigil.serving.sites.counts import Counts
from vigil.serving.sites.sending import Sender
from vigil.serving.tensors import tensor_types
from vigil.settings import Settings

FOLDER = "sites"
_RETRY_SECONDS = 2.0
_TEXTS = ("site", "metric", "time", "kind", "basis", "site_version", "model_version", "finding_id", "reasons")
_NUMBERS = ("value", "surprise", "threshold", "z", "expected", "low", "high")
_TRUTHS = ("flagged", "known")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Wanted:
    """A request on its way."""

    payload: Any
    readings: list[Asked]


class SitePredictor(Served):
    """Scores readings by the models of their sites, and learns from them in the order in which they come."""

    def __init__(
        self, options: ServerOptions, settings: Settings, metrics: Metrics, clock: Clock = system_clock
    ) -> None:
        super().__init__(options, metrics)
        self._settings, self._clock = settings, clock
        self._lane = Lane("sites", 1, options.max_concurrency)
        self._counts = Counts(options.revision, metrics.registry)
        self._shelf: Shelf | None = None
        self._sender: Sender | None = None
        self._refreshing: asyncio.Task[None] | None = None

    @property
    def shelf(self) -> Shelf:
        """The shards at hand."""
        if self._shelf is None:
            raise Unavailable("the models are not loaded yet")
        return self._shelf

    async def open(self) -> None:
        """Find the shards, load as many as may be in memory, and be ready."""
        source = f"vigil/sites/{self.name}/{self.options.revision}"
        self._sender = Sender(self._settings.checked_sinks(), source, self._counts, self._clock)
        while self._shelf is None:
            try:
                self._shelf = await self._lane.run(self._load)
            except Unavailable as error:
                self.state.reason = "the storage of the models does not answer yet"
                _logger.warning("models unavailable", extra={"cause": str(error)})
                await asyncio.sleep(_RETRY_SECONDS)
        self._sender.start()
        if self.options.fleet and self.options.refresh_seconds > 0:
            self._refreshing = asyncio.get_running_loop().create_task(self._refresh())
        self.ready = True
        self.state.load()

    async def close(self) -> bool:
        """Write all states, and send the findings that wait."""
        if self._refreshing is not None:
            self._refreshing.cancel()
        if self._shelf is not None:
            await self._lane.run(self._shelf.close)
        self._lane.close()
        return self._sender is None or await self._sender.close()

    def more_routes(self) -> dict[str, Route]:
        """Return the route that asks who is silent."""
        return {f"/v1/models/{self.name}:silence": Route("v1", "silence", self._silence, is_batch=True)}

    def get_input_types(self) -> list[dict[str, Any]]:
        """Return the tensors of a V2 request."""
        return tensor_types([(name, "FP64" if name == "value" else "BYTES", [-1]) for name in FIELDS])

    def get_output_types(self) -> list[dict[str, Any]]:
        """Return the tensors of a V2 answer."""
        kinds = ((_TEXTS, "BYTES"), (_NUMBERS, "FP64"), (_TRUTHS, "BOOL"))
        return tensor_types([(name, kind, [-1]) for names, kind in kinds for name in names])

    def preprocess(self, payload: Any, headers: Headers | None = None) -> Wanted:  # noqa: ANN401 - as in kserve
        """Return the readings of a request of any protocol, checked."""
        latest = latest_time(self._clock(), self.options.max_ahead_hours)
        is_v2 = isinstance(payload, InferRequest)
        readings = asked_of_tensors(payload, latest) if is_v2 else asked_of_instances(payload, latest)
        if len(readings) > self.options.max_rows:
            field = "site" if is_v2 else "instances"
            told = f"{len(readings)} rows, at most {self.options.max_rows}: send fewer at a time"
            raise Refusal(TOO_LARGE, told, field)
        self.metrics.rows(protocol_of(payload), "predict", len(readings))
        return Wanted(payload, readings)

    async def predict(self, wanted: Wanted, headers: Headers | None = None) -> tuple[Any, list[dict[str, Any]]]:
        """Return the answers; the models have learned from the readings."""
        scored = await self._lane.run(self._work, wanted.readings, True)
        for answer in scored.answers:
            self._counts.reading(answer["basis"], answer["kind"])
        self._tell(scored.events)
        return wanted.payload, scored.answers

    async def explain(self, wanted: Wanted, headers: Headers | None = None) -> tuple[Any, list[dict[str, Any]]]:
        """Return the answers to readings as if they came now; nothing is learned, and nobody told."""
        scored = await self._lane.run(self._work, wanted.readings, False)
        return wanted.payload, scored.answers

    def postprocess(
        self, result: tuple[Any, list[dict[str, Any]]], headers: Headers | None = None
    ) -> dict[str, Any] | InferResponse:
        """Return the answer in the protocol of the request."""
        payload, answers = result
        if isinstance(payload, InferRequest):
            return _response_of(payload, answers, self.options.model_version)
        return {"predictions": answers, "model_name": self.name, "model_version": self.options.model_version}

    def _load(self) -> Shelf:
        options, settings = self.options, self._settings
        if options.fleet:
            store = open_store(settings.store_uri)
            addresses = partial(in_production, Registry(store), options.fleet)
        else:
            addresses = partial(in_folder, options.model_dir, options.bundle_hash or None)
        shelf = Shelf(addresses, settings.home.absolute() / FOLDER, options.most_shards, settings.public_key)
        for number in shelf.numbers[: options.most_shards]:
            _warm(shelf.shard(number))
        self._counts.shards(len(shelf), shelf.loads)
        return shelf

    def _work(self, readings: list[Asked], learn: bool) -> Scored:
        """Score the readings, shard by shard; the answers are in the order of the request."""
        shelf = self.shelf
        rows: dict[int, list[int]] = {}
        for row, one in enumerate(readings):
            rows.setdefault(shelf.number_of(one.series.site), []).append(row)
        for number, mine in rows.items():
            _check_metrics(shelf.shard(number), readings, mine)
        answers: list[dict[str, Any]] = [{}] * len(readings)
        events: list[dict[str, Any]] = []
        for number, mine in rows.items():
            live = shelf.shard(number)
            given = [(readings[row].series, readings[row].time, readings[row].value) for row in mine]
            scored = scored_of(live.score(given, learn=learn), live.shard, self.name)
            for row, answer in zip(mine, scored.answers, strict=True):
                answers[row] = answer
            events += scored.events
        self._counts.shards(len(shelf), shelf.loads)
        return Scored(answers, events)

    async def _silence(self, request: Request) -> Answer:
        """Answer which series owe a reading before a time, now without one; each finding is told once."""
        document = await request.json()
        if not isinstance(document, dict) or set(document) - {"until"}:
            raise Refusal(INVALID, 'an object with "until", or an empty one', "until")
        latest = latest_time(self._clock(), self.options.max_ahead_hours)
        until = to_micros(self._clock())
        if "until" in document:
            reading = {"site": "-", "metric": "-", "time": document["until"], "value": 0.0}
            until = asked_of_instances({"instances": [reading]}, latest)[0].time
        events = await self._lane.run(self._advance, until)
        self._tell(events)
        return Answer(orjson.dumps({"findings": events, "model_name": self.name}))

    def _advance(self, until: int) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        for number in self.shelf.numbers:
            events += events_of(self.shelf.shard(number).advance(until), self.name)
        return events

    def _tell(self, events: list[dict[str, Any]]) -> None:
        for event in events:
            self._counts.finding(event["kind"])
        if self._sender is not None:
            self._sender.put(events)

    async def _refresh(self) -> None:
        """Take over new versions of the fleet as they go live."""
        while True:
            await asyncio.sleep(self.options.refresh_seconds)
            try:
                if changed := await self._lane.run(self.shelf.refresh):
                    _logger.info("new versions", extra={"shards": changed})
            except (ContractError, Unavailable, Refusal) as error:
                _logger.warning("no look at the registry", extra={"cause": str(error)})


def _check_metrics(live: LiveShard, readings: list[Asked], rows: list[int]) -> None:
    """Raise Refusal for a metric that no site reported when the models were fitted."""
    fleet = live.shard.fleet
    for row in rows:
        if readings[row].series.metric not in fleet.fallback:
            known = ", ".join(fleet.metrics[:20])
            raise Refusal(INVALID, f"no site reported it when the models were fitted: {known}", "metric", row)


def _warm(live: LiveShard) -> None:
    """Compile what scores, on a state that is thrown away."""
    from vigil.clock import HOUR
    from vigil.fleet.panel import Series

    fleet = live.shard.fleet
    for metric in fleet.metrics[:1]:
        live.score([(Series("warm-up", metric), HOUR, 1.0), (Series("warm-up", metric), 2 * HOUR, 1.0)], learn=False)


def _response_of(request: InferRequest, answers: list[dict[str, Any]], version: str) -> InferResponse:
    """Return the answers as tensors, one for each of what an answer holds; what there is not is empty or NaN."""
    rows = [len(answers)]
    outputs = []
    for name in _TEXTS:
        values = [answer[name] or "" for answer in answers]
        texts = [orjson.dumps(value).decode() if isinstance(value, list) else value for value in values]
        outputs.append(InferOutput(name, rows, "BYTES", texts))
    outputs += [InferOutput(name, rows, "FP64", [_number(answer[name]) for answer in answers]) for name in _NUMBERS]
    outputs += [InferOutput(name, rows, "BOOL", [answer[name] for answer in answers]) for name in _TRUTHS]
    return InferResponse(
        response_id=request.id or "",
        model_name=request.model_name,
        infer_outputs=outputs,
        model_version=version,
        use_binary_outputs=bool(request.use_binary_outputs),
        requested_outputs=request.request_outputs,
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
