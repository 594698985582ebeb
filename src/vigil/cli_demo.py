"""`vigil demo`: the whole way once, on this machine."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from vigil.settings import load_settings, settle_in


def demo(
    data: Annotated[
        Path | None, typer.Option("--data", "-d", exists=True, dir_okay=False, help="A raw file of your own.")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--source", "-s", help="Mapping of the file: see `vigil ingest --help`.")
    ] = None,
    use_case: Annotated[
        str | None,
        typer.Option(
            "--use-case", "-u", help="A use case of Vigil, or a YAML file; card_fraud for a file, else retail_pos."
        ),
    ] = None,
    port: Annotated[int, typer.Option("--port", "-p", min=1, max=65535, help="Of the endpoint.")] = 8080,
    live_hours: Annotated[
        float, typer.Option(min=0.01, help="The end of the data that training does not see: it is sent live.")
    ] = 24.0,
    most_live: Annotated[int, typer.Option(min=1, help="Live transactions at most.")] = 2000,
) -> None:
    """Take raw data through the pipeline to a served model, and send it live traffic.

    Simulates a chain of sites, or takes a file. Ingestion, features, members, ensemble, evaluation and gates run as
    the components that a cluster runs; what passes is registered and deployed on KServe servers behind a local
    endpoint. The end of the data comes as live traffic, and every served decision is compared with what the offline
    path decides. The endpoint stays up: `vigil down` stops it.

    Everything is written to $VIGIL_HOME/demo, which is emptied first.

    **Examples**

        vigil demo

        vigil demo --data transactions.parquet --source fraud_handbook --live-hours 3
    """
    from vigil.demo.story import DemoRequest, tell

    settings = settle_in(load_settings().home / "demo")
    chosen = use_case or ("card_fraud" if data else "retail_pos")
    request = DemoRequest(chosen, data and data.absolute(), source, port, live_hours, most_live)
    tell(request, settings, Console())
