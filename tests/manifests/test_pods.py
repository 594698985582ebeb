"""Pods are confined, probed and sized, and are told only what they understand."""

from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from tests.manifests.build import MANIFESTS, OVERLAYS, Document, build, named
from vigil.alerts.settings import load_alert_settings
from vigil.cli import app
from vigil.monitoring.service.settings import load_service_settings
from vigil.rerun.settings import load_rerun_settings
from vigil.settings import load_settings

PRODUCTION = "overlays/production"


def pods(overlay: str) -> dict[str, Document]:
    return {
        name: one["spec"]["template"]["spec"] for name, one in named(build(MANIFESTS / overlay), "Deployment").items()
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_container_is_confined(overlay: str) -> None:
    for name, pod in pods(overlay).items():
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] >= 10_000, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod), name
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_container_has_probes_and_sizes(overlay: str) -> None:
    for name, pod in pods(overlay).items():
        for container in pod["containers"]:
            assert {"startupProbe", "livenessProbe"} <= set(container), name
            assert "readinessProbe" in container or name == "controller", name
            for part in ("requests", "limits"):
                assert set(container["resources"][part]) == {"cpu", "memory"}, name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_is_mounted_is_there(overlay: str) -> None:
    documents = build(MANIFESTS / overlay)
    claims, maps = named(documents, "PersistentVolumeClaim"), named(documents, "ConfigMap")
    for name, pod in pods(overlay).items():
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        mounted = {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]}
        assert mounted == set(volumes), name
        for volume in volumes.values():
            assert volume.get("persistentVolumeClaim", {}).get("claimName") in {None, *claims}, name
            map_source = volume.get("configMap", {"optional": True})
            assert map_source.get("optional") or map_source["name"] in maps, name


def test_a_service_with_state_is_one_pod_that_is_gone_before_the_next_one_comes() -> None:
    for name, deployment in named(build(MANIFESTS / PRODUCTION), "Deployment").items():
        assert deployment["spec"]["replicas"] == 1, name
        assert deployment["spec"]["strategy"] == {"type": "Recreate"}, name


def test_the_pods_of_the_services_are_spread_over_the_nodes() -> None:
    for name, pod in pods(PRODUCTION).items():
        (spread,) = pod["topologySpreadConstraints"]
        assert spread["topologyKey"] == "kubernetes.io/hostname", name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_service_of_the_namespace_becomes_a_setting(overlay: str) -> None:
    """A Service `vigil-x` would be the environment variable VIGIL_X_PORT of every pod that is not told otherwise."""
    assert not [name for name in named(build(MANIFESTS / overlay), "Service") if name.startswith("vigil")]
    assert all(pod["enableServiceLinks"] is False for pod in pods(overlay).values())


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_each_service_leads_to_a_port_of_its_pods(overlay: str) -> None:
    documents = build(MANIFESTS / overlay)
    deployments = named(documents, "Deployment")
    for name, service in named(documents, "Service").items():
        if name not in deployments:
            continue  # a store, or the serving pods
        (port,) = service["spec"]["ports"]
        (container,) = deployments[name]["spec"]["template"]["spec"]["containers"]
        assert {one["name"]: one["containerPort"] for one in container["ports"]} == {port["targetPort"]: port["port"]}
        labels = deployments[name]["spec"]["template"]["metadata"]["labels"]
        assert service["spec"]["selector"].items() <= labels.items()


@pytest.mark.parametrize("overlay", ["overlays/local", PRODUCTION])
@pytest.mark.parametrize("name", ["vigil-settings", "vigil-serving"])
def test_every_setting_is_known(overlay: str, name: str) -> None:
    data = named(build(MANIFESTS / overlay), "ConfigMap")[name]["data"]
    load_settings(data)
    assert not [key for key in data if "PASSWORD" in key or "TOKEN" in key]


@pytest.mark.parametrize("overlay", ["overlays/local", PRODUCTION])
def test_each_service_understands_its_file(overlay: str, tmp_path: Path) -> None:
    files = named(build(MANIFESTS / overlay), "ConfigMap")["vigil-operations"]["data"]
    readers = {
        "detector.yaml": load_service_settings,
        "rerun.yaml": load_rerun_settings,
        "alerts.yaml": load_alert_settings,
    }
    assert set(files) == set(readers)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        readers[name](tmp_path / name)  # type: ignore[operator]


@pytest.mark.parametrize("name", ["controller", "rerun", "alerts"])
def test_the_command_line_takes_what_a_pod_is_started_with(name: str) -> None:
    (container,) = pods(PRODUCTION)[name]["containers"]
    program, *arguments = container["command"]
    assert program == "vigil"
    parse(arguments)


def parse(arguments: list[str]) -> None:
    """Let click read a command line down to its last command, without running anything."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("vigil", list(arguments), resilient_parsing=False)
    while hasattr(command, "commands"):
        rest = [*context._protected_args, *context.args]
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)


def test_one_serving_pod_may_be_taken_away_at_a_time() -> None:
    budgets = named(build(MANIFESTS / PRODUCTION), "PodDisruptionBudget")
    assert budgets["serving"]["spec"]["maxUnavailable"] == 1
    (expression,) = budgets["serving"]["spec"]["selector"]["matchExpressions"]
    assert expression == {"key": "serving.knative.dev/revision", "operator": "Exists"}


def test_the_budget_and_the_network_know_serving_pods_by_labels_of_the_template() -> None:
    template = yaml.safe_load((MANIFESTS.parent / "kserve/templates/inferenceservice.yaml").read_text())
    labels = template["spec"]["predictor"]["labels"]
    assert labels["vigil/store"] == "true"
    metrics = named(build(MANIFESTS / "monitoring"), "Service")["serving-metrics"]["spec"]
    assert metrics["selector"].items() <= labels.items()
    assert metrics["clusterIP"] == "None"
