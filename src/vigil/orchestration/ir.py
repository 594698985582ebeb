"""What a compiled pipeline says about itself. Reading it needs no kfp, so `vigil --help` stays fast."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from vigil.contracts.keys import ContentHash, hash_json
from vigil.errors import ContractError

_CONDITION = re.compile(r"inputs\.parameter_values\['pipelinechannel--([^']+)'\]\s*(==|!=|<=|>=|<|>)\s*(.+)")


class Kind(StrEnum):
    """Types of a pipeline's parameters, as the compiled form writes them."""

    TEXT = "STRING"
    INTEGER = "NUMBER_INTEGER"
    NUMBER = "NUMBER_DOUBLE"
    BOOLEAN = "BOOLEAN"
    LIST = "LIST"
    STRUCT = "STRUCT"


@dataclass(frozen=True)
class Parameter:
    """A parameter of a pipeline."""

    name: str
    kind: Kind
    required: bool
    default: Any = None
    description: str = ""


@dataclass(frozen=True)
class Step:
    """One task of a pipeline, wherever it is nested."""

    key: str
    """Label of its executor, which is unique in the pipeline, without the prefix."""
    title: str
    conditions: tuple[str, ...] = ()
    """What must hold for it to run, in words; empty if it always runs."""
    is_exit_handler: bool = False
    artifact_kinds: Mapping[str, str] = field(default_factory=dict)
    """Type of each artifact that it makes, such as system.HTML."""


@dataclass(frozen=True)
class CompiledPipeline:
    """A compiled pipeline: its name, what it takes, and its steps in the order in which they can run."""

    path: Path
    spec: Mapping[str, Any]
    name: str
    title: str
    description: str
    parameters: Mapping[str, Parameter]
    steps: tuple[Step, ...]
    content_hash: ContentHash
    """Hash of everything in the file but the version of the compiler."""


_VERSION_DIGITS = 16


def version_name(pipeline: CompiledPipeline) -> str:
    """Return the name of this version on a server: the same content has the same name."""
    return f"{pipeline.name}-{pipeline.content_hash.removeprefix('sha256:')[:_VERSION_DIGITS]}"


def load_pipeline(path: Path) -> CompiledPipeline:
    """Return the compiled pipeline in the file, or raise ContractError if the file is none."""
    try:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ContractError(f"{path} cannot be read as a compiled pipeline: {error}") from error
    spec = documents[0] if documents else None
    if not isinstance(spec, dict) or not {"pipelineInfo", "root", "deploymentSpec"} <= spec.keys():
        raise ContractError(f"{path} is not a compiled pipeline: make one with `vigil pipeline compile`")
    try:
        return _read(path, spec, documents[1:])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ContractError(f"{path} is no pipeline that this version of Vigil can read: {error!r}") from error


def _read(path: Path, spec: Mapping[str, Any], platforms: list[Any]) -> CompiledPipeline:
    info = spec["pipelineInfo"]
    parameters = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    bare = {key: value for key, value in spec.items() if key != "sdkVersion"}
    return CompiledPipeline(
        path=path,
        spec=spec,
        name=info["name"],
        title=info.get("displayName", info["name"]),
        description=" ".join(info.get("description", "").split()),
        parameters={name: _parameter(name, parameters[name]) for name in parameters},
        steps=tuple(_steps(spec, spec["root"]["dag"], (), {})),
        content_hash=hash_json([bare, *platforms]),
    )


def _parameter(name: str, definition: Mapping[str, Any]) -> Parameter:
    return Parameter(
        name=name,
        kind=Kind(definition["parameterType"]),
        required=not definition.get("isOptional", False),
        default=definition.get("defaultValue"),
        description=definition.get("description", ""),
    )


def _steps(
    spec: Mapping[str, Any], dag: Mapping[str, Any], conditions: tuple[str, ...], names: Mapping[str, str]
) -> Iterator[Step]:
    """Yield the steps of a graph and of the graphs within it. `names` holds the titles of tasks further out."""
    tasks = dag["tasks"]
    titles = {**names, **{key: _title(key, task) for key, task in tasks.items()}}
    for key in _in_order(tasks):
        task = tasks[key]
        component = spec["components"][task["componentRef"]["name"]]
        trigger = task.get("triggerPolicy", {})
        inner = (*conditions, _in_words(trigger["condition"], titles)) if "condition" in trigger else conditions
        if "dag" in component:
            yield from _steps(spec, component["dag"], inner, titles)
        else:
            yield Step(
                key=component["executorLabel"].removeprefix("exec-"),
                title=titles[key],
                conditions=inner,
                is_exit_handler=any("taskFinalStatus" in one for one in _inputs(task)),
                artifact_kinds={
                    name: one["artifactType"]["schemaTitle"]
                    for name, one in component.get("outputDefinitions", {}).get("artifacts", {}).items()
                },
            )


def _inputs(task: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    parameters: Mapping[str, Mapping[str, Any]] = task.get("inputs", {}).get("parameters", {})
    return parameters.values()


def _title(key: str, task: Mapping[str, Any]) -> str:
    return str(task.get("taskInfo", {}).get("name", key))


def _in_order(tasks: Mapping[str, Any]) -> list[str]:
    """Return the names so that each comes after all that it depends on, in the order of the file otherwise."""
    done: list[str] = []
    waiting = list(tasks)
    while waiting:
        ready = [name for name in waiting if set(tasks[name].get("dependentTasks", ())) <= set(done)]
        if not ready:
            raise ContractError(f"the pipeline's tasks {', '.join(waiting)} wait for each other")
        done += ready
        waiting = [name for name in waiting if name not in ready]
    return done


def _in_words(condition: str, titles: Mapping[str, str]) -> str:
    """Return a condition without the compiler's names: `Apply gates == 'deploy'`."""
    found = _CONDITION.fullmatch(" ".join(condition.split()))
    if not found:
        return condition
    channel, operator, value = found.groups()
    task, _, output = channel.rpartition("-")
    subject = titles.get(task, task) if output == "Output" else titles.get(channel, channel)
    return f"{subject} {operator} {value}"
