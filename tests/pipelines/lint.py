"""Rules that a compiled pipeline has to keep so that it does the same on a laptop and on a cluster.

Each rule was learned from a pipeline that went wrong in silence: conditions that are never true, loops that see other
values, answers from the cache where something had to be done.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

Spec = dict[str, Any]

NO_CACHE = frozenset(
    {"evaluate", "apply-gates", "register-model", "deploy-candidate", "notify", "score-batch"}
    | {"fit-shard", "collect-shards", "require-every-shard"}
)
"""Tasks that change something, or that read what others change."""

MOST_TASKS = 50
MOST_BYTES = 8192


def read(path: Path) -> tuple[Spec, Spec]:
    """Return the pipeline and its platform part."""
    documents = list(yaml.safe_load_all(path.read_text()))
    return documents[0], documents[1] if len(documents) > 1 else {}


def tasks(spec: Spec) -> Iterator[tuple[str, str, Spec]]:
    """Yield (graph, name, task) of every task."""
    graphs = {"root": spec["root"], **spec["components"]}
    for graph, content in graphs.items():
        for name, task in content.get("dag", {}).get("tasks", {}).items():
            yield graph, name, task


def executors(spec: Spec) -> dict[str, Spec]:
    return {name: one["container"] for name, one in spec["deploymentSpec"]["executors"].items() if "container" in one}


def component(spec: Spec, task: Spec) -> Spec:
    return spec["components"][task["componentRef"]["name"]]


def own_tasks(spec: Spec) -> Iterator[tuple[str, Spec, Spec]]:
    """Yield (name, task, component) of every task that runs code."""
    for _, name, task in tasks(spec):
        if "executorLabel" in (found := component(spec, task)):
            yield name, task, found


def conditions_decide_on_single_values(spec: Spec, _: Spec) -> list[str]:
    found = []
    for _graph, name, task in tasks(spec):
        condition = task.get("triggerPolicy", {}).get("condition", "")
        for value in task.get("inputs", {}).get("parameters", {}).values():
            output = value.get("taskOutputParameter", {}).get("outputParameterKey", "Output")
            if condition and output != "Output" and f"-{output}" in condition:
                found.append(f"{name} decides on the named output {output}, which is never true on a laptop")
        texts = re.findall(r"'([^']*)'", re.sub(r"parameter_values\['[^']*'\]", "", condition))
        unsafe = [text for text in texts if not re.fullmatch("[a-z_]+", text)]
        found += [f"{name} decides on {text!r}: only a to z and _ are safe" for text in unsafe]
    return found


def loops_use_no_outputs_of_outer_tasks(spec: Spec, _: Spec) -> list[str]:
    found = []
    for _graph, name, task in tasks(spec):
        if "parameterIterator" not in task and "artifactIterator" not in task:
            continue
        looped = task.get("parameterIterator", {}).get("items", {}).get("inputParameter")
        given = task.get("inputs", {}).get("parameters", {})
        outer = [key for key, value in given.items() if "taskOutputParameter" in value and key != looped]
        found += [f"{name} loops, and is given {key}, which a laptop takes for the item of the loop" for key in outer]
    return found


def no_branch_is_merged_by_artifact(spec: Spec, _: Spec) -> list[str]:
    return [
        f"{graph} returns one of several artifacts, which a laptop cannot"
        for graph, content in spec["components"].items()
        for one in content.get("dag", {}).get("outputs", {}).get("artifacts", {}).values()
        if len(one.get("artifactSelectors", [])) > 1
    ]


def effects_are_never_answered_from_the_cache(spec: Spec, _: Spec) -> list[str]:
    return [
        f"{name} may be answered from the cache"
        for name, task, _component in own_tasks(spec)
        if name in NO_CACHE and task.get("cachingOptions", {}).get("enableCache")
    ]


def cached_tasks_depend_on_the_code(spec: Spec, _: Spec) -> list[str]:
    return [
        f"{name} is answered from the cache after the code has changed: give it code_version"
        for name, task, _component in own_tasks(spec)
        if task.get("cachingOptions", {}).get("enableCache") and "code_version" not in task["inputs"]["parameters"]
    ]


def images_are_ours(spec: Spec, _: Spec) -> list[str]:
    return [
        f"{name} has the image {container['image']}: no Vigil in it, or no `python` in its name"
        for name, container in executors(spec).items()
        if "python" not in container["image"] or container["image"].startswith("python:")
    ]


def nothing_is_installed_at_the_start(spec: Spec, _: Spec) -> list[str]:
    return [
        f"{name} installs packages when it starts"
        for name, container in executors(spec).items()
        if "pip install" in " ".join(container["command"])
    ]


def retries_wait_five_minutes(spec: Spec, _: Spec) -> list[str]:
    wanted = {"backoffDuration": "300s", "backoffFactor": 1.0}
    return [
        f"{name} is not tried again after a constant five minutes"
        for name, task, _component in own_tasks(spec)
        if {key: task.get("retryPolicy", {}).get(key) for key in wanted} != wanted
    ]


def processors_and_memory_are_limited(spec: Spec, _: Spec) -> list[str]:
    wanted = {"resourceCpuRequest", "resourceCpuLimit", "resourceMemoryRequest", "resourceMemoryLimit"}
    return [
        f"{name} lacks {min(missing)}"
        for name, container in executors(spec).items()
        if (missing := wanted - set(container.get("resources", {})))
    ]


def time_is_limited(spec: Spec, platform: Spec) -> list[str]:
    limits = platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
    return [
        f"{name} may run for ever" for name in executors(spec) if not limits.get(name, {}).get("activeDeadlineSeconds")
    ]


def tasks_are_few_and_named(spec: Spec, _: Spec) -> list[str]:
    titles = {name: task["taskInfo"]["name"] for name, task, _component in own_tasks(spec)}
    found = [f"{len(titles)} tasks, at most {MOST_TASKS}"] if len(titles) >= MOST_TASKS else []
    return found + [f"{name} has no name for people" for name, title in titles.items() if title == name]


def values_are_small(spec: Spec, _: Spec) -> list[str]:
    return [
        f"{name}: the value of {key} has {size} bytes, at most {MOST_BYTES}"
        for _graph, name, task in tasks(spec)
        for key, value in task.get("inputs", {}).get("parameters", {}).items()
        if (size := len(json.dumps(value.get("runtimeValue", "")))) > MOST_BYTES
    ]


Rule = Callable[[Spec, Spec], list[str]]
RULES: tuple[Rule, ...] = (
    conditions_decide_on_single_values,
    loops_use_no_outputs_of_outer_tasks,
    no_branch_is_merged_by_artifact,
    effects_are_never_answered_from_the_cache,
    cached_tasks_depend_on_the_code,
    images_are_ours,
    nothing_is_installed_at_the_start,
    retries_wait_five_minutes,
    processors_and_memory_are_limited,
    time_is_limited,
    tasks_are_few_and_named,
    values_are_small,
)
