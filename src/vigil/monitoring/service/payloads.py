"""What a request and its answer say: decisions row by row, or verdicts. V1, and V2 as JSON or with raw tensors."""

import base64
import binascii
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import orjson
from pydantic import AwareDatetime, TypeAdapter, ValidationError

from vigil.clock import to_micros
from vigil.contracts.events import FeedSilence, Transaction, Verdict
from vigil.monitoring.samples import Served
from vigil.monitoring.service.pairing import Pair, Received

FIELDS = tuple(name for name in Transaction.model_fields if name not in ("event_id", "event_time"))
"""Raw fields of a request that are watched."""

REVISION_KEYS = ("model-revision", "revision")
"""Where the `annotations` of an event may tell the revision."""

_FLAGGED = ("alert", "hold")
_TYPES = {"FP64": "<f8", "FP32": "<f4", "INT64": "<i8", "INT32": "<i4", "INT16": "<i2", "BOOL": "?"}
_TIME: TypeAdapter[datetime] = TypeAdapter(AwareDatetime)


class Unreadable(Exception):
    """A payload that cannot be understood; `reason` is one of few words, so that it can be counted."""

    def __init__(self, reason: str, cause: str) -> None:
        super().__init__(f"{reason}: {cause}")
        self.reason = reason


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One decision."""

    event_id: str
    event_time: int
    """Microseconds since 1970 in UTC."""
    site: str
    fields: Mapping[str, Any]
    score: float
    levels: Mapping[str, float]
    flagged: bool
    vector: bytes | None
    """float32, little-endian."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict that became known."""

    event_id: str
    known_at: int
    is_fraud: bool


@dataclass(frozen=True, slots=True)
class Silence:
    """A feed from which nothing came in time."""

    site: str
    metric: str
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """What a pair says."""

    service: str
    """Name of the InferenceService, which need not be the model's."""
    served: Served | None
    """None where the pair holds verdicts."""
    rows: Sequence[Row] = ()
    judgements: Sequence[Judgement] = ()
    silences: Sequence[Silence] = ()


def read_pair(pair: Pair) -> Told:
    """Return what a request and its answer say, or raise Unreadable."""
    service = pair.request.event.extensions.get("inferenceservicename", "")
    request, raw = _document(pair.request)
    if "events" in request:
        return _read_events(service, request["events"])
    response, raw_answer = _document(pair.response)
    try:
        if "instances" in request:
            return _read_v1(pair, service, request, response)
        if "inputs" in request:
            return _read_v2(pair, service, _columns(request["inputs"], raw), response, raw_answer)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, struct.error) as error:
        raise Unreadable("unreadable", f"{type(error).__name__}: {error}") from error
    raise Unreadable("unreadable", "neither instances, inputs nor events")


def _document(received: Received) -> tuple[dict[str, Any], memoryview]:
    """Return the JSON of a body, and the raw tensors behind it."""
    body = received.event.data
    end = len(body)
    if "octet-stream" in received.event.content_type or received.binary_length is not None:
        end = _json_length(received)
    try:
        document = orjson.loads(body[:end])
    except orjson.JSONDecodeError as error:
        raise Unreadable("not_json", str(error)) from error
    if not isinstance(document, dict):
        raise Unreadable("unreadable", "the body is no object")
    return document, memoryview(body)[end:]


def _json_length(received: Received) -> int:
    """Return where the JSON ends: the logger of KServe does not say it unless `metadataHeaders` is set."""
    if received.binary_length is not None and received.binary_length.isdigit():
        return int(received.binary_length)
    try:
        _, end = json.JSONDecoder().raw_decode(received.event.data.decode("latin-1"))
    except ValueError as error:
        raise Unreadable("not_json", str(error)) from error
    return end


def _read_v1(pair: Pair, service: str, request: dict[str, Any], response: dict[str, Any]) -> Told:
    instances, decisions = request["instances"], response["predictions"]
    if len(instances) != len(decisions) or not decisions:
        raise Unreadable("unreadable", f"{len(instances)} instances, but {len(decisions)} decisions")
    first = decisions[0]
    served = Served(
        model=response["model_name"],
        revision=first.get("revision") or _revision(pair),
        version=str(first.get("model_version") or response.get("model_version") or ""),
        bundle=first["bundle"],
        feature_schema=first["feature_schema"],
        shadow=_is_shadow(pair),
    )
    rows = [_row(instance, decision) for instance, decision in zip(instances, decisions, strict=True)]
    return Told(service, served, rows)


def _row(instance: Mapping[str, Any], decision: Mapping[str, Any]) -> Row:
    return Row(
        event_id=decision["event_id"],
        event_time=_micros(instance["event_time"]),
        site=instance.get("site_id") or "",
        fields=instance,
        score=_score(decision["score"]),
        levels={name: float(value) for name, value in decision["levels"].items()},
        flagged=decision["action"] in _FLAGGED,
        vector=_vector(decision.get("vector")),
    )


