"""The transformer: events in, vectors to the predictor, its decisions out."""

import asyncio
import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from kserve import InferRequest, InferResponse

from vigil.clock import Clock, system_clock
from vigil.contracts.events import Event, Transaction, arrow_schema
from vigil.errors import Bug, ContractError, Unavailable
from vigil.evaluation.thresholds import SEPARATOR
from vigil.features.compiler import Program
from vigil.features.fields import KINDS
from vigil.features.online import OnlineFeatures, OnlineResult
from vigil.features.schema import FeatureSchema
from vigil.features.states import hydrate
from vigil.features.store.base import StateStore
from vigil.features.store.factory import open_store
from vigil.features.store.memory import MemoryStore
from vigil.features.store.metrics import export_metrics
from vigil.members.base import Matrix
from vigil.registry.bundle import fetch_bundle
from vigil.serving.arrow import join_decisions
from vigil.serving.events import EventReader
from vigil.serving.hop import Hop, check_reply
from vigil.serving.http import Answer, Request, trace_of
from vigil.serving.lane import Lane
from vigil.serving.layer import Route
from vigil.serving.metrics import Metrics
from vigil.serving.options import ServerOptions
from vigil.serving.refusals import NOT_FOUND, Refusal
from vigil.serving.served import Headers, Served, protocol_of
from vigil.serving.tables import parts_in_order
from vigil.serving.tensors import response_of, tensor_types
from vigil.serving.wire import ARROW, VECTORS, Vectors, pack
from vigil.settings import Settings

_logger = logging.getLogger(__name__)
_POLL_SECONDS = 0.25
_EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"
_PROBE_SECONDS = 1.0
_PART_ROWS = 2_048


@dataclass(frozen=True, eq=False)
class Asked:
    """A request on its way."""

    payload: Any
    events: list[Event]


@dataclass(frozen=True, eq=False)
class Decided:
    """What the predictor answered: the decisions as a JSON list."""

    payload: Any
    decisions: bytes


@dataclass(frozen=True, eq=False)
class Loaded:
    """What a transformer works with, once the predictor has told the schema."""

    schema: FeatureSchema
    segments: tuple[str, ...]
    features: OnlineFeatures
    store: StateStore
    members: tuple[str, ...]


