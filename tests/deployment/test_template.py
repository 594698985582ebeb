"""The rendered InferenceService: one unit, as Knative takes it, confined, and the same for the same request."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deployment.samples import request
from vigil.deployment.template import fill, load_profile, render, service_name, template_hash
from vigil.errors import ContractError

TEMPLATES = Path(__file__).parents[2] / "kserve" / "templates"


@pytest.fixture
def service() -> dict[str, Any]:
    return render(request())


def containers(service: dict[str, Any]) -> dict[str, Any]:
    return {container["name"]: container for container in service["spec"]["predictor"]["containers"]}


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {item["name"]: item["value"] for item in container["env"]}


def test_transformer_and_predictor_are_one_unit(service: dict[str, Any]) -> None:
    assert set(containers(service)) == {"kserve-container", "transformer-container"}
    assert set(service["spec"]) == {"predictor"}


def test_only_the_transformer_has_a_port_and_probes(service: dict[str, Any]) -> None:
    predictor, transformer = containers(service)["kserve-container"], containers(service)["transformer-container"]
    assert transformer["ports"] == [{"containerPort": 8080, "protocol": "TCP"}]
    probes = {"startupProbe", "readinessProbe", "livenessProbe"}
    assert probes <= set(transformer)
    assert not (probes | {"ports"}) & set(predictor)


def test_readiness_asks_for_the_model_and_liveness_only_for_the_process(service: dict[str, Any]) -> None:
    transformer = containers(service)["transformer-container"]
    assert transformer["readinessProbe"]["httpGet"] == {"path": "/v2/models/card_fraud/ready", "port": 8080}
    assert transformer["livenessProbe"]["httpGet"] == {"path": "/v2/health/live", "port": 8080}


def test_the_predictor_listens_where_the_transformer_asks_and_nowhere_else(service: dict[str, Any]) -> None:
    predictor, transformer = containers(service)["kserve-container"], containers(service)["transformer-container"]
    assert {"--host=127.0.0.1", "--http_port=8085"} <= set(predictor["args"])
    assert {"--host=0.0.0.0", "--http_port=8080", "--predictor_host=localhost:8085"} <= set(transformer["args"])
    ports = [argument for argument in predictor["args"] + transformer["args"] if "_port=" in argument]
    assert len(set(ports)) == 4


def test_the_answers_carry_the_vectors_that_the_detector_service_watches(service: dict[str, Any]) -> None:
    assert "--vectors" in containers(service)["transformer-container"]["args"]
    assert "--vectors" not in containers(service)["kserve-container"]["args"]


def test_only_the_predictor_gets_the_bundle(service: dict[str, Any]) -> None:
    predictor, transformer = containers(service)["kserve-container"], containers(service)["transformer-container"]
    assert environment(predictor)["STORAGE_URI"] == request().bundle_uri
    assert "STORAGE_URI" not in environment(transformer)


def test_the_mode_is_said_explicitly(service: dict[str, Any]) -> None:
    assert service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Knative"


def test_every_container_is_confined(service: dict[str, Any]) -> None:
    for container in containers(service).values():
        assert container["securityContext"] == {
            "runAsNonRoot": True,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        }
    assert service["spec"]["predictor"]["automountServiceAccountToken"] is False


def test_each_container_writes_to_a_folder_of_its_own_and_nowhere_else(service: dict[str, Any]) -> None:
    mounts = [mount for container in containers(service).values() for mount in container["volumeMounts"]]
    assert [mount["mountPath"] for mount in mounts if not mount.get("readOnly")] == ["/tmp", "/tmp"]
    volumes = {volume["name"]: volume for volume in service["spec"]["predictor"]["volumes"]}
    written = [volumes[mount["name"]] for mount in mounts if not mount.get("readOnly")]
    assert written == [{"name": "predictor-tmp", "emptyDir": {}}, {"name": "transformer-tmp", "emptyDir": {}}]


def test_only_the_predictor_reads_the_key_that_bundles_are_verified_by(service: dict[str, Any]) -> None:
    readers = {
        name: [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "public-key"]
        for name, container in containers(service).items()
    }
    assert readers == {"kserve-container": ["/etc/vigil/secrets"], "transformer-container": []}
    (volume,) = [one for one in service["spec"]["predictor"]["volumes"] if one["name"] == "public-key"]
    assert volume["configMap"]["optional"] is True


def test_a_copy_of_each_request_and_answer_goes_to_the_detector_service(service: dict[str, Any]) -> None:
    logger = service["spec"]["predictor"]["logger"]
    namespace = service["metadata"]["namespace"]
    assert logger == {"mode": "all", "url": f"http://detector.{namespace}.svc.cluster.local:8090/"}


def test_what_speaks_grpc_is_a_service_of_its_own_whose_one_port_is_that_of_grpc() -> None:
    service = render(request(protocol="grpc"))
    transformer = containers(service)["transformer-container"]
    assert service["metadata"]["name"] == "card-fraud-grpc"
    assert transformer["ports"] == [{"name": "h2c", "containerPort": 8081, "protocol": "TCP"}]
    assert "--grpc_port=8081" in transformer["args"]
    assert transformer["livenessProbe"]["tcpSocket"] == {"port": 8081}
    assert "httpGet" not in transformer["livenessProbe"]
    assert transformer["readinessProbe"]["httpGet"]["port"] == 8080
    assert "logger" not in service["spec"]["predictor"]


def test_knative_is_asked_for_nothing_that_it_refuses(service: dict[str, Any]) -> None:
    predictor = service["spec"]["predictor"]
    assert not {"terminationGracePeriodSeconds", "affinity", "topologySpreadConstraints"} & set(predictor)
    assert all("lifecycle" not in container for container in predictor["containers"])
    assert predictor["timeout"] == 60


def test_production_has_three_replicas_and_the_sizes_of_the_specification(service: dict[str, Any]) -> None:
    assert service["spec"]["predictor"]["minReplicas"] == 3
    for container in containers(service).values():
        assert container["resources"] == {
            "requests": {"cpu": "1", "memory": "2Gi"},
            "limits": {"cpu": "2", "memory": "4Gi"},
        }


def test_version_and_digest_are_told(service: dict[str, Any]) -> None:
    predictor = service["spec"]["predictor"]
    assert predictor["labels"]["vigil/version"] == "1"
    assert predictor["annotations"]["vigil/bundle"] == request().bundle_hash
    assert "--model_version=1" in containers(service)["kserve-container"]["args"]
    assert f"--bundle_hash={request().bundle_hash}" in containers(service)["kserve-container"]["args"]
    assert "--revision=$(K_REVISION)" in containers(service)["transformer-container"]["args"]


def test_environment_values_are_text_as_kubernetes_wants_them(service: dict[str, Any]) -> None:
    for container in containers(service).values():
        assert all(isinstance(item["value"], str) for item in container["env"])


def test_the_same_request_has_the_same_template_and_another_bundle_another(service: dict[str, Any]) -> None:
    assert template_hash(render(request())) == template_hash(service)
    assert template_hash(render(request("2"))) != template_hash(service)


def test_the_share_of_traffic_is_no_part_of_the_template(service: dict[str, Any]) -> None:
    assert render(request(traffic_percent=5)) == service


def test_production_refuses_an_image_that_may_change() -> None:
    with pytest.raises(ContractError, match="by its digest"):
        render(request(image="registry.example/vigil-python:latest"))
    assert render(request(image="dev.local/vigil-python:1", profile="local"))


def test_a_request_without_an_image_is_refused() -> None:
    with pytest.raises(ContractError, match="kserve/Dockerfile"):
        render(request(image=None))


def test_a_folder_of_this_machine_is_refused_as_a_bundle_of_a_cluster() -> None:
    with pytest.raises(ContractError, match="is not reached from a cluster"):
        render(request(bundle_uri="/srv/models/bundles/1"))


def test_an_unknown_profile_is_refused_with_the_known_ones() -> None:
    assert load_profile("local").min_replicas == 1
    with pytest.raises(ContractError, match="production, local"):
        load_profile("staging")


def test_names_become_names_of_kubernetes() -> None:
    assert service_name("card_fraud") == "card-fraud"
    with pytest.raises(ContractError, match="begin with a letter"):
        service_name("3d_secure")
    with pytest.raises(ContractError, match="at most"):
        service_name("a" * 40)


def test_a_template_of_another_mode_is_refused() -> None:
    template = yaml.safe_load((TEMPLATES / "inferenceservice.yaml").read_text())
    template["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] = "Standard"
    holes = load_profile("local").model_dump() | request().model_dump() | {"name": "card-fraud"}
    with pytest.raises(ContractError, match="only Knative"):
        fill(template, holes)


def test_a_hole_that_nothing_fills_is_named() -> None:
    with pytest.raises(ContractError, match=r"\$\{shoe_size\}"):
        fill({"metadata": {"name": "${shoe_size}"}}, {"name": "x"})


def test_values_never_become_structure() -> None:
    filled = fill(
        {"metadata": {"annotations": {"serving.kserve.io/deploymentMode": "Knative", "x": "${value}"}}},
        {"value": "a: {b: c}\n- ${name}"},
    )
    assert filled["metadata"]["annotations"]["x"] == "a: {b: c}\n- ${name}"


def test_the_hash_of_a_foreign_service_is_unknown() -> None:
    foreign = {"kind": "InferenceService", "metadata": {"name": "x"}, "spec": {"predictor": {"model": {}}}}
    assert template_hash(foreign) is None
