"""A client's mistake is told with field and row, in one shape; nothing of the inside is."""

from typing import Any

import grpc
import httpx
import numpy as np
import orjson
import pyarrow as pa
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as service

from tests.serving.processes import MODEL, Served
from tests.serving.samples import as_json, decider, instances, transactions, vectors
from vigil.contracts.events import Transaction, to_table

pytestmark = pytest.mark.xdist_group("serving")

EVENT = as_json(transactions("refused", 1)[0])
JSON = {"content-type": "application/json"}


def check(answer: httpx.Response, status: int, code: str, field: str | None = None, row: int | None = None) -> str:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["field"], error.get("row")) == (code, field, row), error
    assert set(error) <= {"code", "field", "message", "row"}
    assert "Traceback" not in answer.text and "site-packages" not in answer.text
    message: str = error["message"]
    return message


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[1", b'{"instances": [NaN]}', b'{"instances": Infinity}', b"\xff\xfe", b'{"instances": [1}', b"nul"],
)
def test_a_body_that_is_not_json_is_malformed(transformer: Served, body: bytes) -> None:
    check(transformer.http.post(f"{transformer.path}:predict", content=body, headers=JSON), 400, "malformed")


@pytest.mark.parametrize("body", [[], "x", 3, {}, {"instances": {}}, {"instances": None}, {"inputs": []}])
def test_a_body_without_a_list_of_instances_is_malformed(transformer: Served, body: Any) -> None:
    check(transformer.post(f"{transformer.path}:predict", body), 400, "malformed", "instances")


def test_no_row_is_invalid(transformer: Served) -> None:
    check(transformer.predict(), 422, "invalid", "instances")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"amount": "much"}, "amount"),
        ({"amount": None}, "amount"),
        ({"amount": 1e9}, "amount"),
        ({"amount": [1]}, "amount"),
        ({"event_time": "2026-06-10T12:00:00"}, "event_time"),
        ({"event_time": "yesterday"}, "event_time"),
        ({"event_time": "1970-01-01T00:00:00Z"}, "event_time"),
        ({"event_time": "9999-01-01T00:00:00Z"}, "event_time"),
        ({"event_id": ""}, "event_id"),
        ({"event_id": "x" * 129}, "event_id"),
        ({"event_id": 7}, "event_id"),
        ({"customer_id": ""}, "customer_id"),
        ({"colour": "red"}, "colour"),
        ({"utc_offset_minutes": 900}, "utc_offset_minutes"),
    ],
)
def test_a_wrong_field_is_named_with_its_row(transformer: Served, change: dict[str, Any], field: str) -> None:
    check(transformer.predict(EVENT, EVENT | change), 422, "invalid", field, 1)


@pytest.mark.parametrize("missing", ["event_id", "event_time", "amount"])
def test_a_missing_field_is_named(transformer: Served, missing: str) -> None:
    row = {name: value for name, value in EVENT.items() if name != missing}
    check(transformer.predict(row), 422, "invalid", missing, 0)


def test_a_row_that_is_no_object_is_named(transformer: Served) -> None:
    check(transformer.predict(EVENT, [1, 2]), 422, "invalid", None, 1)


def test_a_request_with_one_wrong_row_changes_nothing(transformer: Served) -> None:
    good = as_json(transactions("untouched", 1)[0])
    check(transformer.predict(good, {}), 422, "invalid", "event_id", 1)
    looked = transformer.post(f"{transformer.path}:explain", {"instances": [good]}).json()["predictions"][0]
    applied = transformer.predict(good).json()["predictions"][0]
    assert looked["score"] == applied["score"]


def test_an_unknown_kind_of_event_is_named(transformer: Served) -> None:
    path = f"{transformer.path}/events"
    assert "verdict" in check(transformer.post(path, {"events": [{"kind": "sale"}]}), 422, "invalid", "kind", 0)
    check(transformer.post(path, {"events": [{"kind": ["x"]}]}), 422, "invalid", "kind", 0)
    check(transformer.post(path, {"events": [{"kind": "verdict"}]}), 422, "invalid", "event_id", 0)


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "multipart/form-data; boundary=x"])
def test_another_content_type_is_refused(transformer: Served, kind: str) -> None:
    answer = transformer.http.post(f"{transformer.path}:predict", content=b"{}", headers={"content-type": kind})
    assert "application/json" in check(answer, 415, "unsupported_media_type", "content-type")


def test_a_compressed_body_is_refused(transformer: Served) -> None:
    headers = {**JSON, "content-encoding": "gzip"}
    answer = transformer.http.post(f"{transformer.path}:predict", content=b"\x1f\x8b", headers=headers)
    check(answer, 415, "unsupported_media_type", "content-encoding")


