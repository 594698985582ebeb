"""`vigil pipeline`: the pipelines on this machine and on a Kubeflow Pipelines server."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from vigil.errors import ContractError
from vigil.settings import load_settings

if TYPE_CHECKING:
    from vigil.orchestration.ir import CompiledPipeline
    from vigil.orchestration.remote import Kubeflow, RemoteRun
    from vigil.orchestration.runs import LocalRun

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Run the pipelines: on this machine, on a Kubeflow Pipelines server, or there on a schedule.\n\n"
    "They are the same pipelines and components in all three. `vigil pipeline list` shows what each takes. A server is"
    " found by `$VIGIL_KFP_HOST`, its namespace and token by `$VIGIL_KFP_NAMESPACE` and `$VIGIL_KFP_TOKEN`.",
)

_Pipeline = Annotated[
    str, typer.Argument(metavar="PIPELINE", help="Its name, such as training, or a compiled YAML file.")
]
_UseCase = Annotated[
    str | None,
    typer.Option("--use-case", "-u", metavar="NAME", help="A use case of Vigil, or a YAML file."),
]
_Data = Annotated[str | None, typer.Option("--data", "-d", metavar="PATH", help="The raw file, or its address.")]
_Source = Annotated[
    str | None, typer.Option("--source", "-s", help="Mapping of the file, instead of the first of the use case.")
]
_Param = Annotated[
    list[str] | None,
    typer.Option("--param", "-p", metavar="NAME=VALUE", help="Another parameter of the pipeline; may be repeated."),
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


@app.command("list")
def list_pipelines(
    pipeline: Annotated[
        str | None, typer.Argument(metavar="[PIPELINE]", help="Only this one, with all it takes.")
    ] = None,
    as_json: _Json = False,
) -> None:
    """List the pipelines, or show the steps and parameters of one.

    For example: `vigil pipeline list training`.
    """
    from vigil.orchestration.ir import load_pipeline

    names = [pipeline] if pipeline else sorted(path.stem for path in _compiled().glob("*.yaml"))
    found = [load_pipeline(_file(name)) for name in names]
    if as_json:
        _print_json([_pipeline_facts(one) for one in found])
    elif pipeline:
        _print_pipeline(found[0])
    else:
        table = Table("pipeline", "steps", "what it does", box=None, pad_edge=False)
        for one in found:
            table.add_row(one.path.stem, str(len(one.steps)), Text(one.description))
        Console().print(table if found else "No pipeline: make them with `vigil pipeline compile`.")


@app.command("compile")
def compile_pipelines(
    checkout: Annotated[Path, typer.Option(help="The checkout; its folder pipelines/ holds the sources.")] = Path(),
    manifests: Annotated[
        bool, typer.Option("--manifests", help="Also write Pipeline and PipelineVersion manifests for GitOps.")
    ] = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing; fail if a file, manifests included, is out of date."),
    ] = False,
) -> None:
    """Compile the pipelines of a checkout into pipelines/compiled, and with --manifests into manifests/pipelines.

    The same source gives the same bytes. The manifests are for a server that keeps its pipelines in Kubernetes. A
    version never changes there, so each has the name of its content, the same as `submit` gives it. The image of the
    components is `$VIGIL_IMAGE` as it stands now: give it by digest for a release.

    **Examples**

        vigil pipeline compile

        vigil pipeline compile --check

        VIGIL_IMAGE=ghcr.io/shop/vigil-python@sha256:... vigil pipeline compile --manifests
    """
    from vigil.orchestration.compiling import MANIFESTS, compiled_files, differences

    files = compiled_files(checkout)
    if check:
        found = differences(checkout, files)
        if found:
            raise ContractError("\n".join([*found, "bring them up to date: vigil pipeline compile --manifests"]))
        typer.echo(f"{len(files)} files are as their sources say.")
        return
    for path, text in files.items():
        if manifests or MANIFESTS not in path.parents:
            (checkout / path).parent.mkdir(parents=True, exist_ok=True)
            (checkout / path).write_text(text, encoding="utf-8")
            typer.echo(checkout / path)


@app.command()
def run(
    pipeline: _Pipeline = "training",
    use_case: _UseCase = None,
    data: _Data = None,
    source: _Source = None,
    param: _Param = None,
    retries: Annotated[
        int, typer.Option(min=0, max=10, help="How often a step that failed is tried again, a second later.")
    ] = 0,
) -> None:
    """Run a pipeline on this machine, from its start to its end.

    Each step runs in a process of its own, as on a cluster. The steps and what they write are shown as they go; all of
    it stays in $VIGIL_HOME/runs. The pipeline's five minutes between attempts are for a cluster: here a step that fails
    ends the run, unless --retries says otherwise. Ctrl-C ends everything that the run has started.

    **Examples**

        vigil pipeline run training --use-case card_fraud --data transactions.parquet

        vigil pipeline run training --use-case retail_pos --data till.csv --source till.yaml --param traffic_percent=10

        vigil pipeline run batch_scoring --use-case card_fraud --data today.parquet
    """
    from vigil.orchestration.display import run_view
    from vigil.orchestration.filling import Purpose, Wanted, filled_arguments
    from vigil.orchestration.ir import load_pipeline
    from vigil.orchestration.local import LocalRequest, run_local

    runs = _runs()
    compiled = load_pipeline(_file(pipeline))
    wanted = Wanted(use_case, data, source, tuple(param or ()), where=str(runs))
    request = LocalRequest(compiled, filled_arguments(compiled, wanted, Purpose.HERE), runs, retries)
    try:
        with run_view(Console()) as show:
            done = run_local(request, watch=show)
    except KeyboardInterrupt:
        typer.echo("stopped: nothing that the run had started goes on", err=True)
        raise typer.Exit(130) from None
    _print_end(done, as_json=False)


@app.command()
def status(
    run_name: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="Name of a run of this machine, or id of one on the server."),
    ] = None,
    as_json: _Json = False,
) -> None:
    """List the runs of this machine, or show how one stands, here or on the server.

    For example: `vigil pipeline status`, then `vigil pipeline status training-20261125T120000Z-1a2b3c`.
    """
    from vigil.orchestration.local import open_run

    runs = _runs()
    if run_name is None:
        found = [open_run(path.parent) for path in sorted(runs.glob("*/run.json"))]
        _print_runs(found, as_json)
    elif (runs / run_name / "run.json").exists():
        _print_end(open_run(runs / run_name), as_json, with_steps=True)
    else:
        _print_remote(_kubeflow().run(run_name), as_json)


@app.command()
def submit(
    pipeline: _Pipeline,
    use_case: _UseCase = None,
    data: _Data = None,
    source: _Source = None,
    param: _Param = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the end; a run that does not succeed fails this.")
    ] = False,
) -> None:
    r"""Start a run on the Kubeflow Pipelines server.

    The pipeline is uploaded if the server does not have this very content yet: its version is named by a hash of it.
    DATA must be readable from the cluster. Runs belong to the experiment named by the use case.

    **Example**

        VIGIL_KFP_HOST=http://ml-pipeline.kubeflow:8888 vigil pipeline submit training --use-case card_fraud \
            --data gs://shop/transactions.parquet --wait
    """
    from vigil.orchestration.filling import Purpose, Wanted, filled_arguments
    from vigil.orchestration.ir import load_pipeline

    compiled = load_pipeline(_file(pipeline))
    server = _kubeflow()
    wanted = Wanted(use_case, data, source, tuple(param or ()), where=server.address)
    arguments = filled_arguments(compiled, wanted, Purpose.ONCE)
    started = server.submit(compiled, arguments, experiment=_experiment(use_case))
    typer.echo(f"{started.name}: {started.url}")
    if wait:
        _print_remote(server.wait(started.run_id, watch=_Changes()), as_json=False)


@app.command()
def schedule(
    pipeline: _Pipeline,
    cron: Annotated[
        str, typer.Option(help="Six fields: second, minute, hour, day, month, day of week.")
    ] = "0 0 */6 * * *",
    name: Annotated[str | None, typer.Option(help="Name of the schedule; PIPELINE and USE CASE without it.")] = None,
    use_case: _UseCase = None,
    data: _Data = None,
    param: _Param = None,
) -> None:
    """Let the Kubeflow Pipelines server run a pipeline again and again; every six hours unless told otherwise.

    Our former schedule of that name is replaced; one that somebody else made is never touched. Times that were missed
    are not caught up, and a run never overlaps the one before.

    **Examples**

        vigil pipeline schedule training --use-case card_fraud --data gs://shop/transactions

        vigil pipeline schedule batch_scoring --use-case card_fraud --data gs://shop/today --cron "0 30 5 * * *"
    """
    from vigil.orchestration.cron import checked_cron
    from vigil.orchestration.filling import Purpose, Wanted, filled_arguments
    from vigil.orchestration.ir import load_pipeline
    from vigil.orchestration.remote import Plan

    compiled = load_pipeline(_file(pipeline))
    cron = checked_cron(cron)
    server = _kubeflow()
    wanted = Wanted(use_case, data, None, tuple(param or ()), cause="scheduled", where=server.address)
    arguments = filled_arguments(compiled, wanted, Purpose.REPEATED)
    name = name or "-".join(part for part in (compiled.name, use_case and Path(use_case).stem) if part)
    made = server.schedule(compiled, Plan(name, cron, arguments, _experiment(use_case)))
    replaced = f", in place of {made.replaced} former" if made.replaced else ""
    typer.echo(f"{made.name} runs {made.version.name} at '{made.cron}'{replaced} ({made.schedule_id})")


@dataclass
class _Changes:
    """Prints the state of a run whenever it changes."""

    last: str = ""

    def __call__(self, seen: "RemoteRun") -> None:
        if seen.state != self.last:
            self.last = seen.state
            typer.echo(f"{seen.name}: {seen.state}", err=True)


def _runs() -> Path:
    return load_settings().home.absolute() / "runs"


def _compiled() -> Path:
    from vigil.usecase import shipped

    return shipped("compiled")


def _file(pipeline: str) -> Path:
    """Return the file of a pipeline: the path itself, or what comes with Vigil under that name."""
    path = Path(pipeline)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return path
    known = {found.stem: found for found in _compiled().glob("*.yaml")}
    key = pipeline.replace("-", "_")
    if key not in known:
        raise ContractError(
            f"there is no pipeline {pipeline}: give a compiled YAML file or one of {', '.join(sorted(known)) or 'none'}"
        )
    return known[key]


def _kubeflow() -> "Kubeflow":
    from vigil.orchestration.remote import Kubeflow

    return Kubeflow(load_settings())


def _experiment(use_case: str | None) -> str:
    return f"vigil/{Path(use_case).stem}" if use_case else "vigil"


def _print_end(done: "LocalRun", as_json: bool, *, with_steps: bool = False) -> None:
    """Print how a run of this machine ended, and leave with exit status 1 if it failed."""
    from vigil.orchestration.display import print_end, run_facts, step_table
    from vigil.orchestration.runs import Outcome

    if as_json:
        _print_json(run_facts(done))
    else:
        console = Console()
        if with_steps:
            console.print(step_table(done))
        print_end(done, console)
    if done.outcome is Outcome.FAILED:
        raise typer.Exit(1)


def _print_remote(seen: "RemoteRun", as_json: bool) -> None:
    from vigil.orchestration.remote import RunState

    if as_json:
        _print_json(asdict(seen))
    else:
        typer.echo(f"{seen.name}: {seen.state}, {seen.url}" + (f"\n{seen.error}" if seen.error else ""))
    if seen.is_over and seen.state is not RunState.SUCCEEDED:
        raise typer.Exit(1)


def _print_runs(found: list["LocalRun"], as_json: bool) -> None:
    from vigil.orchestration.display import duration, run_facts

    if as_json:
        _print_json([run_facts(one) for one in found])
        return
    table = Table(Column("run", no_wrap=True), "started", "took", "outcome", "why", box=None, pad_edge=False)
    for one in found:
        why = f"{one.failure.step or 'kfp'}: {one.failure.message}" if one.failure else ""
        table.add_row(
            one.folder.name, f"{one.started:%Y-%m-%d %H:%M}", duration(one.seconds), str(one.outcome), Text(why)
        )
    Console().print(table if found else "No run yet: start one with `vigil pipeline run`.")


def _print_pipeline(pipeline: "CompiledPipeline") -> None:
    console = Console()
    console.print(Text(pipeline.title, "bold"), Text(pipeline.description))
    steps = Table("step", "runs", box=None, pad_edge=False)
    for step in pipeline.steps:
        always = "at the end, whatever happened" if step.is_exit_handler else "always"
        steps.add_row(Text(step.title), Text("only if " + " and ".join(step.conditions) if step.conditions else always))
    parameters = Table("parameter", "type", "default", "meaning", box=None, pad_edge=False)
    for one in pipeline.parameters.values():
        default = "needed" if one.required else json.dumps(one.default)
        parameters.add_row(Text(one.name), one.kind.lower(), Text(default), Text(one.description))
    console.print(steps, "", parameters)


def _pipeline_facts(pipeline: "CompiledPipeline") -> dict[str, Any]:
    return {
        "name": pipeline.name,
        "description": pipeline.description,
        "hash": pipeline.content_hash,
        "steps": [{"key": step.key, "title": step.title, "conditions": step.conditions} for step in pipeline.steps],
        "parameters": {
            one.name: {"type": one.kind, "required": one.required, "default": one.default}
            for one in pipeline.parameters.values()
        },
    }


def _print_json(document: Any) -> None:  # noqa: ANN401 - any JSON value
    typer.echo(json.dumps(document, indent=2))
