"""Every protocol gives the decisions that the decider gives offline, row by row and bit for bit."""

from typing import Any

import grpc
import numpy as np
import orjson
import pyarrow as pa
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as service

from tests.serving.processes import MODEL, Served
from tests.serving.samples import as_json, decider, features_offline, instances, transactions, vectors
from vigil.contracts.events import Transaction, to_table
from vigil.decisions.decider import Asked
from vigil.decisions.record import DecisionRecord

pytestmark = pytest.mark.xdist_group("serving")

ARROW = {"content-type": "application/vnd.apache.arrow.stream"}
COMPARED = ("event_id", "score", "levels", "threshold", "action", "severity", "business", "mode", "segment", "bundle")


def expected(events: list[Transaction]) -> list[DecisionRecord]:
    asked = [Asked(event.event_id) for event in events]
    return decider().decide(features_offline(events), asked, events[0].event_time)


def check(decision: dict[str, Any], record: DecisionRecord) -> None:
    document = record.model_dump(mode="json")
    assert {name: decision[name] for name in COMPARED} == {name: document[name] for name in COMPARED}
    assert decision["reasons"] == document["reasons"]
    assert decision["decision_id"] == record.decision_id
    assert (decision["revision"], decision["model_version"]) == ("rev-7", "7")


def tensors(events: list[Transaction]) -> dict[str, list[Any]]:
    rows = [event.model_dump(mode="json") for event in events]
    return {name: [row[name] for row in rows] for name in Transaction.model_fields if name != "quantity"}


def stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def test_single_events_over_v1_equal_the_offline_decisions(transformer: Served) -> None:
    events = transactions("single", 60)
    records = expected(events)
    assert len({record.action for record in records}) > 1
    for event, record in zip(events, records, strict=True):
        answer = transformer.predict(as_json(event))
        assert answer.status_code == 200, answer.text
        (decision,) = answer.json()["predictions"]
        check(decision, record)
        assert (decision["vector"], decision["feature_schema"]) == (record.vector, record.feature_schema)


def test_many_events_over_v1_equal_the_offline_decisions(transformer: Served) -> None:
    events = transactions("many", 60, seed=2)
    answer = transformer.predict(*map(as_json, events)).json()
    assert (answer["model_name"], answer["model_version"]) == (MODEL, "7")
    for decision, record in zip(answer["predictions"], expected(events), strict=True):
        check(decision, record)
        assert decision["vector"] == record.vector


def test_an_arrow_stream_equals_the_offline_decisions(transformer: Served) -> None:
    events = transactions("arrow", 80, seed=3)
    body = stream(to_table(Transaction, list(events)))
    answer = transformer.http.post(f"{transformer.path}:batch", content=body, headers=ARROW)
    assert answer.status_code == 200, answer.text
    table = pa.ipc.open_stream(answer.content).read_all()
    facts = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    for row, record in zip(table.to_pylist(), expected(events), strict=True):
        levels = {name: row.pop(f"level_{name}") for name in record.levels}
        row["reasons"] = orjson.loads(row["reasons"] or "[]")
        check(row | facts | {"levels": levels}, record)


def test_v2_over_rest_equals_the_offline_decisions(transformer: Served) -> None:
    events = transactions("rest", 20, seed=4)
    kinds = {"amount": "FP64", "utc_offset_minutes": "INT16"}
    inputs = [
        {"name": name, "datatype": kinds.get(name, "BYTES"), "shape": [20], "data": values}
        for name, values in tensors(events).items()
    ]
    answer = transformer.post(f"/v2/models/{MODEL}/infer", {"id": "q", "inputs": inputs})
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert document["id"] == "q"
    columns = {output["name"]: output["data"] for output in document["outputs"]}
    check_outputs(columns, expected(events))
    assert columns["vector"] == [record.vector for record in expected(events)]
    facts = {"revision": "rev-7", "bundle": decider().bundle, "mode": "full"}
    assert document["parameters"] == facts | {"feature_schema": decider().schema.content_hash}


def check_outputs(columns: dict[str, list[Any]], records: list[DecisionRecord]) -> None:
    assert columns["decision_id"] == [record.decision_id for record in records]
    assert columns["action"] == [record.action.value for record in records]
    assert columns["severity"] == [record.severity.value for record in records]
    assert columns["score"] == [record.score for record in records]
    assert columns["threshold"] == [record.threshold for record in records]
    assert columns["level_boosted"] == [record.levels["boosted"] for record in records]
    reasons = [[reason.model_dump() for reason in record.reasons] for record in records]
    assert [orjson.loads(text) for text in columns["reasons"]] == reasons


