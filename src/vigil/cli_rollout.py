"""`vigil rollout`: a new version takes over step by step, on evidence, or not at all."""

import json
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from vigil.deployment.request import Target
from vigil.errors import ContractError, MissingExtra
from vigil.settings import Settings, load_settings, login

if TYPE_CHECKING:
    from vigil.rollout.connecting import Site

app = typer.Typer(name="rollout", help="Roll a version out step by step, and back by itself.", no_args_is_help=True)

_Model = Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model, such as card_fraud.")]
_AnyModel = Annotated[str | None, typer.Argument(metavar="[MODEL]", help="Name of the model; all without it.")]
_Reason = Annotated[str, typer.Option("--reason", help="Why. It is kept for ever.")]
_Actor = Annotated[
    str | None,
    typer.Option("--actor", metavar="ACTOR", help="person:NAME or policy:NAME; without it person: and your login."),
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


_WIDEST = 200


@dataclass(frozen=True)
class _Place:
    target: Target
    namespace: str


_PLACE: ContextVar[_Place] = ContextVar("_PLACE")
"""What the options of the group say."""


@app.callback()
def _root(
    target: Annotated[Target, typer.Option(help="Where the model is served.")] = Target.LOCAL,
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Of the cluster, for KServe.")] = "default",
) -> None:
    _PLACE.set(_Place(target, namespace))


@app.command()
def start(
    model: _Model,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Number of the candidate in the registry.")],
    reason: _Reason,
    plan_file: Annotated[
        Path | None,
        typer.Option("--plan", help="YAML with steps, bake, samples and more; `vigil rollout plan` prints it."),
    ] = None,
    steps: Annotated[
        str | None, typer.Option(metavar="PERCENTS", help="Such as 0,5,25,50,100; 0 mirrors the requests first.")
    ] = None,
    actor: _Actor = None,
) -> None:
    """Start to roll a version out over the one in production; it goes on by itself, and back where it is worse.

    For example: `vigil rollout start card_fraud 7 --reason "retrained on June"`, then `vigil rollout watch card_fraud`.
    """
    site = _site()
    from vigil.rollout.opening import Order, read_plan
    from vigil.rollout.opening import start as start_rollout

    place = _PLACE.get()
    order = Order(model, version, _who(actor), reason, place.target, place.namespace)
    record = start_rollout(order, read_plan(plan_file, steps), site.desk())
    typer.echo(f"Rollout {record.spec.id} has started: vigil rollout watch {model}")
    _carry_on(site)


@app.command()
def plan() -> None:
    """Print the default plan, to be changed and given to `vigil rollout start --plan`.

    For example: `vigil rollout plan > careful.yaml`.
    """
    _site()
    from vigil.rollout.opening import plan_as_yaml

    typer.echo(plan_as_yaml(), nl=False)


@app.command()
def status(model: _AnyModel = None, as_json: _Json = False) -> None:
    """Show how the rollout of a model stands, or those of all models.

    For example: `vigil rollout status card_fraud`.
    """
    site = _site()
    from vigil.rollout.asking import load
    from vigil.rollout.view import detail, overview

    names = [model] if model is not None else site.records.models()
    records = [load(name, site.records).record for name in names]
    if as_json:
        typer.echo(json.dumps([record.model_dump(mode="json") for record in records], indent=2))
    elif model is not None:
        Console().print(detail(records[0], controlled=site.is_controlled()))
    else:
        _print_wide(overview(records)) if records else typer.echo("No rollout: vigil rollout start MODEL VERSION.")


@app.command()
def watch(
    model: _Model,
    every: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.2)] = 1.0,
) -> None:
    """Show the rollout of a model live, until it is over or Ctrl-C; the exit status is 1 if it did not succeed."""
    site = _site()
    from vigil.rollout.asking import load
    from vigil.rollout.status import Phase
    from vigil.rollout.view import detail

    with Live(refresh_per_second=4) as live:
        while True:
            record = load(model, site.records).record
            live.update(detail(record, controlled=site.is_controlled()))
            if record.status.over:
                break
            time.sleep(every)
    if not live.console.is_terminal:
        live.console.line()  # in a terminal rich does so
    raise typer.Exit(record.status.phase is not Phase.SUCCEEDED)


