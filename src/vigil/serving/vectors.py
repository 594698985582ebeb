"""Vectors from clients that compute the features themselves: V1 instances and V2 tensors."""

from typing import Any

import numpy as np
from kserve import InferRequest

from vigil.features.schema import FeatureSchema
from vigil.members.base import Matrix
from vigil.serving.refusals import INVALID, MALFORMED, Refusal
from vigil.serving.tensors import column, numbers, parameter
from vigil.serving.wire import Vectors

MAX_ID = 128


def vectors_of_instances(payload: Any, schema: FeatureSchema) -> Vectors:  # noqa: ANN401 - decoded JSON
    """Return the vectors of a V1 body: `{"instances": [{"event_id", "features": {name: value}, "segment"?}]}`."""
    if not isinstance(payload, dict) or not isinstance(payload.get("instances"), list):
        raise Refusal(MALFORMED, 'the body is an object with a list "instances"', "instances")
    if not payload["instances"]:
        raise Refusal(INVALID, "there is no row", "instances")
    if (given := payload.get("feature_schema", schema.content_hash)) != schema.content_hash:
        raise Refusal(INVALID, f"the model has schema {schema.content_hash}", "feature_schema" if given else None)
    values = np.empty((len(payload["instances"]), len(schema.names)), dtype=np.float32)
    ids: list[str] = []
    segments: list[str | None] = []
    for row, instance in enumerate(payload["instances"]):
        if not isinstance(instance, dict):
            raise Refusal(INVALID, "an instance is an object", None, row)
        ids.append(_id(instance.get("event_id"), row))
        segments.append(_segment(instance.get("segment"), row))
        _fill(values[row], instance.get("features"), schema, row)
    return Vectors(ids, values, schema.content_hash, segments)


def _fill(place: Matrix, features: Any, schema: FeatureSchema, row: int) -> None:  # noqa: ANN401
    if not isinstance(features, dict):
        raise Refusal(INVALID, "an object of values by the features' names", "features", row)
    if len(features) != len(schema.names) and (surplus := sorted(set(features) - set(schema.names))):
        raise Refusal(INVALID, "the model has no such feature", surplus[0][:64], row)
    for number, name in enumerate(schema.names):
        if name not in features:
            raise Refusal(INVALID, "the feature is missing", name, row)
        value = features[name]
        if type(value) not in (int, float) or abs(value) > np.finfo(np.float32).max:
            raise Refusal(INVALID, "not a finite number", name, row)
        place[number] = value


def vectors_of_tensors(request: InferRequest, schema: FeatureSchema) -> Vectors:
    """Return the vectors of a V2 request: `features` FP32 [n, d], `event_id` BYTES [n], perhaps `segment` BYTES [n]."""
    inputs = {tensor.name: tensor for tensor in request.inputs}
    if surplus := sorted(set(inputs) - {"features", "event_id", "segment"}):
        raise Refusal(INVALID, "no such input: features, event_id, segment", surplus[0][:64])
    for name in ("features", "event_id"):
        if name not in inputs:
            raise Refusal(INVALID, "the input is missing", name)
    given = parameter(request, "feature_schema")
    if given != schema.content_hash:
        raise Refusal(INVALID, f"give the parameter: the model has schema {schema.content_hash}", "feature_schema")
    values = numbers(inputs["features"])
    if values.ndim != 2 or values.shape[1] != len(schema.names) or not len(values):
        raise Refusal(INVALID, f"the shape is {list(values.shape)}, not [n, {len(schema.names)}]", "features")
    ids = [_id(value, row) for row, value in enumerate(column(inputs["event_id"]))]
    segments = column(inputs["segment"]) if "segment" in inputs else None
    for name, found in (("event_id", ids), ("segment", segments)):
        if found is not None and len(found) != len(values):
            raise Refusal(INVALID, f"{len(found)} values for {len(values)} rows", name)
    with np.errstate(over="ignore"):
        single = np.ascontiguousarray(values, dtype=np.float32)
    return Vectors(ids, single, schema.content_hash, segments)


def _id(value: Any, row: int) -> str:  # noqa: ANN401
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID:
        raise Refusal(INVALID, f"a text of 1 to {MAX_ID} characters", "event_id", row)
    return value


def _segment(value: Any, row: int) -> str | None:  # noqa: ANN401
    if value is not None and (not isinstance(value, str) or len(value) > MAX_ID):
        raise Refusal(INVALID, f"a text of at most {MAX_ID} characters", "segment", row)
    return value