def test_another_model_and_another_path_are_not_found(transformer: Served) -> None:
    check(transformer.post("/v1/models/other:predict", {"instances": [EVENT]}), 404, "not_found")
    check(transformer.post("/v2/models/other/infer", {}), 404, "not_found")
    check(transformer.http.get("/openapi.json"), 404, "not_found")
    check(transformer.http.get(f"{transformer.path}:predict"), 405, "method_not_allowed")
    check(transformer.http.post("/metrics"), 405, "method_not_allowed")


@pytest.mark.parametrize("action", ["load", "unload"])
def test_nobody_can_load_or_unload(predictor: Served, transformer: Served, action: str) -> None:
    for served in (predictor, transformer):
        check(served.http.post(f"/v2/repository/models/{MODEL}/{action}"), 404, "not_found")
        assert served.is_ready()


def test_no_header_comes_back_but_the_ids(transformer: Served) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = {"authorization": "Bearer secret", "cookie": "a=b", "x-request-id": "mine", "traceparent": trace}
    for verb in ("predict", "explain"):
        answer = transformer.post(f"{transformer.path}:{verb}", {"instances": [EVENT]}, **headers)
        assert answer.status_code == 200
        assert "secret" not in str(answer.headers) and "cookie" not in answer.headers
        assert (answer.headers["x-request-id"], answer.headers["traceparent"]) == ("mine", trace)


def test_an_id_that_is_not_well_formed_is_replaced(transformer: Served) -> None:
    answer = transformer.post(f"{transformer.path}:predict", {"instances": [EVENT]}, **{"x-request-id": "a b" * 60})
    assert len(answer.headers["x-request-id"]) == 32


@pytest.mark.parametrize(
    ("inputs", "field"),
    [
        ([{"name": "event_id", "datatype": "BYTES", "shape": [1], "data": [3]}], "event_id"),
        ([{"name": "event_id", "datatype": "BYTES", "shape": [2], "data": ["a"]}], "event_id"),
        ([{"name": "event_id", "datatype": "BYTES", "shape": [-1], "data": ["a"]}], "event_id"),
        ([{"name": "amount", "datatype": "FP99", "shape": [1], "data": [1]}], "amount"),
        ([{"name": "amount", "datatype": "FP64", "shape": [1], "data": ["x"]}], "amount"),
        ([{"name": "amount", "datatype": "FP64", "shape": [1, 2], "data": [[1, 2]]}], "amount"),
        ([{"name": "colour", "datatype": "BYTES", "shape": [1], "data": ["a"]}], "colour"),
        ([{"name": "amount", "datatype": "FP64", "shape": [0], "data": []}], "inputs"),
    ],
)
def test_a_wrong_tensor_is_named(transformer: Served, inputs: list[Any], field: str) -> None:
    check(transformer.post(f"/v2/models/{MODEL}/infer", {"inputs": inputs}), 422, "invalid", field)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "inputs"),
        ({"inputs": []}, "inputs"),
        ({"inputs": [1]}, "inputs[0]"),
        ({"inputs": [{"name": "x"}]}, "inputs[0].datatype"),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1]}]}, "inputs[0].data"),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}], "id": 3}, "parameters"),
    ],
)
def test_a_v2_body_of_the_wrong_shape_is_malformed(transformer: Served, body: Any, field: str) -> None:
    check(transformer.post(f"/v2/models/{MODEL}/infer", body), 400, "malformed", field)


@pytest.mark.parametrize(
    ("column", "value"), [("amount", np.nan), ("amount", 2e6), ("event_id", ""), ("terminal_id", "t" * 129)]
)
def test_a_wrong_cell_of_a_batch_is_named(transformer: Served, column: str, value: Any) -> None:
    table = to_table(Transaction, list(transactions("cells", 3)))
    cells = table[column].to_pylist()
    cells[2] = value
    table = table.set_column(table.column_names.index(column), column, pa.array(cells))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    headers = {"content-type": "application/vnd.apache.arrow.stream"}
    answer = transformer.http.post(f"{transformer.path}:batch", content=sink.getvalue().to_pybytes(), headers=headers)
    check(answer, 422, "invalid", column, 2)


def test_a_batch_that_is_no_arrow_stream_is_malformed(transformer: Served) -> None:
    headers = {"content-type": "application/vnd.apache.arrow.stream"}
    check(transformer.http.post(f"{transformer.path}:batch", content=b"\x00" * 64, headers=headers), 400, "malformed")


def test_a_wrong_vector_is_named(predictor: Served) -> None:
    good = instances(vectors(1))[0]
    name = decider().schema.names[3]
    without = {key: value for key, value in good["features"].items() if key != name}
    check(predictor.predict(good, good | {"features": without}), 422, "invalid", name, 1)
    check(predictor.predict(good | {"features": good["features"] | {"x": 1}}), 422, "invalid", "x", 0)
    check(predictor.predict(good | {"features": good["features"] | {name: "1"}}), 422, "invalid", name, 0)
    check(predictor.predict(good | {"features": good["features"] | {name: 1e39}}), 422, "invalid", name, 0)
    check(predictor.predict(good | {"features": [1]}), 422, "invalid", "features", 0)
    check(predictor.predict({"features": good["features"]}), 422, "invalid", "event_id", 0)


