"""The rendered shard of site models: one pod, whose state stays when it goes."""

from typing import Any

import pytest

from tests.deployment.samples import request
from vigil.deployment.template import render_sites
from vigil.errors import ContractError

Objects = tuple[dict[str, Any], dict[str, Any]]


@pytest.fixture
def objects() -> Objects:
    claim, service = render_sites(request(model="site_metrics-shard-03"))
    return claim, service


def test_all_readings_of_a_site_come_to_one_state_which_outlives_the_pod(objects: Objects) -> None:
    claim, service = objects
    predictor = service["spec"]["predictor"]
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (1, 1)
    assert predictor["deploymentStrategy"] == {"type": "Recreate"}
    (container,) = predictor["containers"]
    home = next(item["value"] for item in container["env"] if item["name"] == "VIGIL_HOME")
    mount = next(one for one in container["volumeMounts"] if one["mountPath"] == home)
    volume = next(one for one in predictor["volumes"] if one["name"] == mount["name"])
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert claim["metadata"]["namespace"] == service["metadata"]["namespace"]


def test_the_pod_serves_the_bundle_that_was_asked_for_and_no_other(objects: Objects) -> None:
    predictor = objects[1]["spec"]["predictor"]
    (container,) = predictor["containers"]
    asked = request(model="site_metrics-shard-03")
    assert f"--bundle_hash={asked.bundle_hash}" in container["args"]
    assert {"name": "STORAGE_URI", "value": asked.bundle_uri} in container["env"]
    assert predictor["labels"]["vigil/version"] == asked.version
    assert container["readinessProbe"]["httpGet"]["path"] == "/v2/models/site_metrics-shard-03/ready"


def test_the_pod_is_confined(objects: Objects) -> None:
    predictor = objects[1]["spec"]["predictor"]
    context = predictor["containers"][0]["securityContext"]
    assert context["runAsNonRoot"] and context["readOnlyRootFilesystem"]
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert predictor["automountServiceAccountToken"] is False


def test_the_same_request_gives_the_same_objects_and_another_bundle_others(objects: Objects) -> None:
    assert render_sites(request(model="site_metrics-shard-03")) == list(objects)
    assert render_sites(request("2", model="site_metrics-shard-03")) != list(objects)


def test_an_image_that_may_change_and_a_folder_of_this_machine_are_refused() -> None:
    with pytest.raises(ContractError, match="may change"):
        render_sites(request(image="vigil:latest"))
    with pytest.raises(ContractError, match="not reached from a cluster"):
        render_sites(request(bundle_uri="/bundles/1"))
