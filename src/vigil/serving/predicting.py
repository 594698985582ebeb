"""The predictor: vectors in, decisions out."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import inf
from typing import Any

import numpy as np
import orjson
from kserve import InferRequest, InferResponse

from vigil.clock import Clock, system_clock
from vigil.contracts.keys import ContentHash
from vigil.decisions.archive import DecisionArchive
from vigil.decisions.bundled import load_decider
from vigil.decisions.columns import DecidedRows, decide_columns, decision_id
from vigil.decisions.decider import Decider
from vigil.decisions.log import FOLDER, DecisionLog, LogSettings
from vigil.errors import Unavailable
from vigil.members.base import FeatureMatrix
from vigil.registry.bundle import load_bundle
from vigil.registry.store import open_store
from vigil.serving.arrow import write_decisions
from vigil.serving.http import Answer, Request
from vigil.serving.lane import Lane
from vigil.serving.layer import Route
from vigil.serving.metrics import Metrics
from vigil.serving.options import ServerOptions
from vigil.serving.refusals import TOO_LARGE, Refusal
from vigil.serving.served import Headers, Served, protocol_of
from vigil.serving.tensors import response_of, tensor_types
from vigil.serving.vectors import vectors_of_instances, vectors_of_tensors
from vigil.serving.wire import ARROW, JSON, VECTORS, Vectors, matrix_of, unpack
from vigil.settings import Settings

_logger = logging.getLogger(__name__)
_INLINE_SECONDS = 0.002
"""Rows that take less, reasons included, are decided at once: a thread costs a third of a millisecond."""
_RETRY_SECONDS = 2.0


@dataclass(frozen=True, eq=False)
class Asked:
    """A request on its way."""

    payload: Any
    vectors: Vectors


@dataclass(frozen=True, eq=False)
class Decided:
    """Decisions, and each as the JSON that the client gets."""

    rows: DecidedRows
    ids: list[str]
    at: datetime
    lines: list[bytes]


class Predictor(Served):
    """Decides vectors of one bundle, and logs each decision."""

    def __init__(
        self, options: ServerOptions, settings: Settings, metrics: Metrics, clock: Clock = system_clock
    ) -> None:
        super().__init__(options, metrics)
        self._settings = settings
        self._clock = clock
        self._lane = Lane("score", options.threads, options.max_concurrency)
        self._decider: Decider | None = None
        self._log: DecisionLog | None = None
        self._archive: DecisionArchive | None = None
        self._inline_rows = 0
        self._names: tuple[str, ...] = ()
        self._tail = orjson.dumps({"version": 1, "model": options.model_name})[1:-1]

    @property
    def decider(self) -> Decider:
        """The loaded model."""
        if self._decider is None:
            raise Unavailable("the model is not loaded yet")
        return self._decider

    @property
    def log(self) -> DecisionLog:
        """The decision log."""
        if self._log is None:
            raise Unavailable("the model is not loaded yet")
        return self._log

    async def open(self) -> None:
        """Load and verify the bundle, compile what scores it, and open the log; then be ready."""
        while True:
            try:
                self._decider = await asyncio.to_thread(self._load)
                self._names = self._decider.schema.names
                break
            except Unavailable as error:
                self.state.reason = "the storage of the bundle does not answer yet"
                _logger.warning("bundle unavailable", extra={"cause": str(error), "uri": self.options.model_dir})
                await asyncio.sleep(_RETRY_SECONDS)
        await asyncio.to_thread(self._open_log)
        self.state.add_check(self._log_state)
        self.ready = True
        self.state.load()

    async def close(self) -> bool:
        """Write the rest of the log, and archive it."""
        self._lane.close()
        return await asyncio.to_thread(self._close_log)

    def more_routes(self) -> dict[str, Route]:
        """Return the schema and the internal route of the transformer."""
        path = f"/v1/models/{self.name}"
        return {
            f"{path}/schema": Route("v1", "schema", self._schema, (), "GET"),
            f"{path}:vectors": Route("vectors", "vectors", self._vectors, (VECTORS,), is_batch=True),
        }

    def get_input_types(self) -> list[dict[str, Any]]:
        """Return the tensors of a V2 request."""
        features = len(self.decider.schema.names)
        return tensor_types([("features", "FP32", [-1, features]), ("event_id", "BYTES", [-1])])

    def get_output_types(self) -> list[dict[str, Any]]:
        """Return the tensors of a V2 answer."""
        members = [f"level_{member.name}" for member in self.decider.ensemble.members]
        texts = [(name, "BYTES", [-1]) for name in ("decision_id", "action", "severity", "reasons")]
        return tensor_types(texts + [(name, "FP64", [-1]) for name in ("score", "threshold", *members)])

    def preprocess(self, payload: Any, headers: Headers | None = None) -> Asked:  # noqa: ANN401 - as in kserve
        """Return the vectors of a request of any protocol, checked."""
        schema = self.decider.schema
        if isinstance(payload, InferRequest):
            vectors = vectors_of_tensors(payload, schema)
        else:
            vectors = vectors_of_instances(payload, schema)
        self._count(protocol_of(payload), "predict", vectors)
        return Asked(payload, vectors)

    async def predict(self, asked: Asked, headers: Headers | None = None) -> tuple[Any, Decided]:
        """Return the decisions; they are in the log's queue."""
        return asked.payload, await self._decide(asked.vectors, explain=False)

    async def explain(self, asked: Asked, headers: Headers | None = None) -> tuple[Any, Decided]:
        """Return the decisions with reasons for every row; nothing is logged."""
        return asked.payload, await self._decide(asked.vectors, explain=True)

    def postprocess(
        self, result: tuple[Any, Decided], headers: Headers | None = None
    ) -> dict[str, Any] | InferResponse:
        """Return the answer in the protocol of the request."""
        payload, decided = result
        if isinstance(payload, InferRequest):
            decisions = [orjson.loads(line) for line in decided.lines]
            return response_of(payload, decisions, self.options.model_version)
        return {
            "predictions": orjson.Fragment(_list(decided.lines)),
            "model_name": self.name,
            "model_version": self.options.model_version,
        }

    def _load(self) -> Decider:
        started = time.perf_counter()
        wanted = ContentHash(self.options.bundle_hash) if self.options.bundle_hash else None
        bundle = load_bundle(self.options.model_dir, public_key=self._settings.public_key, expected_hash=wanted)
        decider = load_decider(bundle)
        self._inline_rows = _measure(decider)
        seconds = round(time.perf_counter() - started, 3)
        _logger.info("bundle loaded", extra={"bundle": bundle.hash, "seconds": seconds, "inline": self._inline_rows})
        return decider

    def _open_log(self) -> None:
        options, archive = self.options, self._settings.decisions
        age = options.log_file_seconds if archive else inf
        settings = LogSettings(
            self._settings.home / FOLDER, options.revision, options.log_queue_rows, options.log_file_bytes, age
        )
        self._log = DecisionLog(settings, self._clock)
        self.metrics.watch_log(self._log)
        if archive:
            self._archive = DecisionArchive(settings.folder, open_store(archive))
            self.metrics.watch_archive(self._archive)

    def _close_log(self) -> bool:
        lost = 0 if self._log is None else self._log.close()
        left = 0 if self._archive is None else self._archive.close()
        return lost == 0 and left == 0

    async def _log_state(self) -> str | None:
        return None if self.log.healthy else "the decision log cannot be written: free the disk below VIGIL_HOME"

    def _count(self, protocol: str, route: str, vectors: Vectors) -> None:
        rows = len(vectors.event_ids)
        if rows > self.options.max_rows:
            field = "instances" if protocol == "v1" else "features"
            raise Refusal(TOO_LARGE, f"{rows} rows, at most {self.options.max_rows}: send fewer at a time", field)
        self.metrics.rows(protocol, route, rows)

    async def _decide(self, vectors: Vectors, *, explain: bool) -> Decided:
        matrix = matrix_of(vectors, self._names, self.decider.schema.content_hash)
        if explain:
            return await self._compute(matrix, vectors, explain=True)
        self.log.reserve(len(matrix))
        try:
            decided = await self._compute(matrix, vectors, explain=False)
        except BaseException:
            self.log.release(len(matrix))
            raise
        tail, vector = self._tail, decided.rows.vector
        self.log.append(
            [
                b'%b,%b,"vector":"%b"}' % (line[:-1], tail, vector[row].encode())
                for row, line in enumerate(decided.lines)
            ]
        )
        for (action, severity), rows in Counter(zip(decided.rows.action, decided.rows.severity, strict=True)).items():
            self.metrics.decided(action, severity, rows)
        return decided

    async def _compute(self, matrix: FeatureMatrix, vectors: Vectors, *, explain: bool) -> Decided:
        """Return the decisions; few rows are decided without a thread."""
        started = time.perf_counter()
        if len(matrix) <= self._inline_rows:
            decided = self._work(matrix, vectors, explain)
        else:
            decided = await self._lane.run(self._work, matrix, vectors, explain)
        self.metrics.stage("score", time.perf_counter() - started)
        return decided

    def _work(self, matrix: FeatureMatrix, vectors: Vectors, explain: bool) -> Decided:
        at = self._clock()
        rows = decide_columns(self.decider, matrix, vectors.event_ids, vectors.segments, explain_all=explain)
        contents = [rows.content(row) for row in range(len(rows))]
        ids = [decision_id(content) for content in contents]
        common = {"model_version": self.options.model_version, "revision": self.options.revision}
        moment = at.isoformat()
        lines = []
        for identity, content in zip(ids, contents, strict=True):
            del content["version"], content["vector"]
            lines.append(orjson.dumps({"decision_id": identity, "decided_at": moment, **content, **common}))
        return Decided(rows, ids, at, lines)

    async def _vectors(self, request: Request) -> Answer:
        vectors = unpack(await request.body(), len(self._names))
        self._count("vectors", "vectors", vectors)
        decided = await self._decide(vectors, explain=vectors.explain)
        if not vectors.arrow:
            return Answer(_list(_with_vectors(decided) if vectors.returned else decided.lines), content_type=JSON)
        constants = self._constants(decided.rows)
        body = await self._lane.run(write_decisions, decided.rows, decided.ids, decided.at, constants)
        return Answer(body, content_type=ARROW)

    def _constants(self, rows: DecidedRows) -> dict[str, str]:
        return {
            "bundle": rows.bundle,
            "feature_schema": rows.feature_schema,
            "mode": rows.mode,
            "model_name": self.name,
            "model_version": self.options.model_version,
            "revision": self.options.revision,
        }

    async def _schema(self, _: Request) -> Answer:
        decider = self.decider
        document = {
            "feature_schema": decider.schema.model_dump(mode="json"),
            "segments": list(decider.thresholds.policy.by),
            "bundle": decider.bundle,
            "members": [member.name for member in decider.ensemble.members],
            "model_name": self.name,
            "model_version": self.options.model_version,
            "revision": self.options.revision,
        }
        return Answer(orjson.dumps(document))


def _with_vectors(decided: Decided) -> list[bytes]:
    vector = decided.rows.vector
    return [b'%b,"vector":"%b"}' % (line[:-1], vector[row].encode()) for row, line in enumerate(decided.lines)]


def _list(lines: Sequence[bytes]) -> bytes:
    return b"[" + b",".join(lines) + b"]"


def _measure(decider: Decider) -> int:
    """Return how many rows are scored and explained in `_INLINE_SECONDS`, after everything was compiled."""
    row = np.array([[feature.default for feature in decider.schema.features]], dtype=np.float32)
    matrix = FeatureMatrix(np.where(np.isfinite(row), row, 0).astype(np.float32), decider.schema.names)
    seconds = [_seconds(decider, matrix, ["warm-up"]) for _ in range(6)]
    return int(_INLINE_SECONDS / min(seconds))


def _seconds(decider: Decider, matrix: FeatureMatrix, ids: Sequence[str]) -> float:
    started = time.thread_time()
    decide_columns(decider, matrix, ids, explain_all=True)
    return time.thread_time() - started
