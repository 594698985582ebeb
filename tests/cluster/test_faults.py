"""Pods that go away while requests come at a constant rate: what clients and the detector service see of it."""

import json
import time
from collections.abc import Iterator

import pytest
from kubernetes.client import ApiClient, AppsV1Api, CoreV1Api

from tests.cluster.installed import until
from tests.cluster.load import Load, constant_rate, population
from tests.cluster.place import DECISIONS, Place
from tests.cluster.published import cluster_number
from tests.cluster.traffic import MODEL
from vigil.deployment.template import service_name
from vigil.registry.store import open_store

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1_800)]
RATE = 8.0
REPLICAS = 2
CALM = 10.0
"""Seconds of traffic before and after a fault."""
ARCHIVED_WITHIN = 30.0
"""Seconds after which a decision lies in the archive: a file takes lines for 20, and is moved a few seconds later."""


@pytest.fixture
def load(place: Place, ingress: str) -> Iterator[Load]:
    with constant_rate(ingress, place.deployed.url, population(31, "f"), RATE) as load:
        time.sleep(CALM)
        yield load


@pytest.fixture(scope="module")
def replicas(place: Place) -> Iterator[None]:
    """Two pods of the model, as a new revision, and one again afterwards."""
    scale(place, REPLICAS)
    yield
    scale(place, 1)


def scale(place: Place, replicas: int) -> None:
    """Let the model have so many pods, and wait until they are ready and get everything."""
    name = service_name(MODEL)
    before = place.deployed.revision
    place.cluster.patch(name, {"spec": {"predictor": {"minReplicas": replicas}}})

    def has_come() -> bool:
        live = place.cluster.service(name)
        assert live is not None
        (target, *others) = live["status"]["components"]["predictor"]["traffic"]
        revision = target["revisionName"]
        arrived = revision != before and not others and len(place.cluster.ready_pods(revision)) == replicas
        if arrived:
            place.deployed = place.deployed.model_copy(update={"revision": revision})
        return arrived

    until(has_come, f"{replicas} pods of the model", 900)


def kill(place: Place, name: str) -> float:
    """Delete a pod of the model, and return how long it takes until there are as many ready ones as before."""
    CoreV1Api(place.client).delete_namespaced_pod(name, place.namespace)
    began = time.monotonic()

    def has_recovered() -> bool:
        found = place.cluster.ready_pods(place.deployed.revision)
        return len(found) == REPLICAS and name not in {pod.name for pod in found}

    until(has_recovered, "a pod in place of the one that was deleted", 600, 0.5)
    return time.monotonic() - began


def counted(place: Place) -> int:
    """Return how many decisions of the revision the detector service has counted in closed slots."""
    slots = place.get("detector", 8090, f"v1/slots/{MODEL}")
    arms = [slot["arms"][place.deployed.revision] for slot in slots if place.deployed.revision in slot["arms"]]
    return sum(arm.get("scored", 0) for arm in arms)


def archived() -> set[str]:
    """Return the events whose decisions have come to the archive: the rest is still in the files of the new pods."""
    time.sleep(ARCHIVED_WITHIN)
    store = open_store(DECISIONS)
    return {json.loads(line)["event_id"] for path in store.paths("") for line in store.read(path).splitlines()}


def test_pods_of_the_model_go_one_after_the_other_and_no_request_fails(
    place: Place, ingress: str, replicas: None
) -> None:
    before = counted(place)
    with constant_rate(ingress, place.deployed.url, population(32, "k"), RATE) as load:
        time.sleep(CALM)
        seconds = [kill(place, pod.name) for pod in place.cluster.ready_pods(place.deployed.revision)]
        time.sleep(CALM)
    decided = {answer.event_id for answer in load.answers if not answer.failure}
    words = f"of {len(load.answers):,} at {RATE:g} a second, both of {REPLICAS} pods deleted in turn"
    cluster_number(
        "failed_requests_pod_kill", len(load.failures), f"{words}; each replaced in {max(seconds):.0f} s at most"
    )
    assert load.failures == []
    until(lambda: counted(place) >= before + len(decided), "the copies of all decisions at the detector", 60)
    lost = decided - archived()
    cluster_number(
        "decisions_lost", len(lost), f"of {len(decided):,} while both pods were deleted: records in the archive"
    )
    assert lost == set()


def test_neither_detector_nor_controller_stands_in_the_way_of_a_request(place: Place, load: Load) -> None:
    seconds = {part: place.delete_pod(part) for part in ("detector", "controller")}
    time.sleep(CALM)
    assert load.failures == [], seconds
    told = ", ".join(f"{part} {value:.1f} s" for part, value in seconds.items())
    cluster_number("services_recovery_seconds", max(seconds.values()), f"from the deletion until ready: {told}")


def publish_recovery(part: str, load: Load, began: float) -> None:
    """Publish how long after a deletion the last request failed."""
    ended = [answer.sent + answer.seconds - began for answer in load.failures]
    words = f"from the deletion of its one pod until the last failed request, {len(ended)} of {len(load.answers)}"
    cluster_number(f"{part}_recovery_seconds", max(ended, default=0.0), words)


def test_requests_are_answered_again_once_redis_is_back_and_no_state_is_lost(place: Place, load: Load) -> None:
    api = CoreV1Api(place.client)
    (name,) = place.pods("redis")
    began = time.monotonic()
    place.delete_pod("redis")
    back = time.monotonic()
    assert name not in place.pods("redis")
    time.sleep(3 * CALM)
    publish_recovery("redis", load, began)
    assert [answer for answer in load.failures if answer.sent > back + CALM] == []
    (fresh,) = place.pods("redis")
    log = api.read_namespaced_pod_log(fresh, place.namespace)
    assert "DB loaded from append only file" in log or "DB loaded from incr file" in log


def test_requests_are_answered_again_once_the_ingress_is_back(client: ApiClient, load: Load) -> None:
    api, selector = CoreV1Api(client), "app=3scale-kourier-gateway"
    (pod,) = api.list_namespaced_pod("kourier-system", label_selector=selector).items
    began = time.monotonic()
    api.delete_namespaced_pod(pod.metadata.name, "kourier-system")

    def is_back() -> bool:
        found = api.list_namespaced_pod("kourier-system", label_selector=selector).items
        names = {one.metadata.name for one in found}
        status = AppsV1Api(client).read_namespaced_deployment_status("3scale-kourier-gateway", "kourier-system").status
        return pod.metadata.name not in names and bool(status.ready_replicas)

    until(is_back, "another pod of the ingress", 600, 0.5)
    back = time.monotonic()
    time.sleep(3 * CALM)
    publish_recovery("ingress", load, began)
    assert [answer for answer in load.failures if answer.sent > back + CALM] == []
