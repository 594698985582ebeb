"""Compiled pipelines whose steps run in pods, made as Kubeflow would make them.

kfp itself goes through the graph, in a local run of `vigil.orchestration`: of a copy of the pipeline, whose commands
start a pod each. So conditions, loops, exit handlers and what steps hand on are those of the compiled form.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.names import PIPELINE_IMAGE
from tests.cluster.steps_pod import RAN, VOLUME
from vigil.orchestration.ir import load_pipeline
from vigil.orchestration.local import LocalRequest, run_local
from vigil.orchestration.runs import LocalRun
from vigil.usecase import shipped

Document = dict[str, Any]
ACCOUNT = "pipeline-runner"
"""As whom Kubeflow runs steps, and to whom manifests/overlays/production gives the right to deploy."""
_CONFINED = {"runAsNonRoot": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
_TRANSLATED = {"activeDeadlineSeconds", "configMapAsEnv", "secretAsVolume"}


def compiled(name: str) -> Path:
    """Return the file of a compiled pipeline."""
    return shipped("compiled") / f"{name}.yaml"


def compiled_names() -> list[str]:
    return sorted(path.stem for path in shipped("compiled").glob("*.yaml"))


def executors(name: str) -> dict[str, Document]:
    """Return the container of each executor of a compiled pipeline."""
    (spec, *_) = yaml.safe_load_all(compiled(name).read_text())
    return {label: one["container"] for label, one in spec["deploymentSpec"]["executors"].items()}


def started(container: Document) -> tuple[str, ...]:
    """Return what a container starts, before it is told anything."""
    return (*container["command"], *container["args"])


@dataclass(frozen=True)
class Ran:
    """A step that has run in a pod."""

    pipeline: str
    executor: str
    code: int
    seconds: float


@dataclass(frozen=True)
class Workplace:
    """A namespace in which steps run, and the folder of the node below which their artifacts lie."""

    namespace: str
    root: Path

    def run(self, name: str, arguments: Mapping[str, Any]) -> LocalRun:
        """Run a compiled pipeline of the checkout to its end."""
        spec, platform = yaml.safe_load_all(compiled(name).read_text())
        limits = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        orders, pods = self.root / name / "orders.json", {}
        for label, executor in spec["deploymentSpec"]["executors"].items():
            container = executor["container"]
            pods[label] = self._pod(copy.deepcopy(container), limits.get(label, {}))
            runner = ["python3", "-m", "tests.cluster.steps_pod", str(orders), label]
            container["command"] = [*runner, *container["command"]]
        orders.parent.mkdir()
        told = {"pipeline": name, "namespace": self.namespace, "root": str(self.root), "pods": pods}
        orders.write_text(json.dumps(told))
        (copied := orders.with_name(f"{name}.yaml")).write_text(yaml.safe_dump(spec))
        return run_local(LocalRequest(load_pipeline(copied), arguments, orders.parent))

    def ran(self) -> list[Ran]:
        """Return every step that has run to its end."""
        files = sorted(self.root.glob(f"*/{RAN}"))
        return [Ran(**json.loads(line)) for path in files for line in path.read_text().splitlines()]

    def _pod(self, container: Document, limits: Document) -> Document:
        """Return the pod of an executor, as far as it is known before the run."""
        if unknown := set(limits) - _TRANSLATED:
            raise ValueError(f"nobody has said here what Kubeflow makes of {', '.join(sorted(unknown))}")
        secrets = limits.get("secretAsVolume", [])
        main = {
            "name": "main",
            "image": PIPELINE_IMAGE,
            "imagePullPolicy": "IfNotPresent",
            "command": container["command"],
            "args": container["args"],
            "env": _variables(limits),
            "resources": _resources(container["resources"]),
            "securityContext": _CONFINED,
            "volumeMounts": [{"name": one["secretName"], "mountPath": one["mountPath"]} for one in secrets],
        }
        keys = [{name: one[name] for name in ("secretName", "optional")} for one in secrets]
        return {
            "spec": {
                "restartPolicy": "Never",
                "serviceAccountName": ACCOUNT,
                "activeDeadlineSeconds": int(limits["activeDeadlineSeconds"]),
                "containers": [main],
                "volumes": [
                    {"name": VOLUME, "hostPath": {"path": str(self.root), "type": "Directory"}},
                    *({"name": one["secretName"], "secret": one} for one in keys),
                ],
            }
        }


def _resources(asked: Document) -> Document:
    """Return the limits of a step; what it asks for at least would not fit the small node of the tests."""
    limits = {"cpu": asked["resourceCpuLimit"], "memory": asked["resourceMemoryLimit"]}
    return {"limits": limits, "requests": {"cpu": "50m", "memory": "256Mi"}}


def _variables(limits: Document) -> list[Document]:
    """Return the environment that the pipeline takes from ConfigMaps."""
    return [
        {
            "name": pair["envVar"],
            "valueFrom": {
                "configMapKeyRef": {
                    "name": one["configMapName"],
                    "key": pair["configMapKey"],
                    "optional": one["optional"],
                }
            },
        }
        for one in limits.get("configMapAsEnv", ())
        for pair in one["keyToEnv"]
    ]
