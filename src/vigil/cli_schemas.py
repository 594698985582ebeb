"""`vigil schemas`: the JSON Schemas of the events."""

import json
from pathlib import Path
from typing import Annotated

import typer

from vigil.contracts.events import EVENTS, event_model, json_schema


def schemas(
    kind: Annotated[str | None, typer.Argument(help="One kind of event; all without it.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for one file a kind.")] = None,
) -> None:
    """Print the JSON Schema of the events that Vigil takes, or write one file for each kind."""
    for model in [event_model(kind)] if kind else EVENTS.values():
        text = json.dumps(json_schema(model), indent=2) + "\n"
        if output is None:
            typer.echo(text)
        else:
            output.mkdir(parents=True, exist_ok=True)
            (output / f"{model.kind}.v{model.version}.json").write_text(text)
