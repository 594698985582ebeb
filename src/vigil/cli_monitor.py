"""`vigil monitor`: how what is served behaves and drifts, as the detector service sees it."""

import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer
from pydantic import TypeAdapter, ValidationError
from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from vigil.errors import ContractError, MissingExtra, Unavailable
from vigil.settings import Settings, load_settings

if TYPE_CHECKING:
    from vigil.monitoring.verdicts import DriftVerdict, WatchStatus

app = typer.Typer(name="monitor", help="See how served models behave and drift.", no_args_is_help=True)

_Model = Annotated[str | None, typer.Argument(metavar="[MODEL]", help="Name of the model; all without it.")]

_SECONDS = 10.0
_WIDEST = 250
_SHOWN_FEATURES = 3
_COLOURS = {"steady": "green", "drifting": "red", "warming": "yellow"}
_SERVICE = "vigil_monitor_"


@app.command()
def status(
    model: _Model = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show each revision that is watched: state, cause, what drifts and how strongly, and the service's own health.

    For example: `vigil monitor status card_fraud`.
    """
    url = monitor_url(load_settings())
    found = watch_statuses(url, model)
    if as_json:
        typer.echo(json.dumps([one.model_dump(mode="json") for one in found], indent=2))
        return
    table, rest = status_view(found, service_health(url), url)
    console = Console()
    wanted = console.measure(table, options=console.options.update(width=_WIDEST)).maximum
    console.width = max(console.width, wanted)  # a line that wraps beats a cell that is cut
    console.print(table)
    console.print(rest, soft_wrap=True)


@app.command()
def watch(
    model: _Model = None,
    every: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.2)] = 1.0,
) -> None:
    """Show the same, again and again, until Ctrl-C."""
    url = monitor_url(load_settings())
    with Live(refresh_per_second=4) as live:
        while True:
            live.update(Group(*status_view(watch_statuses(url, model), service_health(url), url)))
            time.sleep(every)


@app.command()
def verdict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Show what the watch is sure of: cause, evidence, and what is done about it.

    Exit status 0 where nothing drifts and 2 where something does.

    For example: `vigil monitor verdict card_fraud --json`.
    """
    found = watch_statuses(monitor_url(load_settings()), model)
    if not found:
        raise ContractError(f"no revision of {model} is watched: `vigil monitor status` lists those that are")
    verdicts = [one.verdict for one in found if one.verdict is not None]
    if as_json:
        typer.echo(json.dumps([one.model_dump(mode="json") for one in verdicts], indent=2))
    elif not verdicts:
        typer.echo("\n".join(f"{one.revision} is {one.state}: {one.rows} decisions seen." for one in found))
    for one in verdicts if not as_json else []:
        Console().print(verdict_view(one))
    if verdicts:
        raise typer.Exit(2)


@app.command()
def compare(
    reference: Annotated[Path, typer.Argument(help="Rows that were usual: a Parquet or CSV file.")],
    window: Annotated[Path, typer.Argument(help="Rows to compare with them, with the same columns.")],
    detector: Annotated[str, typer.Option(help="tabular, ks, cvm, chi2, tabular_cvm, or alibi_*.")] = "tabular",
    only: Annotated[list[str] | None, typer.Option(help="A column to compare, again for more; all without it.")] = None,
    time: Annotated[str, typer.Option(help="Column of the time, by which seasons are matched.")] = "event_time",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Compare two files, column by column, as a look at rows of your own; the watch is the guard.

    Exit status 0 where nothing drifts and 2 where something does.

    For example: `vigil monitor compare may.parquet june.parquet --detector alibi_tabular`.
    """
    try:
        from vigil.monitoring.comparison import Wanted, compare_files, parse_comparison
    except ModuleNotFoundError as error:
        raise _missing(error, "monitor") from error
    settings = parse_comparison({"detector": {"name": detector}})
    found = compare_files(reference, window, settings, Wanted(time, tuple(only or ())))
    if as_json:
        typer.echo(json.dumps(found.facts(), indent=2))
    else:
        for line in found.sentences():
            typer.echo(line)
    if found.findings:
        raise typer.Exit(2)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "0.0.0.0",  # noqa: S104 - for a cluster
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8090,
    config: Annotated[Path | None, typer.Option(help="YAML file of limits and of the watches' settings.")] = None,
) -> None:
    """Run the service here, as a cluster does; `vigil up` starts one by itself."""
    try:
        from vigil.monitoring.service.run import Endpoint
        from vigil.monitoring.service.run import serve as run
        from vigil.monitoring.service.settings import load_service_settings
    except ModuleNotFoundError as error:
        raise _missing(error, "monitor") from error
    run(Endpoint(host, port), load_settings(), load_service_settings(config))


def monitor_url(settings: Settings) -> str:
    """Return the address of the service: VIGIL_MONITOR_URL, or that of the local runtime's own."""
    if settings.monitor_url:
        return settings.monitor_url.rstrip("/")
    try:
        from vigil.runtime.client import RuntimeClient

        found = RuntimeClient(settings).status()
    except ModuleNotFoundError as error:
        raise _missing(error, "serve") from error
    except Unavailable as error:
        cure = "start one by `vigil up`, or set VIGIL_MONITOR_URL"
        raise Unavailable(f"no runtime is running that could have a detector service: {cure}") from error
    if found.monitor is None:
        raise Unavailable("the runtime has no detector service: it was started by `vigil up --no-monitor`")
    return found.monitor.url


def watch_statuses(url: str, model: str | None = None) -> "list[WatchStatus]":
    """Return the revisions that are watched, of one model or of all."""
    from vigil.monitoring.verdicts import WatchStatus

    path = f"{url}/v1/watch" + (f"/{quote(model, safe='')}" if model else "")
    try:
        return TypeAdapter(list[WatchStatus]).validate_json(_get(path))
    except ValidationError as error:
        raise ContractError(f"{path} is no detector service of this version: {error.errors()[0]['msg']}") from error


def service_health(url: str) -> dict[str, float]:
    """Return what the service measures of itself, by the name of the metric without `vigil_monitor_`."""
    found: dict[str, float] = {}
    for line in _get(f"{url}/metrics").decode().splitlines():
        name, _, value = line.rpartition(" ")
        if name.startswith(_SERVICE):
            found[name.removeprefix(_SERVICE)] = float(value)
    return found


def status_view(found: "list[WatchStatus]", health: dict[str, float], url: str) -> tuple[Table, Group]:
    """Return the revisions as one table, and what is to be said below it."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("model", "revision", "state", "cause", "answer"):
        table.add_column(name, no_wrap=True)
    for name in ("decisions", "windows", "flagged", "precision"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("strongest", no_wrap=True)
    for one in found:
        told = one.verdict
        strongest = ", ".join(f"{name} {value:.1f}" for name, value in list(one.features.items())[:_SHOWN_FEATURES])
        table.add_row(
            one.model,
            one.revision,
            Text(one.state, style=_COLOURS.get(one.state, "")),
            told.cause if told else "",
            told.answer if told else "",
            str(one.rows),
            str(one.windows),
            _percent(one.anomaly_rate),
            _percent(one.precision),
            strongest,
        )
    empty = [] if found else [Text("Nothing is watched yet: no decision has come.")]
    return table, Group(*empty, *(Text(one.verdict.summary) for one in found if one.verdict), _health(health, url))


def verdict_view(told: "DriftVerdict") -> Group:
    """Return a verdict for a person."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("evidence", "about", "what was seen", "strength", "points to"):
        table.add_column(name)
    for one in told.evidence:
        table.add_row(one.kind, one.subject, one.statement, f"{one.strength:.1f}", one.points_to or "")
    return Group(Text(f"{told.revision}: {told.summary}"), Text(f"cause {told.cause}, answer {told.answer}"), table)


def _health(health: dict[str, float], url: str) -> Text:
    dropped = _sum(health, "events_total", 'outcome="dropped"')
    parts = [
        f"{_sum(health, 'events_total', 'accepted'):.0f} events",
        f"{dropped:.0f} dropped",
        f"{_sum(health, 'outcomes_total', 'duplicates'):.0f} duplicates",
        f"{_sum(health, 'outcomes_total', 'unpaired_re'):.0f} unpaired",
        f"{_sum(health, 'outcomes_total', 'unwatched'):.0f} decisions of unknown bundles",
        f"lag {health.get('lag_seconds', 0.0):.1f} s",
    ]
    return Text(f"{url}: {', '.join(parts)}", style="red" if dropped else "dim")


def _sum(health: dict[str, float], name: str, label: str) -> float:
    return sum(value for key, value in health.items() if key.startswith(name) and label in key)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _missing(error: ModuleNotFoundError, extra: str) -> Exception:
    """Return what to raise where a package of an extra is absent; a module of ours that is absent is a bug."""
    return error if (error.name or "vigil").startswith("vigil") else MissingExtra(str(error.name), extra)


def _get(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS) as response:  # noqa: S310 - an address of the operator's
            content: bytes = response.read()
            return content
    except (urllib.error.URLError, TimeoutError, ConnectionError, ValueError) as error:
        cause: Any = getattr(error, "reason", error)
        raise Unavailable(f"the detector service at {url} does not answer ({cause}): `vigil logs monitor`") from error
