"""The executor input as Kubeflow's driver writes it, made of the one of a local run, and the way back of the outputs.

What differs was read in the driver of Kubeflow Pipelines 2.17: artifacts lie in a bucket, whole numbers have no point,
outputs have a place and no name yet, and the end of a run is told in other words and without its error.
"""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Document = dict[str, Any]

BUCKET = "minio://mlpipeline/v2/artifacts"
MOUNT = "/minio/mlpipeline/v2/artifacts"
"""Where kfp's executor looks for what lies in the bucket; the launcher, or here a volume, puts it there."""
OUTPUTS = "/tmp/kfp_outputs"
OUTPUT_FILE = f"{OUTPUTS}/output_metadata.json"
_PARAMETERS = "/tmp/kfp/outputs"
_TASK = "pipeline_task_name"
_WENT_WELL = {"SUCCEEDED": "COMPLETE"}


def as_driven(given: Document, root: Path, run: str) -> Document:
    """Return the executor input of a local run, whose files are below `root`, as the driver would have made it."""
    found: Document = _whole(copy.deepcopy(given))
    inputs, outputs = found.get("inputs", {}), found["outputs"]
    for name, value in inputs.get("parameterValues", {}).items():
        if isinstance(value, dict) and _TASK in value:
            inputs["parameterValues"][name] = _final_status(value, run)
    for artifact in (*_artifacts(inputs), *_artifacts(outputs)):
        artifact["uri"] = _moved(artifact["uri"], str(root), BUCKET)
    for artifact in _artifacts(outputs):
        artifact.pop("name", None)
        artifact.pop("metadata", None)
    outputs["outputFile"] = OUTPUT_FILE
    for name, parameter in outputs.get("parameters", {}).items():
        parameter["outputFile"] = f"{_PARAMETERS}/{name}"
    return found


def as_local(written: Document, root: Path) -> Document:
    """Return what the executor has written, with the places and names that a local run goes on with."""
    found = copy.deepcopy(written)
    for artifact in _artifacts(found):
        artifact["uri"] = _moved(artifact["uri"], BUCKET, str(root))
    for name, entry in found.get("artifacts", {}).items():
        for artifact in entry["artifacts"]:
            artifact["name"] = name
    return found


def _final_status(status: Document, run: str) -> Document:
    return {
        "state": _WENT_WELL.get(status["state"], status["state"]),
        "pipelineJobResourceName": run,
        "pipelineTaskName": status[_TASK],
        "error": {},
    }


def _artifacts(part: Document) -> Iterator[Document]:
    for entry in part.get("artifacts", {}).values():
        yield from entry["artifacts"]


def _moved(uri: str, source: str, target: str) -> str:
    if not uri.startswith(f"{source}/"):
        raise ValueError(f"{uri} does not lie below {source}")
    return target + uri.removeprefix(source)


def _whole(value: Any) -> Any:
    """Return the value with whole numbers as Go writes them."""
    if isinstance(value, dict):
        return {key: _whole(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_whole(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
