"""A model on a real KServe: deployed, asked, split, promoted, and a candidate that fails. The tests tell one story."""

from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client import ApiClient, CoreV1Api

from tests.cluster.names import CLAIM, RELEASE, SERVING_IMAGE
from tests.cluster.traffic import MODEL, Endpoint, decide_offline, make_events, steady_load
from vigil.deployment import Deployment, DeployRequest, Target
from vigil.deployment.cluster import Cluster
from vigil.deployment.inference import Pace, deploy_to_kserve
from vigil.deployment.template import render, service_name
from vigil.errors import Unavailable

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

ROWS, LARGE_ANSWERS = 25, 2_000


@pytest.fixture(scope="module")
def cluster(client: ApiClient, namespace: str) -> Cluster:
    return Cluster(namespace, client)


def request(cluster: Cluster, version: str, digest: str, **changes: Any) -> DeployRequest:
    return DeployRequest.model_validate(
        {
            "model": MODEL,
            "version": version,
            "bundle_uri": f"pvc://{CLAIM}/release",
            "bundle_hash": digest,
            "target": Target.KSERVE,
            "namespace": cluster.namespace,
            "image": SERVING_IMAGE,
            "profile": "local",
            **changes,
        }
    )


@pytest.fixture(scope="module")
def first(cluster: Cluster, bundle_hash: str) -> Deployment:
    """Version 1, which every test below finds deployed."""
    return deploy_to_kserve(request(cluster, "1", bundle_hash), cluster)


def split_of(ingress: str, url: str, requests: int) -> Counter[tuple[str, str]]:
    """Return how many of the requests each pair of model version and revision answered."""
    with Endpoint(ingress, url) as endpoint:
        answers = [endpoint.predict([event])[0] for event in make_events(requests, 7, "split")]
    return Counter((answer["model_version"], answer["revision"]) for answer in answers)


def test_the_cluster_takes_the_production_profile(cluster: Cluster, bundle_hash: str) -> None:
    pinned = request(
        cluster, "1", bundle_hash, model="dry_run", image="dev.local/v@sha256:" + "0" * 64, profile="production"
    )
    accepted = cluster.create(render(pinned), dry_run=True)
    assert accepted["spec"]["predictor"]["minReplicas"] == 3
    assert cluster.service(service_name("dry_run")) is None


def test_the_first_version_gets_all_traffic(first: Deployment) -> None:
    assert first.traffic == {first.revision: 100}
    assert first.changed


def test_the_same_request_again_changes_nothing(cluster: Cluster, bundle_hash: str, first: Deployment) -> None:
    again = deploy_to_kserve(request(cluster, "1", bundle_hash), cluster)
    assert again == first.model_copy(update={"changed": False})


def test_decisions_through_the_ingress_equal_those_made_offline(ingress: str, first: Deployment) -> None:
    events = make_events(60, 3)
    offline = decide_offline(events, RELEASE)
    with Endpoint(ingress, first.url) as endpoint:
        for event in events[:30]:
            (served,) = endpoint.predict([event])
            expected = offline[event.event_id]
            assert (served["action"], served["severity"]) == (expected.action, expected.severity)
            assert served["score"] == pytest.approx(expected.score, abs=1e-6)
            assert served["levels"] == pytest.approx(expected.levels, abs=1e-6)
            assert served["bundle"] == first.bundle_hash
        for event, served in zip(events[30:], endpoint.infer(events[30:]), strict=True):
            expected = offline[event.event_id]
            assert (served["action"], served["severity"]) == (expected.action, expected.severity)
            assert served["score"] == pytest.approx(expected.score, abs=1e-6)


def test_large_answers_arrive_whole(ingress: str, first: Deployment) -> None:
    """Without what the template says to Knative, its proxies cut off about one of 200."""
    events = make_events(ROWS, 4, "large")
    with Endpoint(ingress, first.url) as endpoint:
        for _ in range(LARGE_ANSWERS):
            assert len(endpoint.predict(events)) == ROWS


def test_a_mistake_of_a_client_is_told_through_the_ingress(ingress: str, first: Deployment) -> None:
    with Endpoint(ingress, first.url) as endpoint:
        status, answer = endpoint.ask("POST", f"/v1/models/{MODEL}:predict", {"instances": [{"event_id": "x"}]})
    assert status in (400, 422)
    assert "event_time" in str(answer["error"])


def test_both_containers_run_confined(client: ApiClient, namespace: str, first: Deployment) -> None:
    selector = f"serving.knative.dev/revision={first.revision}"
    (pod, *_) = CoreV1Api(client).list_namespaced_pod(namespace, label_selector=selector).items
    theirs = ("queue-proxy", "agent")  # of Knative, and of KServe
    ours = {c.name: c.security_context for c in pod.spec.containers if c.name not in theirs}
    assert set(ours) == {"kserve-container", "transformer-container"}
    assert all(context.read_only_root_filesystem and context.run_as_non_root for context in ours.values())
    assert pod.spec.termination_grace_period_seconds == 60
    assert all(status.restart_count == 0 for status in pod.status.container_statuses)


def test_a_canary_gets_its_share_and_pairs_never_mix(
    cluster: Cluster, bundle_hash: str, ingress: str, first: Deployment
) -> None:
    canary = deploy_to_kserve(request(cluster, "2", bundle_hash, traffic_percent=25), cluster)
    assert canary.traffic == {canary.revision: 25, first.revision: 75}
    served = split_of(ingress, canary.url, 400)
    assert set(served) == {("1", first.revision), ("2", canary.revision)}
    assert 60 <= served["2", canary.revision] <= 140  # 100 expected, 4.6 standard deviations each way


def test_promotion_under_load_fails_no_request(
    cluster: Cluster, bundle_hash: str, ingress: str, first: Deployment
) -> None:
    with steady_load(ingress, first.url) as load:
        promoted = deploy_to_kserve(request(cluster, "2", bundle_hash), cluster)
        served = split_of(ingress, promoted.url, 50)
    assert promoted.traffic == {promoted.revision: 100}
    assert set(served) == {("2", promoted.revision)}
    assert load.failures == []
    assert {"1", "2"} <= set(load.versions)


def test_less_traffic_for_a_promoted_version_never_brings_the_old_one_back(
    cluster: Cluster, bundle_hash: str, ingress: str, first: Deployment
) -> None:
    again = deploy_to_kserve(request(cluster, "2", bundle_hash, traffic_percent=10), cluster)
    assert (again.changed, again.traffic_percent) == (False, 100)
    assert {version for version, _ in split_of(ingress, first.url, 30)} == {"2"}


def test_a_candidate_that_never_gets_ready_is_reported_and_gets_no_traffic(
    cluster: Cluster, bundle_hash: str, ingress: str, bundles: Path, first: Deployment
) -> None:
    (bundles / "empty").mkdir(mode=0o755)
    broken = request(cluster, "3", bundle_hash, bundle_uri=f"pvc://{CLAIM}/empty", traffic_percent=50)
    with pytest.raises(Unavailable, match=r"kserve-container ended with .*manifest\.json"):
        deploy_to_kserve(broken, cluster, Pace(patience=timedelta(seconds=90)))
    assert {version for version, _ in split_of(ingress, first.url, 50)} == {"2"}


def test_the_next_candidate_is_split_with_the_version_that_was_stable(
    cluster: Cluster, bundle_hash: str, ingress: str, first: Deployment
) -> None:
    canary = deploy_to_kserve(request(cluster, "4", bundle_hash, traffic_percent=50), cluster)
    assert {version for version, _ in split_of(ingress, canary.url, 60)} == {"2", "4"}
