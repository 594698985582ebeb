"""Runs one step of a local run in a pod: `python -m tests.cluster.steps_pod ORDERS EXECUTOR COMMAND...`.

Of the command only the executor input is taken. Command and arguments of the pod are those of the compiled pipeline.
"""

import json
import os
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kubernetes import config
from kubernetes.client import CoreV1Api

from tests.cluster.steps_driver import MOUNT, OUTPUT_FILE, OUTPUTS, as_driven, as_local

Document = dict[str, Any]
INPUT, PLACEHOLDER = "--executor_input", "{{$}}"
RAN = "ran.jsonl"
VOLUME = "artifacts"
PATIENCE = 1500.0


def main(arguments: Sequence[str]) -> int:
    """Run the pod to its end, hand its outputs to the local run, and return its exit code."""
    path, executor, *command = arguments
    orders = json.loads(Path(path).read_text())
    given, root = json.loads(command[command.index(INPUT) + 1]), Path(orders["root"])
    output = Path(given["outputs"]["outputFile"])
    exchange = output.parent / "kfp_outputs"
    run_name = output.relative_to(root).parts[1]
    for folder in (output.parent, exchange):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)  # the pod has a user of its own
    pod = orders["pods"][executor]
    complete(pod, executor, json.dumps(as_driven(given, root, run_name)), exchange.relative_to(root))
    began = time.monotonic()
    code = run(CoreV1Api(config.new_client_from_config()), orders["namespace"], pod)
    written = exchange / Path(OUTPUT_FILE).name
    if code == 0:
        output.write_text(json.dumps(as_local(json.loads(written.read_text()), root)))
    note(Path(path).with_name(RAN), orders["pipeline"], executor, code, time.monotonic() - began)
    return code


def complete(pod: Document, executor: str, executor_input: str, exchange: Path) -> None:
    """Give the pod a name, what the step is told, and the folder that it writes its outputs to."""
    pod["metadata"] = {"name": f"{executor.removeprefix('exec-')}-{uuid.uuid4().hex[:8]}"}
    (container,) = pod["spec"]["containers"]
    container["args"] = [executor_input if one == PLACEHOLDER else one for one in container["args"]]
    container["volumeMounts"] += [
        {"name": VOLUME, "mountPath": MOUNT},
        {"name": VOLUME, "mountPath": OUTPUTS, "subPath": str(exchange)},
    ]


def run(api: CoreV1Api, namespace: str, pod: Document) -> int:
    """Return the exit code of the pod's container, after printing what it wrote."""
    name, deadline = pod["metadata"]["name"], time.monotonic() + PATIENCE
    api.create_namespaced_pod(namespace, pod)
    while True:
        status = api.read_namespaced_pod(name, namespace).status
        if status.phase in ("Succeeded", "Failed"):
            print(api.read_namespaced_pod_log(name, namespace), flush=True)
            states = [one.state.terminated for one in status.container_statuses or () if one.state.terminated]
            return int(states[0].exit_code) if states else complain(name, status)
        if time.monotonic() > deadline:
            return complain(name, status)
        time.sleep(0.5)


def complain(name: str, status: Any) -> int:
    """Return the exit code of a pod that never ran to its end, after printing what the cluster says about it."""
    print(f"pod {name} did not run to its end: {status}", flush=True)
    return 1


def note(path: Path, pipeline: str, executor: str, code: int, seconds: float) -> None:
    """Keep on record what has run, in one write: steps of a loop end side by side."""
    line = json.dumps({"pipeline": pipeline, "executor": executor, "code": code, "seconds": round(seconds, 1)})
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