def _read_v2(pair: Pair, service: str, asked: dict[str, list[Any]], response: dict[str, Any], raw: memoryview) -> Told:
    outputs, facts = _columns(response["outputs"], raw), response.get("parameters") or {}
    rows = len(outputs["score"])
    if not rows or any(len(values) != rows for values in (*asked.values(), *outputs.values())):
        raise Unreadable("unreadable", "the tensors have different lengths")
    served = Served(
        model=response["model_name"],
        revision=facts.get("revision") or _revision(pair),
        version=str(response.get("model_version") or ""),
        bundle=facts["bundle"],
        feature_schema=facts["feature_schema"],
        shadow=_is_shadow(pair),
    )
    levels = {name.removeprefix("level_"): values for name, values in outputs.items() if name.startswith("level_")}
    vectors = outputs.get("vector", [None] * rows)
    found = [
        Row(
            event_id=asked["event_id"][row],
            event_time=_micros(asked["event_time"][row]),
            site=_at(asked, "site_id", row) or "",
            fields={name: values[row] for name, values in asked.items()},
            score=_score(outputs["score"][row]),
            levels={name: float(values[row]) for name, values in levels.items()},
            flagged=outputs["action"][row] in _FLAGGED,
            vector=_vector(vectors[row]),
        )
        for row in range(rows)
    ]
    return Told(service, served, found)


def _columns(tensors: Sequence[Mapping[str, Any]], raw: memoryview) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for tensor in tensors:
        size = (tensor.get("parameters") or {}).get("binary_data_size")
        if size is None:
            values = _flat(tensor["data"])
        else:
            values, raw = _from_raw(tensor["datatype"], bytes(raw[:size])), raw[size:]
        text = tensor["datatype"] == "BYTES"
        found[tensor["name"]] = [value or None for value in values] if text else values
    return found


def _from_raw(datatype: str, content: bytes) -> list[Any]:
    if datatype != "BYTES":
        values: list[Any] = np.frombuffer(content, dtype=_TYPES[datatype]).tolist()
        return values
    found, place = [], 0
    while place < len(content):
        (length,) = struct.unpack_from("<I", content, place)
        found.append(content[place + 4 : place + 4 + length].decode())
        place += 4 + length
    return found


def _flat(data: Sequence[Any]) -> list[Any]:
    return [item for part in data for item in (part if isinstance(part, list) else [part])]


def _read_events(service: str, events: object) -> Told:
    """Return the verdicts and the silent feeds among the events of a request to `/events`."""
    if not isinstance(events, list):
        raise Unreadable("unreadable", "events is no list")
    judgements, silences = [], []
    try:
        for event in events:
            if event.get("kind") == Verdict.kind:
                known_at = _micros(event["event_time"])
                judgements.append(Judgement(str(event["transaction_id"]), known_at, bool(event["is_fraud"])))
            elif event.get("kind") == FeedSilence.kind:
                silences.append(Silence(str(event["site_id"]), str(event["metric"]), float(event["silent_seconds"])))
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise Unreadable("unreadable", f"an event lacks {error}") from error
    return Told(service, None, judgements=judgements, silences=silences)


def _micros(value: object) -> int:
    if type(value) is int and value > _SECONDS_END:
        return value
    try:
        if isinstance(value, str) and len(value) > _DATE:
            return to_micros(datetime.fromisoformat(value))
        return to_micros(_TIME.validate_python(value))
    except (ValidationError, ValueError) as error:
        raise Unreadable("unreadable", "event_time is no time") from error


_DATE = len("2026-06-08")
"""A longer text is a time in ISO 8601, for which the standard library is a hundred times as fast as pydantic."""

_SECONDS_END = 1 << 42
"""Whole numbers above it are microseconds, as in V2; below, what pydantic makes of them, as in V1."""


def _score(value: object) -> float:
    score = float(value)  # type: ignore[arg-type]  # a wrong one is a TypeError, which is what is wanted
    if not 0 <= score <= 1:
        raise Unreadable("unreadable", f"the score is {score}")
    return score


def _vector(text: object) -> bytes | None:
    if not isinstance(text, str):
        return None
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise Unreadable("unreadable", "the vector is no base64") from error
    if len(content) % 4:
        raise Unreadable("unreadable", "the vector is cut off")
    return content


def _at(columns: Mapping[str, list[Any]], name: str, row: int) -> Any:  # noqa: ANN401 - any JSON value
    values = columns.get(name)
    return values[row] if values is not None else None


def _is_shadow(pair: Pair) -> bool:
    return pair.response.event.extensions.get("shadow", "").lower() == "true"


def _revision(pair: Pair) -> str:
    """Return the revision that an annotation of the pod told; the event of KServe itself has none."""
    try:
        told = orjson.loads(pair.response.event.extensions.get("annotations") or "{}")
    except orjson.JSONDecodeError:
        told = {}
    find: Callable[[str], Any] = told.get if isinstance(told, dict) else lambda _: None
    return next((str(value) for key in REVISION_KEYS if (value := find(key))), "unknown")
