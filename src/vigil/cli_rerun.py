"""`vigil rerun`: runs of the retraining pipeline that events have started, or a person."""

import asyncio
import time
import uuid
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from vigil.errors import ContractError, MissingExtra
from vigil.settings import load_settings, login

if TYPE_CHECKING:
    from vigil.rerun.records import Rerun

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Retrain a model because of an event, such as drift of the population.\n\n"
    "Each event starts one run at most, a model has one run at a time, and cool-down and budget keep a storm of events"
    " from being a storm of runs. Everything is on record in $VIGIL_HOME/rerun. Runs take place on the server of"
    " `$VIGIL_KFP_HOST` if that is set, or else on this machine.",
)

_Config = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="YAML file of the rules of each model.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


@app.command()
def serve(
    config: _Config = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the sink; 0 for any.", min=0, max=65535)] = 8090,
) -> None:
    """Take CloudEvents at POST / and start reruns, until Ctrl-C.

    Let the detector service tell it: VIGIL_EVENT_SINKS=http://127.0.0.1:8090/. The answer is 202 for a run that is to
    start, 200 for an event that came before or asks for no run, and 429 with Retry-After in cool-down or over budget.
    A run on this machine goes on when the sink stops; the next one watches it further.
    """
    try:
        from vigil.rerun.service import Service
        from vigil.web import serve
    except ModuleNotFoundError as error:
        if (error.name or "vigil").startswith("vigil"):
            raise
        raise MissingExtra(str(error.name), "serve") from error
    from vigil.rerun.opening import open_desk, open_worker
    from vigil.rerun.settings import load_rerun_settings

    settings, told = load_settings(), load_rerun_settings(config)
    desk, worker = open_desk(settings, told), open_worker(settings, told)
    server = Service(desk, worker).app()
    asyncio.run(serve(server, host, port, on_ready=lambda url: typer.echo(f"The rerun sink takes events at {url}")))


@app.command("list")
def list_reruns(
    model: Annotated[str | None, typer.Option(help="Only events of this model.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="The last so many.")] = 20,
    as_json: _Json = False,
) -> None:
    """List the events, what was decided about each, and what became of its run."""
    from vigil.rerun.opening import open_journal

    found = open_journal(load_settings()).newest(limit, model)
    if as_json:
        typer.echo("[" + ",\n".join(one.model_dump_json() for one in found) + "]")
        return
    columns = (Column("event", no_wrap=True), "received", "model", "decision", "run", "state", "outcome")
    table = Table(*columns, box=None, pad_edge=False)
    for one in found:
        cells = (one.asked.event_id, _moment(one.received), one.asked.model, one.decision, one.run or "")
        table.add_row(*map(Text, (*cells, one.stage or "", _outcome(one))))
    Console().print(table if found else "No event yet.")


@app.command()
def show(
    event: Annotated[str, typer.Argument(metavar="EVENT", help="Its id, or the name of its run.")],
    as_json: _Json = False,
) -> None:
    """Show an event, its evidence, and its run."""
    from vigil.rerun.opening import open_journal

    journal = open_journal(load_settings())
    found = journal.find(event) or next((one for one in journal.newest(1_000) if one.run == event), None)
    if found is None:
        raise ContractError(f"there is no event or run {event}: `vigil rerun list` shows them")
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
        return
    for name, value in _facts(found):
        Console().print(Text.assemble((f"{name:12}", "bold"), value), soft_wrap=True)


@app.command()
def start(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model, such as card_fraud.")],
    reason: Annotated[str, typer.Option("--reason", help="Why. It is kept with the run and its version.")],
    force: Annotated[bool, typer.Option("--force", help="Overrule cool-down and budget, never a run that goes on.")] = (
        False
    ),
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; a run that fails fails this.")] = False,
    config: _Config = None,
) -> None:
    """Start a rerun by hand, through the same gate as an event.

    A sink that runs here takes it up; without one this command starts it itself.

    For example: `vigil rerun start card_fraud --reason "new terminals since Monday" --wait`.
    """
    from vigil.rerun.opening import open_desk
    from vigil.rerun.records import Asked, Decision
    from vigil.rerun.settings import load_rerun_settings

    settings, told = load_settings(), load_rerun_settings(config)
    person = f"person:{login()}"
    asked = Asked(event_id=f"hand-{uuid.uuid4().hex}", model=model, summary=reason, started_by=person, force=force)
    taken = open_desk(settings, told).take(asked).rerun
    if taken.decision is not Decision.START:
        raise ContractError(f"no run: {taken.why}" + ("" if taken.run else "; --force overrules that"))
    done = _work_on(taken, wait, config)
    typer.echo(f"{done.run} is {done.stage}: {done.url or done.trouble}")
    if done.outcome:
        typer.echo(_outcome(done))
    if done.stage is not None and done.stage.is_over and done.stage != "succeeded":
        raise typer.Exit(1)


def _work_on(rerun: "Rerun", wait: bool, config: Path | None) -> "Rerun":
    """Return the record once its run has started, or with `wait` once it is over."""
    from vigil.rerun.opening import open_worker
    from vigil.rerun.settings import load_rerun_settings

    worker = open_worker(load_settings(), load_rerun_settings(config))
    while True:
        with worker.journal.alone() as mine:
            if mine:
                worker.step()
        found = worker.journal.find(rerun.asked.event_id) or rerun
        if not found.is_open or (found.started and not wait):
            return found
        time.sleep(0.5)


def _facts(found: "Rerun") -> list[tuple[str, str]]:
    asked = found.asked
    facts = [("event", asked.event_id), ("model", asked.model), ("cause", asked.cause or asked.started_by)]
    facts += [("what", asked.summary), *(("evidence", text) for text in asked.evidence)]
    facts += [("received", f"{_moment(found.received)}, {found.told} times"), ("decision", found.decision)]
    facts += [("why", found.why), ("run", found.run or ""), ("where", found.url or ""), ("state", found.stage or "")]
    facts += [("started", _moment(found.started)), ("ended", _moment(found.ended)), ("waits for", found.trouble)]
    facts += [("outcome", _outcome(found))]
    return [(name, value) for name, value in facts if value]


def _outcome(found: "Rerun") -> str:
    outcome = found.outcome
    if outcome is None:
        return ""
    if outcome.version is None:
        return outcome.reason
    return f"version {outcome.version}" + (f", then {outcome.followed_by}" if outcome.followed_by else "")


def _moment(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}" if moment else ""
