"""A step of the compiled pipeline in a pod of the pipeline image, as Kubeflow's executor starts it."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client import ApiClient, CoreV1Api

from tests.cluster.names import CLAIM, PIPELINE_IMAGE
from vigil.simulate import preset, simulate, write
from vigil.usecase import load_use_case, shipped

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
OUTPUT = "/out/executor_output.json"


def executor_input(parameters: dict[str, str], outputs: dict[str, str]) -> str:
    """Return what the launcher of Kubeflow hands to a component."""
    artifacts = {
        name: {"artifacts": [{"name": name, "type": {"schemaTitle": kind}, "uri": f"/out/{name}", "metadata": {}}]}
        for name, kind in outputs.items()
    }
    return json.dumps(
        {
            "inputs": {"parameterValues": parameters},
            "outputs": {"artifacts": artifacts, "outputFile": OUTPUT},
        }
    )


def run_pod(api: CoreV1Api, namespace: str, name: str, container: dict[str, Any]) -> tuple[int, str, str]:
    """Return exit code, what the executor wrote, and the log of a pod that runs to its end."""
    mounts = [{"name": "data", "mountPath": "/data", "readOnly": True}, {"name": "out", "mountPath": "/out"}]
    confined = {"runAsNonRoot": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    pod = {
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "containers": [
                {
                    "name": "main",
                    "image": PIPELINE_IMAGE,
                    "imagePullPolicy": "IfNotPresent",
                    "volumeMounts": mounts,
                    "securityContext": confined,
                    "terminationMessagePath": OUTPUT,
                    **container,
                }
            ],
            "volumes": [
                {"name": "data", "persistentVolumeClaim": {"claimName": CLAIM, "readOnly": True}},
                {"name": "out", "emptyDir": {}},
            ],
        },
    }
    api.create_namespaced_pod(namespace, pod)
    while True:
        found = api.read_namespaced_pod(name, namespace)
        if found.status.phase in ("Succeeded", "Failed"):
            ended = found.status.container_statuses[0].state.terminated
            return ended.exit_code, ended.message or "", api.read_namespaced_pod_log(name, namespace)
        time.sleep(1)


def test_a_step_runs_in_the_image_as_it_is_compiled(client: ApiClient, namespace: str, bundles: Path) -> None:
    write(simulate(preset("quiet", {"days": 5, "chain": {"sites": 2}})), bundles / "raw")
    for path in (bundles / "raw").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    compiled = next(yaml.safe_load_all((shipped("compiled") / "training.yaml").read_text()))
    container = compiled["deploymentSpec"]["executors"]["exec-validate-ingest"]["container"]
    parameters = {
        "use_case": load_use_case("card_fraud").text,
        "raw_uri": "/data/raw",
        "source": "canonical-transaction",
        "data_version": "",
        "code_version": "",
    }
    given = executor_input(parameters, {"events": "system.Dataset", "report": "system.HTML"})
    args = [given if argument == "{{$}}" else argument for argument in container["args"]]
    code, output, log = run_pod(
        CoreV1Api(client), namespace, "validate-ingest", {"command": container["command"], "args": args}
    )
    assert code == 0, log
    (events,) = json.loads(output)["artifacts"]["events"]["artifacts"]
    assert events["metadata"]["kind"] == "events"
    assert events["metadata"]["hash"].startswith("sha256:")
