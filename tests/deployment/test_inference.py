"""What is sent to the cluster, exactly, and what is made of its answers."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.deployment.kube import World, serve
from tests.deployment.samples import request
from vigil.clock import ManualClock
from vigil.deployment.cluster import Cluster
from vigil.deployment.inference import Pace, deploy_to_kserve
from vigil.deployment.request import Deployment
from vigil.deployment.template import render
from vigil.errors import ContractError, Unavailable

Deploy = Callable[..., Deployment]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def deploy(world: World) -> Iterator[Deploy]:
    clock = ManualClock(datetime(2026, 6, 1, tzinfo=UTC))
    pace = Pace(clock=clock, sleep=lambda seconds: clock.advance(timedelta(seconds=seconds)))
    with serve(world) as client:
        yield lambda version="1", **changes: deploy_to_kserve(
            request(version, **changes), Cluster("fraud", client), pace
        )


def crashed_pod(container: str, message: str) -> dict[str, Any]:
    terminated = {"exitCode": 78, "reason": "Error", "message": message}
    status = {
        "name": container,
        "image": "i",
        "imageID": "i",
        "ready": False,
        "restartCount": 3,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": terminated},
    }
    return {
        "metadata": {"name": "x"},
        "spec": {"containers": [{"name": container}]},
        "status": {"containerStatuses": [status]},
    }


def last_patch(world: World) -> dict[str, Any]:
    sent = world.writes()[-1]
    assert (sent.method, sent.content_type) == ("PATCH", "application/merge-patch+json")
    assert sent.path == "/apis/serving.kserve.io/v1beta1/namespaces/fraud/inferenceservices/card-fraud"
    return sent.body


def test_the_first_version_is_created_and_gets_everything_whatever_was_asked(world: World, deploy: Deploy) -> None:
    done = deploy("1", traffic_percent=5)
    (sent,) = world.writes()
    assert (sent.method, sent.body) == ("POST", render(request("1")))
    assert done.changed
    assert done.traffic == {"card-fraud-predictor-00001": 100}
    assert done.traffic_percent == 100
    assert done.url == "http://card-fraud-predictor.fraud.example.com"


def test_the_same_request_twice_sends_nothing_the_second_time(world: World, deploy: Deploy) -> None:
    first = deploy("1")
    again = deploy("1")
    assert len(world.writes()) == 1
    assert again == first.model_copy(update={"changed": False})


def test_a_canary_is_one_patch_of_template_and_traffic(world: World, deploy: Deploy) -> None:
    deploy("1")
    before = world.services["card-fraud"]["metadata"]["resourceVersion"]
    done = deploy("2", traffic_percent=20)
    assert len(world.writes()) == 2
    assert last_patch(world) == {
        "metadata": {"resourceVersion": before},
        "spec": {"predictor": {**render(request("2"))["spec"]["predictor"], "canaryTrafficPercent": 20}},
    }
    assert done.traffic == {"card-fraud-predictor-00002": 20, "card-fraud-predictor-00001": 80}
    assert done.revision == "card-fraud-predictor-00002"


def test_a_canary_of_nothing_is_deployed_and_gets_nothing(deploy: Deploy) -> None:
    deploy("1")
    assert deploy("2", traffic_percent=0).traffic == {
        "card-fraud-predictor-00002": 0,
        "card-fraud-predictor-00001": 100,
    }


def test_more_traffic_for_a_canary_is_a_patch_of_traffic_alone(world: World, deploy: Deploy) -> None:
    deploy("1")
    deploy("2", traffic_percent=20)
    assert deploy("2", traffic_percent=50).traffic_percent == 50
    assert last_patch(world)["spec"] == {"predictor": {"canaryTrafficPercent": 50}}


def test_promotion_is_a_null(world: World, deploy: Deploy) -> None:
    deploy("1")
    deploy("2", traffic_percent=20)
    assert deploy("2").traffic == {"card-fraud-predictor-00002": 100}
    assert last_patch(world)["spec"] == {"predictor": {"canaryTrafficPercent": None}}


def test_a_version_that_has_everything_never_loses_it_to_the_version_before(world: World, deploy: Deploy) -> None:
    deploy("1")
    deploy("2")
    sent = len(world.writes())
    done = deploy("2", traffic_percent=20)
    assert len(world.writes()) == sent
    assert (done.traffic_percent, done.changed) == (100, False)


def test_traffic_to_another_version_than_the_one_that_was_stable_is_noticed(world: World, deploy: Deploy) -> None:
    deploy("1")
    deploy("2")
    world.rolled_out_slips = True
    with pytest.raises(Unavailable, match=r"ready, but the traffic goes to .*00001.* instead of .*00002"):
        deploy("3", traffic_percent=20)


def test_a_new_version_takes_the_place_of_a_canary(deploy: Deploy) -> None:
    deploy("1")
    deploy("2", traffic_percent=20)
    assert deploy("3", traffic_percent=10).traffic == {
        "card-fraud-predictor-00003": 10,
        "card-fraud-predictor-00001": 90,
    }


def test_a_patch_that_meets_another_change_is_decided_anew(world: World, deploy: Deploy) -> None:
    deploy("1")
    world.rival = {"metadata": {"labels": {"team": "risk"}}}
    assert deploy("2", traffic_percent=20).traffic_percent == 20
    assert world.services["card-fraud"]["metadata"]["labels"]["team"] == "risk"


def test_a_status_from_before_the_patch_is_not_taken_for_success(world: World, deploy: Deploy) -> None:
    deploy("1")
    world.outlook = "pending"
    with pytest.raises(Unavailable, match="not ready after"):
        deploy("2", timeout_seconds=5)
    world.lag, world.outlook = 3, "ready"
    assert deploy("3").revision == "card-fraud-predictor-00003"


def test_a_candidate_that_fails_is_reported_with_its_reason_and_the_pods_words(world: World, deploy: Deploy) -> None:
    deploy("1")
    world.outlook = "failing"
    world.pods = [crashed_pod("kserve-container", "error: /mnt/models has no manifest.json")]
    with pytest.raises(Unavailable, match=r"ExitCode1.*no such bundle.*has no manifest\.json"):
        deploy("2", traffic_percent=20)
    assert world.services["card-fraud"]["status"]["components"]["predictor"]["traffic"] == [
        {"revisionName": "card-fraud-predictor-00001", "percent": 20, "latestRevision": True},
        {"revisionName": "card-fraud-predictor-00001", "percent": 80, "tag": "prev"},
    ]


def test_a_predictor_that_crashes_is_noticed_although_knative_looks_at_the_transformer_alone(
    world: World, deploy: Deploy
) -> None:
    deploy("1")
    world.outlook = "pending"
    world.pods = [crashed_pod("kserve-container", "no permission for gs://models")]
    with pytest.raises(Unavailable, match=r"does not get ready: kserve-container ended with 78 .*no permission"):
        deploy("2")


def test_a_container_that_has_recovered_is_no_failure(world: World, deploy: Deploy) -> None:
    deploy("1")
    world.outlook = "pending"
    world.pods = [crashed_pod("kserve-container", "the store did not answer")]
    world.pods[0]["status"]["containerStatuses"][0] |= {"ready": True, "state": {"running": {}}}
    with pytest.raises(Unavailable, match="names no reason"):
        deploy("2", timeout_seconds=200)


def test_a_pod_that_no_node_takes_is_told(world: World, deploy: Deploy) -> None:
    deploy("1")
    world.outlook = "pending"
    condition = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available: 1 Insufficient cpu."}
    world.pods = [{"metadata": {"name": "x"}, "spec": {"containers": []}, "status": {"conditions": [condition]}}]
    with pytest.raises(Unavailable, match="no node takes the pod: 0/1 nodes are available: 1 Insufficient cpu"):
        deploy("2")


def test_a_failure_that_heals_within_the_patience_is_no_failure(world: World) -> None:
    with serve(world) as client:
        clock = ManualClock(datetime(2026, 6, 1, tzinfo=UTC))

        def sleep(seconds: float) -> None:
            clock.advance(timedelta(seconds=seconds))
            if world.outlook == "failing":
                world.outlook = "ready"
                world.put(world.services["card-fraud"])

        world.outlook = "failing"
        done = deploy_to_kserve(request("1"), Cluster("fraud", client), Pace(clock=clock, sleep=sleep))
    assert done.traffic_percent == 100


@pytest.mark.parametrize("mode", ["Standard", "RawDeployment", "ModelMesh"])
def test_a_mode_in_which_a_canary_gets_no_traffic_is_refused(world: World, deploy: Deploy, mode: str) -> None:
    deploy("1")
    world.services["card-fraud"]["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] = mode
    with pytest.raises(ContractError, match=f"runs in mode {mode}, where a canary gets no traffic"):
        deploy("2", traffic_percent=20)
    assert len(world.writes()) == 1


def test_the_mode_of_the_status_counts_too(world: World, deploy: Deploy) -> None:
    deploy("1")
    world.services["card-fraud"]["status"]["deploymentMode"] = "Standard"
    with pytest.raises(ContractError, match="mode Standard"):
        deploy("2")


def test_a_service_of_someone_else_is_left_alone(world: World, deploy: Deploy) -> None:
    deploy("1")
    world.services["card-fraud"]["metadata"]["labels"] = {}
    with pytest.raises(ContractError, match="was not made by vigil"):
        deploy("2")
    assert len(world.writes()) == 1


def test_another_deployment_meanwhile_is_noticed(world: World) -> None:
    with serve(world) as client:
        rival = {"vigil/template": "sha256:" + "0" * 64}

        def sleep(_: float) -> None:
            world.services["card-fraud"]["spec"]["predictor"]["annotations"] = rival

        world.outlook = "pending"
        with pytest.raises(Unavailable, match="another version of card-fraud was deployed meanwhile"):
            deploy_to_kserve(request("1"), Cluster("fraud", client), Pace(sleep=sleep))


@pytest.mark.parametrize(
    ("status", "error"), [(403, ContractError), (400, ContractError), (500, Unavailable), (429, Unavailable)]
)
def test_a_refusal_is_told_in_the_words_of_the_cluster(
    world: World, deploy: Deploy, status: int, error: type[Exception]
) -> None:
    world.refusals = [(status, "admission webhook denied: too few replicas")] * 2
    with pytest.raises(error, match=r"cannot create .* card-fraud in fraud: .* denied: too few replicas"):
        deploy("1")


def test_a_cluster_that_does_not_answer_is_unavailable(world: World) -> None:
    with serve(world) as client:
        client.configuration.retries = False
        cluster = Cluster("fraud", client)
    with pytest.raises(Unavailable, match="cannot read inferenceservices card-fraud"):
        deploy_to_kserve(request("1"), cluster)