def tensors_of(values: Any, schema: str) -> dict[str, Any]:
    shape = list(np.shape(values))
    inputs = [
        {"name": "features", "datatype": "FP32", "shape": shape, "data": values},
        {"name": "event_id", "datatype": "BYTES", "shape": shape[:1], "data": ["e"] * shape[0]},
    ]
    return {"inputs": inputs, "parameters": {"feature_schema": schema}}


def test_vectors_of_another_schema_or_width_are_refused(predictor: Served) -> None:
    values = vectors(2).values.tolist()
    path, schema = f"/v2/models/{MODEL}/infer", decider().schema.content_hash
    check(predictor.post(path, tensors_of(values, "sha256:" + "0" * 64)), 422, "invalid", "feature_schema")
    check(predictor.post(path, tensors_of([row[:3] for row in values], schema)), 422, "invalid", "features")
    values[1][4] = 1e300
    check(predictor.post(path, tensors_of(values, schema)), 422, "invalid", decider().schema.names[4], 1)


def test_hostile_vectors_on_the_internal_route_are_refused(predictor: Served) -> None:
    headers = {"content-type": "application/vnd.vigil.vectors"}
    path = f"{predictor.path}:vectors"
    header = orjson.dumps({"schema": "x", "ids": [], "segments": None, "explain": False, "arrow": False})
    empty = b"VGL1" + len(header).to_bytes(4, "little") + header
    for body in (b"", b"VGL1", b"VGL1\xff\xff\xff\xff{}", b"VGL1\x02\x00\x00\x00{}", empty):
        assert predictor.http.post(path, content=body, headers=headers).status_code == 400


@pytest.fixture
def stub(transformer: Served) -> Any:
    with grpc.insecure_channel(f"127.0.0.1:{transformer.grpc_port}") as channel:
        yield service.GRPCInferenceServiceStub(channel)


def status_of(call: Any, request: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(request)
    return caught.value.code().name, caught.value.details()


def test_grpc_statuses_tell_whose_mistake_it_is(stub: Any) -> None:
    code, text = status_of(stub.ModelInfer, pb.ModelInferRequest(model_name="other"))
    assert code == "NOT_FOUND"
    request = pb.ModelInferRequest(model_name=MODEL)
    tensor = request.inputs.add(name="amount", datatype="FP64", shape=[2])
    tensor.contents.fp64_contents.append(1.0)
    code, text = status_of(stub.ModelInfer, request)
    assert (code, "amount" in text) == ("INVALID_ARGUMENT", True)
    request.inputs[0].datatype = "FP99"
    assert status_of(stub.ModelInfer, request)[0] == "INVALID_ARGUMENT"
    assert status_of(stub.ModelInfer, pb.ModelInferRequest(model_name=MODEL))[0] == "INVALID_ARGUMENT"
    assert status_of(stub.ModelReady, pb.ModelReadyRequest(name="other"))[0] == "NOT_FOUND"


def test_grpc_neither_loads_nor_unloads(stub: Any) -> None:
    for call, request in (
        (stub.RepositoryModelLoad, pb.RepositoryModelLoadRequest(model_name=MODEL)),
        (stub.RepositoryModelUnload, pb.RepositoryModelUnloadRequest(model_name=MODEL)),
    ):
        assert status_of(call, request)[0] == "UNIMPLEMENTED"
    assert stub.ServerReady(pb.ServerReadyRequest()).ready
    assert stub.ModelReady(pb.ModelReadyRequest(name=MODEL)).ready
    assert [tensor.name for tensor in stub.ModelMetadata(pb.ModelMetadataRequest(name=MODEL)).inputs][:2] == [
        "event_id",
        "event_time",
    ]


def test_a_cloud_event_with_a_mistake_is_refused_in_our_shape(transformer: Served) -> None:
    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "s", "ce-type": "t"}
    answer = transformer.post(f"{transformer.path}:predict", {"instances": [EVENT | {"amount": "x"}]}, **headers)
    check(answer, 422, "invalid", "amount", 0)
    answer = transformer.post(f"{transformer.path}:predict", {}, **{"ce-specversion": "9"})
    check(answer, 400, "malformed", "ce-specversion")
    structured = {"specversion": "1.0", "id": "1", "source": "s", "type": "t"}
    kind = {"content-type": "application/cloudevents+json"}
    for body, field in ((structured, "data"), ({**structured, "id": 3}, "id"), ({"data": {}}, "specversion")):
        check(transformer.post(f"{transformer.path}:predict", body, **kind), 400, "malformed", field)
    body = {**structured, "data": {"instances": [EVENT | {"amount": "x"}]}}
    check(transformer.post(f"{transformer.path}:predict", body, **kind), 422, "invalid", "amount", 0)
