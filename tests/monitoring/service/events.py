"""Requests, answers and the events that the loggers make of them."""

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from vigil.contracts.cloud_events import CloudEvent
from vigil.decisions.record import encode_vector

REQUEST, RESPONSE = "org.kubeflow.serving.inference.request", "org.kubeflow.serving.inference.response"
START = datetime(2026, 6, 8, 10, tzinfo=UTC)
BUNDLE, SCHEMA = "sha256:" + "b" * 64, "sha256:" + "5" * 64
MODEL = "card_fraud"


def instance(name: str, number: int = 0, **changes: Any) -> dict[str, Any]:
    moment = (START + timedelta(seconds=number)).isoformat()
    return {
        "event_id": name,
        "event_time": moment,
        "amount": 10.0 + number,
        "site_id": "S1",
        "card_id": "K1",
        **changes,
    }


def decision(name: str, score: float = 0.1, vector: Iterable[float] | None = None, **changes: Any) -> dict[str, Any]:
    made = {
        "decision_id": f"d-{name}",
        "event_id": name,
        "bundle": BUNDLE,
        "feature_schema": SCHEMA,
        "score": score,
        "levels": {"boosted": score},
        "action": "alert" if score >= 0.5 else "allow",
        "revision": "m-v1",
        "model_version": "1",
        **changes,
    }
    return made if vector is None else made | {"vector": encode_vector(np.array(list(vector), dtype=np.float32))}


def event(kind: str, identity: str, body: Any, shadow: bool = False, **extensions: str) -> CloudEvent:
    """Return an event as KServe's logger makes it."""
    told = {"inferenceservicename": MODEL, "namespace": "local", "component": "predictor", "endpoint": "default"}
    told |= ({"shadow": "true"} if shadow else {}) | extensions
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return CloudEvent(identity, "http://localhost:9081/", kind, content, time=START, extensions=told)


def exchange(
    identity: str, instances: list[dict[str, Any]], decisions: list[dict[str, Any]], shadow: bool = False
) -> list[CloudEvent]:
    """Return request and answer of V1."""
    answer = {"predictions": decisions, "model_name": MODEL, "model_version": decisions[0]["model_version"]}
    return [event(REQUEST, identity, {"instances": instances}), event(RESPONSE, identity, answer, shadow)]


def decided(name: str, score: float = 0.1, number: int = 0, shadow: bool = False, **changes: Any) -> list[CloudEvent]:
    """Return the exchange of one decision; its id tells event and revision."""
    made = decision(name, score, **changes)
    return exchange(f"{name}-{made['revision']}", [instance(name, number)], [made], shadow)


def verdict(name: str, is_fraud: bool) -> list[CloudEvent]:
    """Return the exchange of a verdict told to `/events`."""
    told = {
        "kind": "verdict",
        "event_id": f"v-{name}",
        "event_time": (START + timedelta(days=1)).isoformat(),
        "transaction_id": name,
        "is_fraud": is_fraud,
        "source": "analyst",
    }
    answer = {"accepted": 1, "duplicates": 0, "unused": 0}
    return [event(REQUEST, f"v-{name}", {"events": [told]}), event(RESPONSE, f"v-{name}", answer)]


def silence(metric: str) -> list[CloudEvent]:
    """Return the exchange of a silent feed told to `/events`."""
    told = {
        "kind": "feed_silence",
        "event_id": f"s-{metric}",
        "event_time": START.isoformat(),
        "site_id": "S1",
        "metric": metric,
        "expected_every_seconds": 60,
        "silent_seconds": 5400,
    }
    answer = {"accepted": 0, "duplicates": 0, "unused": 1}
    return [event(REQUEST, f"s-{metric}", {"events": [told]}), event(RESPONSE, f"s-{metric}", answer)]


def exchange_v2(identity: str, names: list[str], scores: list[float], binary: bool = False) -> list[CloudEvent]:
    """Return request and answer of V2, the score as a raw tensor if `binary`."""
    rows = len(names)
    micros = int(START.timestamp() * 1e6)

    def tensor(name: str, datatype: str, data: list[Any], **more: Any) -> dict[str, Any]:
        return {"name": name, "datatype": datatype, "shape": [rows], "data": data, **more}

    inputs = [
        tensor("event_id", "BYTES", names),
        tensor("event_time", "INT64", [micros + row for row in range(rows)]),
        tensor("amount", "FP64", [1.0] * rows),
        tensor("site_id", "BYTES", ["S1"] * (rows - 1) + [""]),
    ]
    outputs = [
        tensor("action", "BYTES", ["alert" if score >= 0.5 else "allow" for score in scores]),
        tensor("level_boosted", "FP64", scores),
        tensor("score", "FP64", scores),
    ]
    raw = b""
    if binary:
        raw = np.array(scores, dtype="<f8").tobytes()
        outputs[2] = {
            "name": "score",
            "datatype": "FP64",
            "shape": [rows],
            "parameters": {"binary_data_size": len(raw)},
        }
    facts = {"revision": "m-v1", "bundle": BUNDLE, "feature_schema": SCHEMA, "note": "é"}
    answer = {"model_name": MODEL, "model_version": "1", "parameters": facts, "outputs": outputs}
    made = event(RESPONSE, identity, json.dumps(answer, ensure_ascii=False).encode() + raw)
    return [
        event(REQUEST, identity, {"inputs": inputs}),
        replace(made, content_type="application/octet-stream") if binary else made,
    ]
