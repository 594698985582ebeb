"""What the detector service sees of a model on KServe, and what comes of it: nothing, or a rerun. One story."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest

from tests.cluster.installed import until
from tests.cluster.load import population
from tests.cluster.place import Place
from tests.cluster.traffic import MODEL, Endpoint
from vigil.contracts.events import Transaction
from vigil.monitoring.verdicts import Answer, DriftVerdict

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1_800)]
ROWS = 25
"""Events in a request."""


def serve(place: Place, auc: float) -> None:
    """Let a version of its own serve everything, so that its watch begins anew."""
    place.deploy(place.version(auc))


def send(place: Place, ingress: str, events: Iterator[Transaction], rows: int) -> None:
    """Send so many events through the ingress, in their order."""
    with Endpoint(ingress, place.deployed.url) as endpoint:
        for _ in range(0, rows, ROWS):
            endpoint.predict(list(islice(events, ROWS)))


def watched(place: Place) -> dict[str, Any]:
    """Return how the detector service sees the revision in production; empty while it knows none."""
    found: list[dict[str, Any]] = place.get("detector", 8090, f"v1/watch/{MODEL}")
    return next((one for one in found if one["revision"] == place.deployed.revision), {})


def told(place: Place) -> list[DriftVerdict]:
    """Return the verdicts that sinks were told of."""
    content = [event.get("data", event) for event in place.receiver.events]
    return [DriftVerdict.model_validate(one) for one in content if "answer" in one]


@pytest.fixture(scope="module")
def usual(place: Place, ingress: str) -> None:
    """A revision of its own, which has seen usual traffic."""
    serve(place, 0.95)
    place.receiver.events.clear()
    send(place, ingress, population(21, "usual"), 600)
    until(lambda: watched(place).get("state") == "steady", "a steady watch")


def test_copies_of_all_decisions_reach_the_detector(place: Place, usual: None) -> None:
    until(lambda: watched(place)["rows"] >= 500, "the rows of 600 decisions")
    assert told(place) == []


def test_a_broken_unit_is_told_and_starts_no_rerun(place: Place, ingress: str, usual: None) -> None:
    send(place, ingress, population(22, "cents", scale=3_000.0), 300)
    until(lambda: told(place), "the verdict on the unit")
    (verdict,) = told(place)
    assert verdict.answer is Answer.HOLD, verdict.summary
    assert "100" in verdict.summary
    assert place.kubeflow.runs == []


def test_a_moved_population_starts_one_rerun_though_the_detector_is_killed(
    place: Place, ingress: str, usual: None
) -> None:
    serve(place, 0.96)
    send(place, ingress, population(23, "again"), 600)
    until(lambda: watched(place).get("state") == "steady", "a steady watch")
    place.receiver.events.clear()
    place.receiver.unwilling = 10_000
    send(place, ingress, population(24, "moved", shape=5.0, scale=25.0), 600)
    until(lambda: watched(place).get("state") == "drifting", "the verdict on the population")
    place.delete_pod("detector")
    place.receiver.unwilling = 0
    until(lambda: told(place), "the verdict, after the detector is back")
    verdicts = {verdict.id: verdict for verdict in told(place)}
    assert {verdict.answer for verdict in verdicts.values()} == {Answer.RERUN}, verdicts
    until(lambda: place.kubeflow.runs, "a run at Kubeflow Pipelines")
    (run,) = place.kubeflow.runs
    assert run["runtime_config"]["parameters"]["raw_uri"] == "gs://vigil/models/raw"
    (rerun,) = [one for one in place.get("rerun", 8090, "v1/reruns") if one["decision"] == "start"]
    assert rerun["run"] == run["display_name"]
    assert rerun["asked"]["event_id"] in verdicts