def test_v2_over_grpc_equals_the_offline_decisions(transformer: Served) -> None:
    events = transactions("grpc", 20, seed=5)
    request = pb.ModelInferRequest(model_name=MODEL, id="g")
    for name, values in tensors(events).items():
        tensor = request.inputs.add(name=name, shape=[20])
        if name == "amount":
            tensor.datatype = "FP64"
            tensor.contents.fp64_contents.extend(values)
        elif name == "utc_offset_minutes":
            tensor.datatype = "INT16"
            tensor.contents.int_contents.extend(values)
        else:
            tensor.datatype = "BYTES"
            tensor.contents.bytes_contents.extend((value or "").encode() for value in values)
    with grpc.insecure_channel(f"127.0.0.1:{transformer.grpc_port}") as channel:
        answer = service.GRPCInferenceServiceStub(channel).ModelInfer(request)
    columns = {
        output.name: list(output.contents.fp64_contents) or [value.decode() for value in output.contents.bytes_contents]
        for output in answer.outputs
    }
    assert answer.id == "g"
    check_outputs(columns, expected(events))
    assert columns["vector"] == [record.vector for record in expected(events)]
    assert answer.parameters["revision"].string_param == "rev-7"
    assert answer.parameters["bundle"].string_param == decider().bundle


def test_the_same_event_twice_gets_the_same_decision_and_counts_once(transformer: Served) -> None:
    first, second, later = transactions("twice", 3, seed=6)
    (once,) = transformer.predict(as_json(first)).json()["predictions"]
    transformer.predict(as_json(second))
    (again,) = transformer.predict(as_json(first)).json()["predictions"]
    assert again["decision_id"] == once["decision_id"]
    (last,) = transformer.predict(as_json(later)).json()["predictions"]
    check(last, expected([first, second, later])[2])


def test_explain_gives_reasons_for_every_row_and_writes_nothing(transformer: Served) -> None:
    events = transactions("explained", 4, seed=7)
    for _ in range(2):
        answer = transformer.post(f"{transformer.path}:explain", {"instances": [as_json(events[0])]})
        (decision,) = answer.json()["predictions"]
        assert decision["reasons"]
        assert "vector" not in decision
    (first,) = transformer.predict(as_json(events[0])).json()["predictions"]
    check(first, expected(events[:1])[0])


def test_a_verdict_enters_the_state_once(transformer: Served) -> None:
    event = transactions("verdict", 1, seed=8)[0]
    transformer.predict(as_json(event))
    verdict = {
        "kind": "verdict",
        "event_id": "verdict-of-verdict-0",
        "event_time": event.event_time.isoformat(),
        "transaction_id": event.event_id,
        "is_fraud": True,
        "source": "analyst",
    }
    reading = {
        "kind": "site_reading",
        "event_id": "r",
        "event_time": event.event_time.isoformat(),
        "site_id": "s",
        "metric": "m",
        "value": 1,
        "unit": "u",
    }
    path = f"{transformer.path}/events"
    body = {"events": [verdict, reading]}
    assert transformer.post(path, body).json() == {"accepted": 1, "duplicates": 0, "unused": 1}
    assert transformer.post(path, body).json() == {"accepted": 0, "duplicates": 1, "unused": 1}


def test_vectors_over_v1_equal_the_offline_decisions(predictor: Served) -> None:
    matrix = vectors(40)
    answer = predictor.predict(*instances(matrix))
    assert answer.status_code == 200, answer.text
    records = decider().decide(matrix, [Asked(f"v-{row}") for row in range(40)], transactions("x", 1)[0].event_time)
    for decision, record in zip(answer.json()["predictions"], records, strict=True):
        check(decision, record)


@pytest.mark.parametrize("binary", [False, True])
def test_vectors_over_v2_equal_the_offline_decisions(predictor: Served, binary: bool) -> None:
    matrix = vectors(10, seed=4)
    ids = [f"v-{row}" for row in range(10)]
    features: dict[str, Any] = {"name": "features", "datatype": "FP32", "shape": list(matrix.values.shape)}
    raw, headers = b"", {"content-type": "application/json"}
    if binary:
        raw = matrix.values.tobytes()
        features["parameters"] = {"binary_data_size": len(raw)}
    else:
        features["data"] = matrix.values.tolist()
    inputs = [features, {"name": "event_id", "datatype": "BYTES", "shape": [10], "data": ids}]
    head = orjson.dumps({"inputs": inputs, "parameters": {"feature_schema": decider().schema.content_hash}})
    if binary:
        headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    answer = predictor.http.post(f"/v2/models/{MODEL}/infer", content=head + raw, headers=headers)
    assert answer.status_code == 200, answer.text
    records = decider().decide(matrix, [Asked(name) for name in ids], transactions("x", 1)[0].event_time)
    check_outputs({output["name"]: output["data"] for output in answer.json()["outputs"]}, records)


