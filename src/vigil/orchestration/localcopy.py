"""The copy of a compiled pipeline that runs on this machine: every step under our watch, no waits of five minutes."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vigil.errors import ContractError
from vigil.orchestration.ir import CompiledPipeline

_EXECUTOR = "kfp.dsl.executor_main"
_BACKOFF = "1s"


def local_spec(pipeline: CompiledPipeline, folder: Path, retries: int) -> dict[str, Any]:
    """Return the pipeline with each command under `vigil.orchestration.step` and with `retries` a second apart.

    The steps note in `folder` how they went.

    On a cluster a step that failed is tried again after five minutes. Here the cause is nearly always in the data or
    the code, and someone waits: so it is not tried again unless asked for.
    """
    spec = copy.deepcopy(dict(pipeline.spec))
    for label, executor in spec["deploymentSpec"]["executors"].items():
        if "importer" in executor:
            continue
        container = executor.get("container", {})
        _check(pipeline, label, container)
        key = label.removeprefix("exec-")
        # kfp asks of a command only that it mentions its executor somewhere.
        container["command"] = ["python3", "-m", "vigil.orchestration.step", str(folder), key, *container["command"]]
    for task in _tasks(spec):
        task.pop("retryPolicy", None)
        if retries:
            task["retryPolicy"] = {
                "maxRetryCount": retries,
                "backoffDuration": _BACKOFF,
                "backoffFactor": 1.0,
                "backoffMaxDuration": _BACKOFF,
            }
    return spec


def _check(pipeline: CompiledPipeline, label: str, container: dict[str, Any]) -> None:
    command = container.get("command", [])
    script = " ".join(command[:-1])
    if _EXECUTOR not in script:
        raise ContractError(f"{pipeline.name}: {label} is no Python component: it runs on a cluster only")
    if "pip install" in script:
        raise ContractError(
            f"{pipeline.name}: {label} installs packages when it starts: declare it with install_kfp_package=False and"
            " without packages_to_install, and put the packages into the image"
        )


def _tasks(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    graphs = [spec["root"], *spec["components"].values()]
    for graph in graphs:
        yield from graph.get("dag", {}).get("tasks", {}).values()