@app.command()
def promote(
    model: _Model,
    reason: _Reason,
    fully: Annotated[bool, typer.Option("--fully", help="All steps at once, not this one only.")] = False,
    actor: _Actor = None,
) -> None:
    """Pass the present step without waiting for its evidence; after the bake, end the watch.

    For example: `vigil rollout promote card_fraud --reason "read the disagreements, all are right"`.
    """
    _ask(model, "promote", reason, actor, fully=fully)


@app.command()
def pause(
    model: _Model,
    reason: Annotated[str, typer.Option("--reason", help="Why. It is kept for ever.")] = "a look is needed",
    actor: _Actor = None,
) -> None:
    """Hold the split as it is; what speaks against the candidate still takes traffic back."""
    _ask(model, "pause", reason, actor)


@app.command()
def resume(model: _Model, reason: _Reason, actor: _Actor = None) -> None:
    """Go on after a pause, or give a step that was not decided another try."""
    _ask(model, "resume", reason, actor)


@app.command()
def abort(model: _Model, reason: _Reason, actor: _Actor = None) -> None:
    """Give all traffic back to the version before, in any phase.

    For example: `vigil rollout abort card_fraud --reason "customers complain"`.
    """
    _ask(model, "abort", reason, actor)


@app.command()
def history(
    model: _Model,
    verify: Annotated[bool, typer.Option("--verify", help="Check that nothing was changed or removed.")] = False,
    as_json: _Json = False,
) -> None:
    """Show all that was ever done in rollouts of a model: by whom, when and why.

    With `--verify` the exit status is 1 where an entry was changed, removed or cut off at the end.
    """
    site = _site()
    from vigil.rollout.view import history as history_view

    kept = site.records.load(model)
    broken = site.log.verify(model, kept.record.status if kept else None) if verify else None
    if broken is None:
        entries = site.log.entries(model)
        if as_json:
            typer.echo(json.dumps([entry.model_dump(mode="json") for entry in entries], indent=2))
        else:
            _print_wide(history_view(entries)) if entries else typer.echo(f"Nothing was ever rolled out of {model}.")
    if verify and broken is not None:
        raise ContractError(f"the audit log of {model} does not hold: {broken}")
    if verify and not as_json:
        typer.echo(f"{len(site.log.entries(model))} entries, none changed or removed.")


@app.command()
def run(
    once: Annotated[bool, typer.Option("--once", help="One look at each rollout, and leave.")] = False,
    every: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.1)] = 5.0,
    metrics_port: Annotated[
        int | None, typer.Option(help="Port of /metrics and /healthz; none without it.", min=0, max=65535)
    ] = None,
) -> None:
    """Carry on the rollouts of all models here, as the one controller: the command of its pod in a cluster."""
    site = _site()
    from vigil.rollout.pod import run_in_pod, stop_on_sigterm

    if metrics_port is not None and not once:
        run_in_pod(site.controller(), site.records, every, metrics_port)
        return
    if not once:
        stop_on_sigterm()
    site.controller().run(every, is_over=lambda _: once)


def _ask(model: str, action: str, reason: str, actor: str | None, *, fully: bool = False) -> None:
    site = _site()
    from vigil.rollout.asking import ask, request

    record = ask(model, request(action, _who(actor), reason, fully=fully), site.records)
    typer.echo(f"Asked to {action} {model} version {record.spec.candidate.version}: vigil rollout watch {model}")
    _carry_on(site)


def _carry_on(site: "Site") -> None:
    """See to it that someone does what was asked."""
    if not site.is_controlled() and site.ensure_controller is not None:
        site.ensure_controller()


def _site() -> "Site":
    """Return where rollouts are kept; it needs packages that a core installation does not have."""
    place, settings = _PLACE.get(), load_settings()
    open_site = _opener(place, settings)
    return open_site()


def _opener(place: _Place, settings: Settings) -> "Callable[[], Site]":
    try:
        if place.target is Target.KSERVE:
            from vigil.rollout.kserve.site import cluster_site

            return lambda: cluster_site(settings, place.namespace)
        from vigil.rollout.connecting import local_site

        return lambda: local_site(settings)
    except ModuleNotFoundError as error:
        if (error.name or "vigil").startswith("vigil"):
            raise
        raise MissingExtra(str(error.name), "serve") from error


def _print_wide(table: Table) -> None:
    """Print a table as wide as it wants to be: a line that wraps beats a cell of two letters."""
    console = Console()
    wanted = console.measure(table, options=console.options.update(width=_WIDEST)).maximum
    console.width = max(console.width, wanted)
    console.print(table)


def _who(actor: str | None) -> str:
    return actor or f"person:{login()}"
