"""`vigil features`: build and update a feature table, print the catalogue."""

from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet as pq
import typer
import yaml
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from vigil.clock import HOUR, from_micros
from vigil.errors import ContractError
from vigil.features.catalogue import render_catalogue
from vigil.features.compiler import compile_features
from vigil.features.definitions import FeatureConfig, define
from vigil.features.fields import KINDS
from vigil.features.incremental import FeatureStore, Update

app = typer.Typer(no_args_is_help=True, help="Build features from events, keep them up to date, list them.")

_Config = Annotated[
    Path | None, typer.Option("--config", help="YAML with feature groups and cut-offs; the defaults without it.")
]


@app.command()
def update(
    events: Annotated[Path, typer.Argument(help="Folder that `vigil ingest` or `vigil simulate` wrote.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the feature table; created if absent.")],
    config: _Config = None,
    lateness_hours: Annotated[float, typer.Option(min=0, help="How long an event may be under way, in hours.")] = 1.0,
) -> None:
    """Bring a feature table up to date with new events: the first call builds it, later ones cost what is new.

    Events older than the allowed lateness, and ids that come again with other contents, are written beside the table
    under `rejected/`; nothing is lost.

    For example: `vigil simulate -o run/raw`, then `vigil features update run/raw -o run/features`.
    """
    program = compile_features(define(read_config(config)))
    tables = _read_events(events)
    store = FeatureStore(output, program, int(lateness_hours * HOUR))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("events", total=sum(table.num_rows for table in tables.values()))
        done = store.update(tables, progress=lambda count: bar.advance(task, count))
    _write_rejected(output, done)
    Console().print(_summary(done, len(program.features)))


@app.command()
def catalogue(
    config: _Config = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; the screen without it.")] = None,
) -> None:
    """Print every feature with unit, window, default, reason, and formula, as Markdown."""
    chosen = read_config(config)
    page = render_catalogue(compile_features(define(chosen)), chosen)
    if output is None:
        typer.echo(page)
    else:
        output.write_text(page)


def read_config(path: Path | None) -> FeatureConfig:
    """Return the configuration in a YAML file, or the default; ContractError names the key that is wrong."""
    if path is None:
        return FeatureConfig()
    try:
        return FeatureConfig.model_validate(yaml.safe_load(path.read_text()) or {})
    except FileNotFoundError:
        raise ContractError(f"{path} does not exist: give a YAML file with feature groups and cut-offs") from None
    except (ValidationError, yaml.YAMLError) as error:
        raise ContractError(f"{path} is not a feature configuration: {error}") from error


def _read_events(folder: Path) -> dict[str, pa.Table]:
    found = {path.stem: path for path in sorted((folder / "events").glob("*.parquet")) if path.stem in KINDS}
    if not found:
        raise ContractError(
            f"{folder} has no events/*.parquet of {', '.join(KINDS)}: give a folder that "
            "`vigil ingest` or `vigil simulate` wrote"
        )
    return {kind: pq.read_table(path) for kind, path in found.items()}


def _write_rejected(output: Path, update: Update) -> None:
    for reason, tables in (("late", update.admission.late), ("conflicting", update.admission.conflicting)):
        for kind, table in tables.items():
            folder = output / "rejected"
            folder.mkdir(exist_ok=True)
            pq.write_table(table, folder / f"{kind}-{reason}-{update.settled}.parquet")


def _summary(update: Update, features: int) -> Table:
    table = Table(title="Feature table updated", show_header=False)
    admission = update.admission
    rows = {
        "events accepted": admission.accepted,
        "duplicates left out": admission.duplicates,
        "too late (rejected/)": sum(part.num_rows for part in admission.late.values()),
        "conflicting (rejected/)": sum(part.num_rows for part in admission.conflicting.values()),
        "transactions computed": update.computed,
        "features": features,
    }
    for name, value in rows.items():
        table.add_row(name, f"{value:,}")
    table.add_row("final up to", f"{from_micros(update.settled):%Y-%m-%d %H:%M} UTC")
    return table
