"""A bundle that came through gs:// decides on the cluster as it does on a laptop, row by row, by every protocol.

Its few customers would be news to a watch over the others' traffic: it comes last.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

from tests.cluster.names import RELEASE
from tests.cluster.place import Place
from tests.cluster.published import cluster_number
from tests.cluster.traffic import MODEL, Endpoint, decide_offline, make_events
from vigil.contracts.events import Transaction
from vigil.decisions.record import DecisionRecord
from vigil.deployment import Deployment
from vigil.deployment.inference import deploy_to_kserve
from vigil.deployment.request import ClientProtocol

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1_800)]
BLOCK = 50
INFER = "/inference.GRPCInferenceService/ModelInfer"

Row = dict[str, Any]


def infer_by_grpc(channel: grpc.Channel, events: Sequence[Transaction]) -> list[Row]:
    """Return the outputs of V2 over gRPC, one mapping for each event."""
    request = pb.ModelInferRequest(model_name=MODEL)
    for name in ("event_id", "event_time", "customer_id", "terminal_id"):
        tensor = request.inputs.add(name=name, datatype="BYTES", shape=[len(events)])
        values = [str(event.model_dump(mode="json")[name]) for event in events]
        tensor.contents.bytes_contents.extend(value.encode() for value in values)
    amounts = request.inputs.add(name="amount", datatype="FP64", shape=[len(events)])
    amounts.contents.fp64_contents.extend(event.amount for event in events)
    answer = pb.ModelInferResponse.FromString(
        channel.unary_unary(INFER)(request.SerializeToString(), timeout=60, wait_for_ready=True)
    )
    columns = {
        output.name: [value.decode() for value in output.contents.bytes_contents] or list(output.contents.fp64_contents)
        for output in answer.outputs
    }
    return [{name: values[row] for name, values in columns.items()} for row in range(len(events))]


def differs(served: Row, expected: DecisionRecord) -> bool:
    """Return whether a decision is another one than that of the same bundle offline."""
    same = (served["action"], served["severity"]) == (expected.action, expected.severity)
    near = abs(served["score"] - expected.score) <= 1e-6 and abs(served["threshold"] - expected.threshold) <= 1e-9
    return not (same and near)


@pytest.fixture(scope="module")
def twin(place: Place) -> Deployment:
    """The same version as a service that speaks gRPC."""
    return deploy_to_kserve(place.request(place.deployed.version, ClientProtocol.GRPC), place.cluster)


def test_every_protocol_decides_as_the_laptop_does(place: Place, twin: Deployment, ingress: str) -> None:
    events = make_events(500, 3, "parity")
    offline = decide_offline(events, RELEASE)
    blocks = [events[start : start + BLOCK] for start in range(0, len(events), BLOCK)]
    host = [("grpc.default_authority", urlsplit(twin.url).netloc)]
    served: list[Row] = []
    with (
        Endpoint(ingress, place.deployed.url) as endpoint,
        grpc.insecure_channel(f"{ingress}:80", options=host) as channel,
    ):
        for block in blocks[:4]:
            served += [row for event in block for row in endpoint.predict([event])]
        for block in blocks[4:7]:
            served += endpoint.infer(block)
        for block in blocks[7:]:
            served += infer_by_grpc(channel, block)
    pairs = zip(served, events, strict=True)
    differing = [row for row, event in pairs if differs(row, offline[event.event_id])]
    assert differing == []
    words = "of 500: 200 by V1, 150 by V2, 150 by gRPC, all through the ingress, beside the engine offline"
    cluster_number("parity_rows_differing", len(differing), words)
