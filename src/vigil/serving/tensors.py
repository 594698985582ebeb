"""The Open Inference Protocol (V2): tensors to columns, and decisions to tensors. REST (JSON and binary) and gRPC."""

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
from kserve import InferInput, InferOutput, InferRequest, InferResponse
from kserve.protocol.infer_type import RequestedOutput
from kserve.utils.numpy_codec import to_np_dtype

from vigil.serving.http import Answer, parse_json
from vigil.serving.refusals import INVALID, MALFORMED, Refusal

BINARY_HEADER = "inference-header-content-length"
_MAX_DIMENSIONS = 8
_CONSTANT = ("revision", "bundle", "feature_schema", "mode")
"""What all decisions of an answer have in common: its parameters."""


def request_from_rest(body: bytes, headers: Mapping[str, str], model: str) -> InferRequest:
    """Return the request of a REST body: JSON, or JSON followed by the raw tensors."""
    length = headers.get(BINARY_HEADER)
    if length is not None and not (length.isdigit() and int(length) <= len(body)):
        raise Refusal(MALFORMED, "it is not the length of the JSON part", BINARY_HEADER)
    document = parse_json(body if length is None else body[: int(length)])
    if not isinstance(document, dict) or not isinstance(document.get("inputs"), list) or not document["inputs"]:
        raise Refusal(MALFORMED, 'the body needs a list "inputs" of at least one tensor', "inputs")
    raw = memoryview(b"" if length is None else body[int(length) :])
    inputs = []
    for number, tensor in enumerate(document["inputs"]):
        parsed, raw = _tensor(tensor, f"inputs[{number}]", raw)
        inputs.append(parsed)
    parameters, request_id = document.get("parameters") or {}, document.get("id")
    if not isinstance(parameters, dict) or not (request_id is None or isinstance(request_id, str)):
        raise Refusal(MALFORMED, "parameters is an object and id a text", "parameters")
    return InferRequest(
        model, inputs, request_id, parameters=parameters, request_outputs=_wanted(document.get("outputs"))
    )


def _tensor(tensor: Any, where: str, raw: memoryview) -> tuple[InferInput, memoryview]:  # noqa: ANN401
    """Return the input and what is left of the raw part."""
    if not isinstance(tensor, dict):
        raise Refusal(MALFORMED, "a tensor is an object", where)
    for key, kind in (("name", str), ("datatype", str), ("shape", list)):
        if not isinstance(tensor.get(key), kind):
            raise Refusal(MALFORMED, "the tensor lacks it, or it is of another type", f"{where}.{key}")
    parameters = tensor.get("parameters") or {}
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    found = InferInput(tensor["name"], tensor["shape"], tensor["datatype"], tensor.get("data"), parameters)
    if size is None:
        if not isinstance(tensor.get("data"), list):
            raise Refusal(MALFORMED, "the tensor lacks it, or it is no list", f"{where}.data")
        return found, raw
    if not isinstance(size, int) or not 0 <= size <= len(raw):
        raise Refusal(MALFORMED, "the body has not so many bytes", f"{where}.parameters.binary_data_size")
    found._raw_data = bytes(raw[:size])
    return found, raw[size:]


def _wanted(outputs: Any) -> list[RequestedOutput] | None:  # noqa: ANN401
    if not outputs:
        return None
    named = isinstance(outputs, list) and all(
        isinstance(item, dict) and isinstance(item.get("name"), str) for item in outputs
    )
    if not named:
        raise Refusal(MALFORMED, "a list of objects with a name", "outputs")
    return [RequestedOutput(item["name"], item.get("parameters") or {}) for item in outputs]


def numbers(tensor: InferInput) -> np.ndarray[Any, Any]:
    """Return a numeric tensor in its shape."""
    shape = _shape(tensor)
    dtype = to_np_dtype(tensor.datatype)
    if dtype is None or tensor.datatype == "BYTES":
        raise Refusal(INVALID, f"the datatype {tensor.datatype[:16]} is not numeric", tensor.name)
    try:
        if tensor._raw_data is not None:
            flat = np.frombuffer(tensor._raw_data, dtype=dtype)
        else:
            flat = np.array(tensor.data, dtype=dtype).reshape(-1)
    except (ValueError, TypeError, OverflowError) as error:
        raise Refusal(INVALID, f"the data is not {tensor.datatype}", tensor.name) from error
    if flat.size != math.prod(shape):
        raise Refusal(INVALID, f"the shape {shape} does not fit {flat.size} values", tensor.name)
    return flat.reshape(shape)


def column(tensor: InferInput) -> list[Any]:
    """Return the values of a tensor of shape [n] or [n, 1] as a list; a text that is empty is None."""
    shape = _shape(tensor)
    if len(shape) > 2 or (len(shape) == 2 and shape[1] != 1):
        raise Refusal(INVALID, f"the shape is {shape}: give one value for each row, [n] or [n, 1]", tensor.name)
    if tensor.datatype == "BYTES":
        values = _texts(tensor)
    elif tensor._raw_data is None and _has_null(tensor.data):
        values = _flatten(tensor.data)
    else:
        values = numbers(tensor).reshape(-1).tolist()
    if len(values) != math.prod(shape):
        raise Refusal(INVALID, f"the shape {shape} does not fit {len(values)} values", tensor.name)
    return values


