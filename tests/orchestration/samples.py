"""Pipelines of a few seconds that do what a pipeline can do, and what it should not."""

import functools

from kfp import dsl

component = functools.partial(dsl.component, base_image="registry.test/python:1", install_kfp_package=False)


@component
def make_rows(rows: int, table: dsl.Output[dsl.Dataset], metrics: dsl.Output[dsl.Metrics]) -> str:
    from pathlib import Path

    Path(table.path).write_text("row\n" * rows)
    metrics.log_metric("rows", rows)
    return "publish" if rows > 2 else "refuse"


@component
def publish(table: dsl.Input[dsl.Dataset], greeting: str) -> int:
    from pathlib import Path

    text = Path(table.path).read_text()
    print(greeting, "to all")
    return len(text)


@component
def tell(status: dsl.PipelineTaskFinalStatus, note: str) -> None:
    from pathlib import Path

    if note:
        Path(note).write_text(status.state)


@dsl.pipeline(name="small", display_name="A small pipeline", description="Makes rows and publishes them.")
def small(rows: int = 3, greeting: str = "hello", note: str = "") -> None:
    told = tell(note=note).set_caching_options(enable_caching=False).set_display_name("Tell")
    with dsl.ExitHandler(told, name="all"):
        made = make_rows(rows=rows).set_display_name("Make rows").set_retry(3, "300s", 1.0)
        with dsl.If(made.outputs["Output"] == "publish", name="good"):
            publish(table=made.outputs["table"], greeting=greeting).set_display_name("Publish").set_cpu_limit("1")


@component
def misbehave(how: str, where: str) -> str:
    from tests.orchestration import misdeeds

    return misdeeds.do(how, where)


@component
def after(text: str) -> None:
    print(text)


@dsl.pipeline(name="bad")
def bad(how: str, where: str = "", note: str = "") -> None:
    told = tell(note=note).set_caching_options(enable_caching=False)
    with dsl.ExitHandler(told, name="all"):
        done = misbehave(how=how, where=where).set_display_name("Misbehave").set_retry(2, "300s", 1.0)
        after(text=done.output)


@component
def measure(size: int, limit: int, report: dsl.Output[dsl.HTML]) -> int:
    from pathlib import Path

    if int(size) > limit:
        raise ValueError(f"{size} is too much")
    Path(report.path).write_text(str(size))
    return int(size)


@dsl.pipeline(name="loop")
def loop(sizes: list[int], limit: int = 10) -> None:
    with dsl.ParallelFor(sizes) as size:
        measure(size=size, limit=limit)


@dsl.component(base_image="registry.test/python:1", packages_to_install=["cowsay"])
def needs_packages() -> None:
    pass


@dsl.pipeline(name="greedy")
def greedy() -> None:
    needs_packages()


@dsl.container_component
def shell() -> dsl.ContainerSpec:
    return dsl.ContainerSpec(image="registry.test/busybox:1", command=["echo", "hello"])


@dsl.pipeline(name="foreign")
def foreign() -> None:
    shell()


@dsl.pipeline(name="typed")
def typed(count: int, ratio: float = 0.5, flag: bool = False, names: list = ["a"], options: dict = {}) -> None:  # noqa: B006
    after(text=f"{count} {ratio} {flag} {names} {options}")