def test_binary_outputs_and_chosen_outputs_are_those_of_the_protocol(predictor: Served) -> None:
    matrix = vectors(3, seed=5)
    inputs = [
        {"name": "features", "datatype": "FP32", "shape": list(matrix.values.shape), "data": matrix.values.tolist()},
        {"name": "event_id", "datatype": "BYTES", "shape": [3], "data": ["a", "b", "c"]},
    ]
    body = {
        "inputs": inputs,
        "outputs": [{"name": "score", "parameters": {"binary_data": True}}],
        "parameters": {"feature_schema": decider().schema.content_hash},
    }
    answer = predictor.post(f"/v2/models/{MODEL}/infer", body)
    length = int(answer.headers["inference-header-content-length"])
    document = orjson.loads(answer.content[:length])
    assert [output["name"] for output in document["outputs"]] == ["score"]
    expected_scores = decider().ensemble.score(matrix).score
    assert np.array_equal(np.frombuffer(answer.content[length:]), expected_scores)


def test_a_cloud_event_is_answered_by_a_cloud_event(transformer: Served) -> None:
    event = transactions("cloud", 1, seed=9)[0]
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "1",
        "ce-source": "till",
        "ce-type": "sale",
        "ce-time": "2026-06-10T12:00:00Z",
    }
    answer = transformer.post(f"{transformer.path}:predict", {"instances": [as_json(event)]}, **headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["ce-type"] == "io.kserve.inference.response"
    check(answer.json()["predictions"][0], expected([event])[0])


def test_a_structured_cloud_event_is_answered_by_a_structured_one(transformer: Served) -> None:
    event = transactions("structured", 1, seed=9)[0]
    document = {
        "specversion": "1.0",
        "id": "1",
        "source": "till",
        "type": "sale",
        "data": {"instances": [as_json(event)]},
    }
    headers = {"content-type": "application/cloudevents+json", "x-request-id": "asked-1"}
    answer = transformer.post(f"{transformer.path}:predict", document, **headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/cloudevents+json"
    told = answer.json()
    assert (told["specversion"], told["id"], told["type"]) == ("1.0", "asked-1", "io.kserve.inference.response")
    check(told["data"]["predictions"][0], expected([event])[0])


def test_the_schema_tells_how_to_ask(predictor: Served, transformer: Served) -> None:
    told = predictor.http.get(f"{predictor.path}/schema").json()
    assert told["bundle"] == decider().bundle
    assert told["feature_schema"] == decider().schema.model_dump(mode="json")
    assert transformer.http.get(f"{transformer.path}/schema").json()["feature_schema"] == told["feature_schema"]


def test_a_batch_that_is_decided_in_parts_equals_the_offline_decisions(transformer: Served) -> None:
    events = transactions("parts", 5_000, seed=11)
    shuffled = [events[row] for row in np.random.default_rng(1).permutation(len(events))]
    decisions = {}
    for name, rows in (("parts", events), ("whole", shuffled)):
        renamed = [
            event.model_copy(
                update={
                    key: value.replace("parts", name)
                    for key in ("event_id", "customer_id", "terminal_id")
                    if (value := getattr(event, key))
                }
            )
            for event in rows
        ]
        body = stream(to_table(Transaction, list(renamed)))
        answer = transformer.http.post(f"{transformer.path}:batch", content=body, headers=ARROW)
        assert answer.status_code == 200, answer.text
        table = pa.ipc.open_stream(answer.content).read_all()
        assert table["event_id"].to_pylist() == [event.event_id for event in renamed]
        decisions[name] = {
            row["event_id"].removeprefix(name): (row["score"], row["action"], row["reasons"])
            for row in table.to_pylist()
        }
    records = expected(events)
    assert {key: value[0] for key, value in decisions["parts"].items()} == {
        record.event_id.removeprefix("parts"): record.score for record in records
    }
    assert decisions["whole"] == decisions["parts"]