class Transformer(Served):
    """Turns events into vectors over the shared states, and asks the predictor to decide."""

    def __init__(
        self, options: ServerOptions, settings: Settings, metrics: Metrics, clock: Clock = system_clock
    ) -> None:
        super().__init__(options, metrics)
        if options.predictor_host is None:
            raise ContractError("--predictor_host is missing: give the predictor's host:port, such as localhost:8085")
        self._settings = settings
        self._clock = clock
        self._reader = EventReader(options.max_rows, options.max_ahead_hours, clock)
        self._hop = Hop(options.predictor_host)
        self._lane = Lane("features", options.threads, options.max_concurrency)
        self._loaded: Loaded | None = None
        self._path = f"/v1/models/{options.model_name}:vectors"

    @property
    def loaded(self) -> Loaded:
        """What the predictor's schema led to."""
        if self._loaded is None:
            raise Unavailable("the predictor has not told its schema yet")
        return self._loaded

    async def open(self) -> None:
        """Ask the predictor for its schema until it is ready, then compile the features and open the store."""
        self.state.reason = "the predictor is not ready"
        while (document := await self._schema()) is None:
            await asyncio.sleep(_POLL_SECONDS)
        self.state.reason = "the features are being compiled"
        self._loaded = await asyncio.to_thread(self._load, document)
        export_metrics({"cache": self._loaded.store}, self.metrics.registry)
        self.state.add_check(self._predictor_state)
        self.ready = True
        self.state.load()

    async def close(self) -> bool:
        """Close the store."""
        self._lane.close()
        self._hop.close()
        if self._loaded is not None:
            await asyncio.to_thread(self._loaded.store.close)
        return True

    def more_routes(self) -> dict[str, Route]:
        """Return the routes for batches, for other events and for the schema."""
        path = f"/v1/models/{self.name}"
        return {
            f"{path}:batch": Route("arrow", "batch", self._batch, (ARROW,), is_batch=True),
            f"{path}/events": Route("v1", "events", self._events),
            f"{path}/schema": Route("v1", "schema", self._show_schema, (), "GET"),
            "/metrics/predictor": Route("other", "metrics", self._show_predictors_metrics, (), "GET"),
        }

    def get_input_types(self) -> list[dict[str, Any]]:
        """Return the tensors of a V2 request: the columns of a transaction."""
        numeric = {"amount": "FP64", "quantity": "FP64", "utc_offset_minutes": "INT16"}
        return tensor_types([(name, numeric.get(name, "BYTES"), [-1]) for name in Transaction.model_fields])

    def get_output_types(self) -> list[dict[str, Any]]:
        """Return the tensors of a V2 answer."""
        members = [f"level_{member}" for member in self.loaded.members]
        vector = ("vector",) if self.options.vectors else ()
        texts = [(name, "BYTES", [-1]) for name in ("decision_id", "action", "severity", "reasons", *vector)]
        return tensor_types(texts + [(name, "FP64", [-1]) for name in ("score", "threshold", *members)])

    def preprocess(self, payload: Any, headers: Headers | None = None) -> Asked:  # noqa: ANN401 - as in kserve
        """Return the events of a request of any protocol, checked."""
        tensors = isinstance(payload, InferRequest)
        events = self._reader.from_tensors(payload) if tensors else self._reader.transactions(payload)
        self.metrics.rows(protocol_of(payload), "predict", len(events))
        return Asked(payload, events)

    async def predict(self, asked: Asked, headers: Headers | None = None) -> Decided:
        """Return the predictor's decisions of the events, which now belong to the past of their entities."""
        return Decided(asked.payload, await self._decide(asked.events, headers))

    async def explain(self, asked: Asked, headers: Headers | None = None) -> Decided:
        """Return decisions with reasons for every event; nothing is written to the states."""
        return Decided(asked.payload, await self._decide(asked.events, headers, explain=True))

    def postprocess(
        self,
        result: Decided,
        headers: Headers | None = None,
    ) -> dict[str, Any] | InferResponse:
        """Return the answer in the protocol of the request."""
        if isinstance(result.payload, InferRequest):
            return response_of(result.payload, orjson.loads(result.decisions), self.options.model_version)
        return {
            "predictions": orjson.Fragment(result.decisions),
            "model_name": self.name,
            "model_version": self.options.model_version,
        }

    async def _schema(self) -> dict[str, Any] | None:
        """Return the predictor's schema, or None while it is not ready."""
        try:
            reply = await self._hop.ask("GET", f"/v1/models/{self.name}/schema", seconds=_PROBE_SECONDS * 5)
        except Refusal:
            return None
        if reply.status == NOT_FOUND.http:
            raise ContractError(f"{self.options.predictor_host} does not serve {self.name}: check --model_name")
        found: dict[str, Any] | None = reply.json() if reply.status == 200 else None
        return found

    def _load(self, document: dict[str, Any]) -> Loaded:
        started = time.perf_counter()
        schema = FeatureSchema.model_validate(document["feature_schema"])
        segments = tuple(document["segments"])
        if foreign := sorted(set(segments) - set(SEGMENTS)):
            raise ContractError(f"the thresholds differ by {foreign[0]}, which an event does not tell: {SEGMENTS}")
        program = schema.compile()
        store = open_store(self._settings, schema.content_hash, clock=self._clock)
        if self.options.feature_state:
            self._hydrate(store, schema)
        features = OnlineFeatures(program, store)
        _warm_up(program, self._clock)
        _logger.info("features compiled", extra={"seconds": round(time.perf_counter() - started, 3)})
        return Loaded(schema, segments, features, store, tuple(document["members"]))

    def _hydrate(self, store: StateStore, schema: FeatureSchema) -> None:
        with tempfile.TemporaryDirectory(prefix="vigil-states-") as download:
            folder = Path(self.options.feature_state)
            if self.options.feature_state.startswith("gs://"):
                folder = Path(download)
                fetch_bundle(self.options.feature_state, folder)
            _logger.info("states", extra={"outcome": str(hydrate(store, folder, schema.content_hash))})

    async def _predictor_state(self) -> str | None:
        try:
            reply = await self._hop.ask("GET", "/v2/health/ready", seconds=_PROBE_SECONDS)
        except Refusal:
            return "the predictor does not answer"
        return None if reply.status == 200 else "the predictor is not ready"

    async def _decide(self, events: Sequence[Event], headers: Headers | None, *, explain: bool = False) -> bytes:
        return await self._hand_on(await self._vectors(events, explain=explain), headers)

    async def _vectors(self, events: Sequence[Event], *, explain: bool) -> Vectors:
        loaded = self.loaded
        values = await self._measured(self._look if explain else self._process, events)
        return Vectors(
            event_ids=[event.event_id for event in events],
            values=values,
            schema=loaded.schema.content_hash,
            segments=[_segment(event, loaded.segments) for event in events] if loaded.segments else None,
            explain=explain,
            returned=self.options.vectors and not explain,
        )

    async def _measured(self, work: Callable[[Any], Matrix], events: Any) -> Matrix:  # noqa: ANN401
        started = time.perf_counter()
        values = await self._lane.run(work, events)
        self.metrics.stage("features", time.perf_counter() - started)
        return values

    async def _hand_on(self, vectors: Vectors, headers: Headers | None) -> bytes:
        started = time.perf_counter()
        sent = {"content-type": VECTORS, **trace_of(headers or {})}
        options = self.options
        seconds = options.batch_timeout_seconds if vectors.arrow else options.request_timeout_seconds
        reply = await self._hop.ask("POST", self._path, pack(vectors), sent, seconds)
        self.metrics.stage("predictor", time.perf_counter() - started)
        return check_reply(reply)

    def _process(self, events: Sequence[Event]) -> Matrix:
        if len(events) == 1:
            return _one(self.loaded.features.process(events[0]))
        return self.loaded.features.process_many(events).values

    def _look(self, events: Sequence[Event]) -> Matrix:
        if len(events) == 1:
            return _one(self.loaded.features.look(events[0]))
        return self.loaded.features.look_many(events).values

    async def _batch(self, request: Request) -> Answer:
        """Answer a batch; while the predictor decides a part of it, the features of the next are computed."""
        table = await self._lane.run(self._reader.from_arrow, await request.body())
        self.metrics.rows("arrow", "batch", table.num_rows)
        decided: list[asyncio.Task[bytes]] = []
        async with asyncio.TaskGroup() as group:
            for part in parts_in_order(table, _PART_ROWS):
                vectors = await self._lane.run(self._process_table, part)
                decided.append(group.create_task(self._hand_on(vectors, request.trace)))
        streams = [task.result() for task in decided]
        return Answer(await self._lane.run(join_decisions, streams), content_type=ARROW)

    def _process_table(self, table: pa.Table) -> Vectors:
        started = time.perf_counter()
        values = self.loaded.features.process_many(table).values
        self.metrics.stage("features", time.perf_counter() - started)
        return self._vectors_of(table, values)

    def _vectors_of(self, table: pa.Table, values: Matrix) -> Vectors:
        loaded = self.loaded
        columns = [table[SEGMENTS[name]].to_pylist() for name in loaded.segments]
        segments = [SEPARATOR.join(map(str, keys)) for keys in zip(*columns, strict=True)] if columns else None
        ids = table["event_id"].to_pylist()
        return Vectors(ids, values, loaded.schema.content_hash, segments, arrow=True)

    async def _events(self, request: Request) -> Answer:
        events = self._reader.others(await request.json())
        self.metrics.rows("v1", "events", len(events))
        return Answer(orjson.dumps(await self._lane.run(self._take, events)))

    def _take(self, events: Sequence[Event]) -> dict[str, int]:
        """Add the events to the states, and return how many were new, known, and of no use to any feature."""
        counts = {"accepted": 0, "duplicates": 0, "unused": 0}
        for event in events:
            if event.kind not in KINDS:
                counts["unused"] += 1
                continue
            duplicate = self.loaded.features.process(event).duplicate
            counts["duplicates" if duplicate else "accepted"] += 1
        return counts

    async def _show_schema(self, _: Request) -> Answer:
        loaded = self.loaded
        document = {
            "event": {field.name: str(field.type) for field in arrow_schema(Transaction)},
            "feature_schema": loaded.schema.model_dump(mode="json"),
            "segments": list(loaded.segments),
            "members": list(loaded.members),
            "model_name": self.name,
            "model_version": self.options.model_version,
            "revision": self.options.revision,
        }
        return Answer(orjson.dumps(document))

    async def _show_predictors_metrics(self, _: Request) -> Answer:
        """Return what the predictor of this pod counts: in a cluster nobody but its transformer reaches it."""
        reply = await self._hop.ask("GET", "/metrics", seconds=_PROBE_SECONDS)
        return Answer(check_reply(reply), content_type=_EXPOSITION)


def _one(result: OnlineResult) -> Matrix:
    if result.values is None:
        raise Bug("an event without features reached the vectors")
    return np.ascontiguousarray(result.values).reshape(1, -1)


SEGMENTS = {
    "site": "site_id",
    "site_group": "site_group",
    "customer": "customer_id",
    "terminal": "terminal_id",
    "product": "product_id",
}
"""Segmentations of thresholds, by the column of an event that tells the segment."""


def _segment(event: Event, by: tuple[str, ...]) -> str:
    return SEPARATOR.join(str(getattr(event, SEGMENTS[name])) for name in by)


def _warm_up(program: Program, clock: Clock) -> None:
    """Let everything be compiled that an event passes through."""
    events = [
        Transaction(event_id=f"warm-up {number}", event_time=clock(), amount=1.0, customer_id="warm-up")
        for number in range(3)
    ]
    with MemoryStore() as store:
        features = OnlineFeatures(program, store)
        features.look(events[0])
        features.look_many(events[:2])
        features.process(events[0])
        features.process_many(events)
