"""The command line: `vigil --help` lists what there is."""

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from vigil import (
    __version__,
    cli_alerts,
    cli_demo,
    cli_evaluation,
    cli_features,
    cli_ingest,
    cli_kserve,
    cli_models,
    cli_monitor,
    cli_pipeline,
    cli_rerun,
    cli_rollout,
    cli_runtime,
    cli_schemas,
    cli_simulate,
    cli_sites,
)
from vigil.errors import VigilError
from vigil.logs import configure_logging
from vigil.settings import load_settings

app = typer.Typer(
    name="vigil",
    help="Find anomalies and fraud in the operations of a business with many sites.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vigil {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    settings = load_settings()
    configure_logging(settings.log_level, as_json=settings.log_json)


app.command()(cli_ingest.ingest)
app.command()(cli_demo.demo)
app.command("simulate")(cli_simulate.simulate_command)
app.add_typer(cli_alerts.app, name="alerts")
app.add_typer(cli_features.app, name="features")
app.add_typer(cli_evaluation.app, name="evaluate")
app.add_typer(cli_kserve.app, name="kserve")
app.add_typer(cli_models.app, name="models")
app.add_typer(cli_monitor.app, name="monitor")
app.add_typer(cli_pipeline.app, name="pipeline")
app.add_typer(cli_sites.app, name="sites")
app.add_typer(cli_rerun.app, name="rerun")
app.add_typer(cli_rollout.app, name="rollout")
for command in (cli_runtime.up, cli_runtime.deploy, cli_runtime.status, cli_runtime.logs, cli_runtime.down):
    app.command()(command)
app.command()(cli_schemas.schemas)


def main() -> None:
    """Run the command line: an error that Vigil raises on purpose is one sentence and exit status 1."""
    try:
        app()
    except VigilError as error:
        Console(stderr=True).print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)
