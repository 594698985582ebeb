"""Pipelines that break one rule of tests/pipelines/lint.py each, beside what they break."""

import functools
import typing

from kfp import dsl, kubernetes

from pipelines.limits import small

component = functools.partial(dsl.component, base_image="vigil-python:0", install_kfp_package=False)


@component
def decide() -> str:
    return "go"


@component
def decide_by_name() -> typing.NamedTuple("Outputs", [("verdict", str)]):  # type: ignore[valid-type]
    return ("go",)


@component
def act(word: str = "") -> str:
    return word


@component
def write(table: dsl.Output[dsl.Dataset]) -> None:
    return None


@component
def read(table: dsl.Input[dsl.Dataset]) -> None:
    return None


@component
def notify(word: str) -> None:
    return None


@dsl.pipeline(name="conditions")
def conditions_decide_on_single_values() -> None:
    with dsl.If(decide_by_name().outputs["verdict"] == "go"):
        act()


@dsl.pipeline(name="quotes")
def conditions_decide_on_plain_words() -> None:
    with dsl.If(decide().output == "Let's go"):
        act()


@dsl.pipeline(name="loops")
def loops_use_no_outputs_of_outer_tasks() -> None:
    outer = decide()
    with dsl.ParallelFor([1, 2]):
        act(word=outer.output)


@dsl.pipeline(name="merges")
def no_branch_is_merged_by_artifact() -> None:
    with dsl.If(decide().output == "go"):
        one = write()
    with dsl.Else():
        other = write()
    read(table=dsl.OneOf(one.outputs["table"], other.outputs["table"]))


@dsl.pipeline(name="cached-effect")
def effects_are_never_answered_from_the_cache() -> None:
    notify(word="done")


@dsl.pipeline(name="stale")
def cached_tasks_depend_on_the_code() -> None:
    act(word="again")


@dsl.pipeline(name="foreign-image")
def images_are_ours() -> None:
    dsl.component(decide.python_func, base_image="python:3.11", install_kfp_package=False)()


@dsl.pipeline(name="installs")
def nothing_is_installed_at_the_start() -> None:
    dsl.component(decide.python_func, base_image="vigil-python:0")()


@dsl.pipeline(name="retries")
def retries_wait_five_minutes() -> None:
    small(act(), "Act").set_retry(num_retries=3, backoff_duration="10s", backoff_factor=2.0)


@dsl.pipeline(name="limits")
def processors_and_memory_are_limited() -> None:
    act().set_cpu_limit("2").set_memory_limit("2Gi")


@dsl.pipeline(name="timeouts")
def time_is_limited() -> None:
    kubernetes.set_image_pull_policy(act(), "Always")


@dsl.pipeline(name="nameless")
def tasks_are_few_and_named() -> None:
    act()


@dsl.pipeline(name="large-values")
def values_are_small() -> None:
    act(word="x" * 9000)