def _texts(tensor: InferInput) -> list[str | None]:
    raw = tensor._raw_data
    values = _flatten(tensor.data) if raw is None else _split(raw, tensor.name)
    try:
        texts = [value.decode() if isinstance(value, bytes) else value for value in values]
    except UnicodeDecodeError as error:
        raise Refusal(INVALID, "a text is not UTF-8", tensor.name) from error
    if not all(value is None or isinstance(value, str) for value in texts):
        raise Refusal(INVALID, "the data is not BYTES: give texts", tensor.name)
    return [value or None for value in texts]


def _split(raw: bytes, name: str) -> list[bytes]:
    found, place = [], 0
    while place < len(raw):
        if place + 4 > len(raw):
            raise Refusal(INVALID, "the raw data is cut off", name)
        (length,) = struct.unpack_from("<I", raw, place)
        place += 4
        if place + length > len(raw):
            raise Refusal(INVALID, "the raw data is cut off", name)
        found.append(raw[place : place + length])
        place += length
    return found


def _flatten(data: Any) -> list[Any]:  # noqa: ANN401
    flat: list[Any] = []
    for item in data:
        if isinstance(item, list):
            flat.extend(item)
        else:
            flat.append(item)
    return flat


def _has_null(data: Any) -> bool:  # noqa: ANN401
    return any(item is None for item in _flatten(data))


def _shape(tensor: InferInput) -> list[int]:
    shape = list(tensor.shape)
    sound = 0 < len(shape) <= _MAX_DIMENSIONS and all(type(size) is int and 0 <= size < 1 << 31 for size in shape)
    if not sound:
        raise Refusal(INVALID, "the shape is a list of sizes, none below 0", tensor.name)
    return shape


def parameter(request: InferRequest, name: str) -> Any:  # noqa: ANN401
    """Return a parameter of the request, or None."""
    found = request.parameters.get(name) if request.parameters and name in request.parameters else None
    if found is not None and hasattr(found, "WhichOneof"):
        chosen = found.WhichOneof("parameter_choice")
        return getattr(found, chosen) if chosen else None
    return found


def response_of(request: InferRequest, decisions: Sequence[Mapping[str, Any]], version: str) -> InferResponse:
    """Return the decisions as tensors, one for each of what a decision holds."""
    rows = [len(decisions)]
    outputs = [
        InferOutput(name, rows, "BYTES", [decision[name] for decision in decisions])
        for name in ("decision_id", "action", "severity")
    ]
    outputs += [
        InferOutput(name, rows, "FP64", [decision[name] for decision in decisions]) for name in ("score", "threshold")
    ]
    reasons = [orjson.dumps(decision["reasons"]).decode() for decision in decisions]
    outputs.append(InferOutput("reasons", rows, "BYTES", reasons))
    if "vector" in decisions[0]:
        outputs.append(InferOutput("vector", rows, "BYTES", [decision["vector"] for decision in decisions]))
    for member in decisions[0]["levels"]:
        levels = [decision["levels"][member] for decision in decisions]
        outputs.append(InferOutput(f"level_{member}", rows, "FP64", levels))
    return InferResponse(
        response_id=request.id or "",
        model_name=request.model_name,
        infer_outputs=outputs,
        model_version=version,
        parameters={name: decisions[0][name] for name in _CONSTANT},
        use_binary_outputs=bool(request.use_binary_outputs),
        requested_outputs=request.request_outputs,
    )


def answer_of(request: InferRequest, response: InferResponse) -> Answer:
    """Return the REST answer; binary tensors and a choice of outputs go through kserve's own writer."""
    if request.request_outputs or request.use_binary_outputs:
        return _answer_by_kserve(response)
    document = {
        "id": response.id,
        "model_name": response.model_name,
        "model_version": response.model_version,
        "parameters": response.parameters,
        "outputs": [
            {"name": output.name, "shape": output.shape, "datatype": output.datatype, "data": output.data}
            for output in response.outputs
        ],
    }
    return Answer(orjson.dumps(document))


def _answer_by_kserve(response: InferResponse) -> Answer:
    known = {output.name for output in response.outputs}
    unknown = [output.name for output in response._requested_outputs or () if output.name not in known]
    if unknown:
        raise Refusal(INVALID, f"there is no such output: one of {', '.join(sorted(known))}", "outputs")
    content, json_length = response.to_rest()
    if json_length is None:
        return Answer(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY))
    headers = {BINARY_HEADER: str(json_length)}
    return Answer(content, content_type="application/octet-stream", headers=headers)


def tensor_types(names: Sequence[tuple[str, str, list[int]]]) -> list[dict[str, Any]]:
    """Return tensors as the metadata of a model lists them."""
    return [{"name": name, "datatype": datatype, "shape": shape} for name, datatype, shape in names]
