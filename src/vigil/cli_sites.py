"""`vigil sites`: a model for every site, its findings, a picture of both, and which version of each is live."""

import os
import sys
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from vigil.clock import DAY, from_micros
from vigil.errors import ContractError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from vigil.fleet.bundled import Shard
    from vigil.fleet.incidents import Incident
    from vigil.fleet.model import Fleet
    from vigil.fleet.panel import Readings
    from vigil.fleet.score import Findings
    from vigil.registry.registry import Registry

app = typer.Typer(no_args_is_help=True, help="Learn what is usual at every site, and score what the sites report.")

_Readings = Annotated[
    Path, typer.Argument(help="CSV or Parquet with site_id, metric, event_time, value; or a simulated folder.")
]
_Fleet = Annotated[Path, typer.Argument(help="Folder that `vigil sites fit` wrote.")]
_Name = Annotated[str, typer.Option("--fleet", metavar="NAME", help="Name of the fleet in the registry.")]
_SHIPPED = "site_metrics"
MOST_SHOWN = 20


@app.command()
def fit(
    readings: _Readings,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write the models into.")],
    facts: Annotated[
        Path | None, typer.Option(help="YAML of sites: time_zone, cluster, holidays, hours, since.")
    ] = None,
    budget: Annotated[float, typer.Option(min=0.01, help="False incidents per site and month.")] = 0.4,
    step_seconds: Annotated[
        int | None, typer.Option(min=1, help="Time between two readings; found in the data without it.")
    ] = None,
) -> None:
    """Fit a model for every site and metric.

    For example: `vigil simulate -o run/raw`, then `vigil sites fit run/raw -o run/sites`.
    """
    from vigil.fleet.fit import fit_fleet
    from vigil.fleet.panel import Panel
    from vigil.fleet.settings import FleetSettings
    from vigil.fleet.storage import read_facts, read_readings, usual_step, write_fleet

    found = read_readings(readings)
    settings = FleetSettings(step_seconds=step_seconds or usual_step(found), budget=budget)
    columns = (TextColumn("{task.description:12}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=1.0)
        panel = Panel(found, read_facts(facts))
        fleet = fit_fleet(
            panel, settings, on_progress=lambda name, share: bar.update(task, description=name, completed=share)
        )
    write_fleet(fleet, output)
    Console().print(_summary(fleet, found))


@app.command()
def score(
    fleet: _Fleet,
    readings: _Readings,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Parquet of all findings.")] = None,
    state: Annotated[
        Path | None, typer.Option(help="State to go on from and to write; the end of the history without it.")
    ] = None,
) -> None:
    """Score readings, the missing ones too, and list the incidents.

    Without --state, what the models were fitted on is left out; with it, scoring goes on where it ended last.
    """
    import pyarrow.parquet as pq

    from vigil.fleet.incidents import incidents_of
    from vigil.fleet.score import score as score_readings
    from vigil.fleet.storage import read_fleet, read_readings, read_state, write_state

    models, found = read_fleet(fleet), read_readings(readings)
    begun = state is not None and state.exists()
    memory = read_state(state) if begun and state is not None else models.start_state()
    found = found if begun else _after_history(models, found)
    until = int(found.times.max()) + models.settings.step if len(found) else None
    findings = score_readings(models, memory, found, until)
    if output is not None:
        pq.write_table(findings.to_table(), output)
    if state is not None:
        write_state(memory, state)
    gap = models.settings.window * models.settings.step
    Console().print(_incident_table(incidents_of(findings, gap), len(found)))


@app.command()
def show(
    fleet: _Fleet,
    readings: _Readings,
    site: Annotated[str, typer.Argument(help="Whose readings to draw.")],
    metric: Annotated[str | None, typer.Option(help="Which metric; the only one without it.")] = None,
    days: Annotated[float, typer.Option(min=0.1, help="How much of the end to draw.")] = 21.0,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write: .html, .svg or .png.")] = Path(
        "site.html"
    ),
) -> None:
    """Draw a site: what was expected, what came, and what was found."""
    from vigil.fleet.score import score as score_readings
    from vigil.fleet.storage import read_fleet, read_readings

    models, found = read_fleet(fleet), read_readings(readings)
    row = _row(models, site, metric)
    series = models.series[row]
    mine = found.take(np.array([found.series[one] == series for one in range(len(found.series))])[found.index])
    mine = _after_history(models, mine)
    if not len(mine):
        raise ContractError(f"{readings} has no {series.metric} of {site} after what the models were fitted on")
    findings = score_readings(models, models.start_state(), mine)
    _draw(findings, f"{series.metric} of {series.site}", days, output)
    typer.echo(f"Written: {output}")


@app.command()
def versions(
    site: Annotated[str | None, typer.Argument(help="Of which site; a table of the shards without it.")] = None,
    fleet: _Name = _SHIPPED,
) -> None:
    """Show which version of each site is live, why, and what it can be rolled back to.

    For example: `vigil pipeline run site_models --data run/raw`, then `vigil sites versions`.
    """
    from vigil.fleet.bundled import live_models, live_shard
    from vigil.training.sites.rollback import find_site

    registry = _registry()
    if site is not None:
        Console().print(_version_table(site, find_site(registry, fleet, site)))
        return
    shards = [shard for model in live_models(registry, fleet) if (shard := live_shard(registry, model))]
    if not shards:
        raise ContractError(f"no shard of {fleet} is live: run `vigil pipeline run site_models --data PATH`")
    Console().print(_shard_table(shards))


@app.command()
def rollback(
    site: Annotated[str, typer.Argument(help="The site that goes back to its version before.")],
    reason: Annotated[str, typer.Option("--reason", help="Why. It is kept for ever.")],
    fleet: _Name = _SHIPPED,
    actor: Annotated[
        str | None, typer.Option("--by", metavar="ACTOR", help="person:NAME or policy:NAME; you without it.")
    ] = None,
) -> None:
    """Put the previous version of one site back into production; no other site changes.

    For example: `vigil sites rollback S0007 --reason "alarms every Sunday since the retraining"`.
    """
    from vigil.settings import load_settings, login
    from vigil.training.sites.rollback import roll_back_site

    by = (actor or f"person:{login()}", reason)
    published, earlier = roll_back_site(_registry(), load_settings(), fleet, site, by)
    typer.echo(f"{site} is back at version {earlier.version}: version {published.version} of its shard is live")


@app.command()
def serve(
    fleet: _Name = _SHIPPED,
    model: Annotated[
        str | None, typer.Option(help="Folder or gs:// address of one shard's bundle, instead of all live shards.")
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of HTTP.")] = 8080,
    grpc_port: Annotated[int, typer.Option(min=1, max=65535, help="Of gRPC.")] = 8081,
    most_shards: Annotated[int, typer.Option(min=1, help="Shards in memory at once.")] = 8,
) -> None:
    """Serve the live models of all sites here, until Ctrl-C; new versions are taken over as they go live.

    What the models have learned stays in $VIGIL_HOME/sites, and findings go to $VIGIL_EVENT_SINKS. Then, for example:

    curl -d '{"instances": [{"site": "S0007", "metric": "sales", "time": "2026-06-01T10:00:00Z", "value": 12}]}'
    localhost:8080/v1/models/site_metrics:predict
    """
    source = f"--fleet={fleet}" if model is None else f"--model_dir={model}"
    flags = [f"--model_name={fleet}", source, f"--http_port={port}", f"--grpc_port={grpc_port}"]
    command = [sys.executable, "-m", "vigil.serving.sites", *flags, f"--most_shards={most_shards}"]
    os.execv(sys.executable, command)  # noqa: S606 - no shell, and the program is this Python


def _registry() -> "Registry":
    from vigil.registry.registry import Registry
    from vigil.registry.store import open_store
    from vigil.settings import load_settings

    settings = load_settings()
    return Registry(open_store(settings.store_uri), public_key=settings.public_key)


def _shard_table(shards: "list[Shard]") -> Table:
    columns = ("shard", "version", "sites", "promoted", "kept", "rolled back", "budget")
    table = Table(*columns, title=f"{sum(len(one.records) for one in shards):,} sites are live")
    for one in shards:
        verdicts = [record.verdict for record in one.records.values()]
        counts = [str(verdicts.count(name)) for name in ("promoted", "kept", "rolled_back")]
        table.add_row(one.model, one.version, str(len(verdicts)), *counts, f"{one.fleet.settings.budget:g}")
    return table


def _version_table(site: str, shard: "Shard") -> Table:
    record = shard.records[site]
    table = Table("version", "state", "why", title=f"{site}, in version {shard.version} of {shard.model}")
    table.add_row(record.version, f"live, {record.verdict.replace('_', ' ')}", "; ".join(record.reasons))
    for one in record.earlier:
        table.add_row(one.version, "before", f"in bundle {one.bundle.removeprefix('sha256:')[:12]}")
    return table


def _row(models: "Fleet", site: str, metric: str | None) -> int:
    rows = [row for row, one in enumerate(models.series) if one.site == site and metric in (None, one.metric)]
    if not rows:
        near = ", ".join(sorted({one.site for one in models.series})[:8])
        raise ContractError(f"no model of {metric or 'any metric'} of site {site}: there are {near}, ...")
    if len(rows) > 1:
        known = ", ".join(models.series[row].metric for row in rows)
        raise ContractError(f"{site} has {known}: choose one with --metric")
    return rows[0]


def _after_history(models: "Fleet", readings: "Readings") -> "Readings":
    """Return the readings that the models were not fitted on."""
    from vigil.fleet.kernels.online import SEEN, STEP

    memory = models.start.memory
    last = np.full(len(readings.series), -1, dtype=np.int64)
    for number, series in enumerate(readings.series):
        row = models.position.get(series)
        if row is not None and memory[row, SEEN] > 0:
            last[number] = int(memory[row, STEP])
    return readings.take(readings.times // models.settings.step > last[readings.index])


def _summary(fleet: "Fleet", readings: "Readings") -> Table:
    from vigil.fleet.model import Basis

    table = Table(title="Sites fitted", show_header=False)
    basis = fleet.tables.facts[: len(fleet.series), 0]
    first, last = from_micros(int(readings.times.min())), from_micros(int(readings.times.max()))
    rows = {
        "readings": f"{len(readings):,}",
        "from, until": f"{first:%Y-%m-%d %H:%M}, {last:%Y-%m-%d %H:%M} UTC",
        "a reading every": f"{fleet.settings.step_seconds:,} s",
        "series (site and metric)": f"{len(fleet.series):,}",
        "metrics": ", ".join(fleet.metrics),
        "models of their own": f"{int((basis == Basis.SITE).sum()):,}",
        "models of a cluster": f"{int((basis == Basis.CLUSTER).sum()):,}",
        "models of all sites": f"{int((basis == Basis.GLOBAL).sum()):,}",
        "budget": f"{fleet.settings.budget:g} false incidents per site and month",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _incident_table(found: "list[Incident]", scored: int) -> Table:
    title = f"{len(found):,} incidents in {scored:,} readings"
    if len(found) > MOST_SHOWN:
        title += f"; the {MOST_SHOWN} most surprising"
    table = Table("site", "metric", "from (UTC)", "until", "what", "", "readings", "surprise", title=title)
    top = sorted(found, key=lambda one: -one.surprise)[:MOST_SHOWN]
    for one in sorted(top, key=lambda one: one.first):
        first, last = (f"{from_micros(moment):%y-%m-%d %H:%M}" for moment in (one.first, one.last))
        side = "high" if one.sign > 0 else "low"
        table.add_row(*one.series, first, last, one.kinds[0], side, str(one.findings), f"{one.surprise:.6f}")
    return table


def _draw(findings: "Findings", title: str, days: float, output: Path) -> None:
    from vigil.figures import figure_png, figure_svg

    shown = findings.times >= findings.times.max() - int(days * DAY)

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        times = findings.times[shown].astype("datetime64[us]")
        axes.fill_between(times, findings.low[shown], findings.high[shown], alpha=0.18, linewidth=0, label="usual")
        axes.plot(times, findings.expected[shown], linewidth=0.9, label="expected")
        axes.plot(times, findings.values[shown], linewidth=0.9, label="reading")
        _mark(axes, findings, shown)
        axes.set_title(title)
        axes.legend(loc="upper left", ncols=4)

    if output.suffix == ".png":
        output.write_bytes(figure_png(draw, 11.0, 4.2))
        return
    svg = figure_svg(draw, title, 11.0, 4.2)
    head = f'<meta charset="utf-8"><title>{escape(title)}</title>'
    page = f'<!doctype html><html lang="en">{head}<body>{svg}</body></html>\n'
    output.write_text(str(svg) + "\n" if output.suffix == ".svg" else page)


def _mark(axes: "Axes", findings: "Findings", shown: "NDArray[np.bool_]") -> None:
    """Draw a point at each flagged reading, and one at what was expected where none came."""
    flagged = shown & findings.flagged
    missing = flagged & np.isnan(findings.values)
    for rows, heights, label, marker in (
        (flagged & ~missing, findings.values, "flagged", "o"),
        (missing, findings.expected, "silent", "x"),
    ):
        if rows.any():
            times = findings.times[rows].astype("datetime64[us]")
            axes.scatter(times, heights[rows], s=16, marker=marker, color="#be123c", zorder=3, label=label)
