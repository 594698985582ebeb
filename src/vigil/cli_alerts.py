"""`vigil alerts`: incidents, who has them, and how they reach him."""

import asyncio
import json
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from vigil.clock import system_clock
from vigil.decisions.policy import Severity
from vigil.errors import ContractError
from vigil.settings import Settings, load_settings, login

if TYPE_CHECKING:
    from vigil.alerts.acts import Acts, By
    from vigil.alerts.incidents import Incident
    from vigil.alerts.records import Window
    from vigil.alerts.settings import AlertSettings

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Incidents and alerts: what is wrong, since when, who has it, and how he is told.\n\n"
    "Findings of sites, held transactions, drift and failed rollouts become incidents: related ones are one, each has"
    " one owner by the routing table, and what nobody acknowledges escalates. Everything is on record in"
    " $VIGIL_HOME/alerts.",
)
routes = typer.Typer(no_args_is_help=True, help="See and try the routing table.")
maintenance = typer.Typer(no_args_is_help=True, help="Times at which signals are recorded, and are no incidents.")
app.add_typer(routes, name="routes")
app.add_typer(maintenance, name="maintenance")

_Config = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", metavar="FILE", help="YAML file of owners, channels, routes and rules; $VIGIL_ALERTS without."
    ),
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
_Id = Annotated[str, typer.Argument(metavar="INCIDENT", help="Its id, or how it begins.")]
_Reason = Annotated[str, typer.Option("--reason", help="Why. It is kept on record.")]
_Actor = Annotated[str | None, typer.Option("--actor", help="Who does it; you, without it.")]


@app.command()
def serve(
    config: _Config = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the desk; 0 for any.", min=0, max=65535)] = 8091,
) -> None:
    """Take CloudEvents at POST /, tell owners, and escalate, until Ctrl-C.

    Let others tell it: VIGIL_EVENT_SINKS=http://127.0.0.1:8091/. The answer is 202 for what is new, and 200 for what
    came before or asks for no attention.
    """
    from vigil.alerts.desk import Desk
    from vigil.alerts.opening import open_journal
    from vigil.alerts.service import Service
    from vigil.web import serve

    settings = load_settings()
    service = Service(Desk(open_journal(settings), _told(settings, config)), settings)
    asyncio.run(
        serve(service.app(), host, port, on_ready=lambda url: typer.echo(f"The alert desk takes events at {url}"))
    )


@app.command()
def take(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="Findings of `vigil sites score -o` (.parquet), or a decision log.")
    ],
    to: Annotated[
        str | None, typer.Option(metavar="URL", help="A desk elsewhere; the journal here without it.")
    ] = None,
    feed: Annotated[str, typer.Option(help="Where the data of findings comes from.")] = "",
    model: Annotated[str, typer.Option(help="Name of the model that found them.")] = "sites",
) -> None:
    """Take in what was found before, or elsewhere; what came before counts once."""
    from vigil.alerts.bringing import Source, bring, send
    from vigil.alerts.desk import Desk
    from vigil.alerts.opening import open_journal

    settings, source = load_settings(), Source(path, model, feed)
    brought = send(source, to) if to else bring(source, Desk(open_journal(settings), _told(settings, None)))
    seen = f", {brought.repeated} were there before" if brought.repeated else ""
    typer.echo(f"{brought.signals} signals{seen}; they are part of {len(brought.incidents)} incidents")


@app.command("list")
def list_incidents(
    also_over: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
    kind: Annotated[str | None, typer.Option("--type", help="Only of this alert type, such as site_dip.")] = None,
    site: Annotated[str | None, typer.Option(help="Only at this site.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 50,
    as_json: _Json = False,
) -> None:
    """List the incidents that go on, the most urgent first; with --all every one, the newest first."""
    from vigil.alerts.incidents import State, most_urgent_first
    from vigil.alerts.opening import open_journal

    with open_journal(load_settings()).reading() as pages:
        every = pages.incidents() if also_over else sorted(pages.live_ones().values(), key=most_urgent_first)
    chosen = [one for one in every if one.state is not State.MERGED and kind in (None, one.type)]
    found = [one for one in chosen if site is None or site in one.sites][:limit]
    if as_json:
        typer.echo(json.dumps([one.public() for one in found], indent=2))
        return
    columns = (Column("incident", no_wrap=True), "severity", "what", "since", "lasts", "distance", "state", "owner")
    table = Table(*columns, box=None, pad_edge=False)
    for one in found:
        distance = "" if one.farthest.distance is None else f"{one.farthest.distance:+.1f}"
        cells = (one.id, one.severity, one.title, _moment(one.first_seen), _span(one.duration), distance)
        table.add_row(*map(Text, (*cells, _state(one), one.owner)))
    Console().print(table if found else "No incident.")


@app.command()
def show(incident: _Id, as_json: _Json = False) -> None:
    """Show an incident: what was seen, who was told what, and what was done."""
    from vigil.alerts.messages import Why, text_of
    from vigil.alerts.opening import open_journal

    with open_journal(load_settings()).reading() as pages:
        found = pages.incident(incident)
        acts = pages.acts(found.id) if found else []
        letters = pages.outbox.of(found.id) if found else []
    if found is None:
        raise ContractError(f"there is no incident {incident}, or several: `vigil alerts list --all` shows them")
    if as_json:
        record = [one.model_dump(mode="json", exclude={"incident"}) for one in acts]
        typer.echo(json.dumps(found.public() | {"acts": record}, indent=2))
        return
    console = Console()
    console.print(Text(text_of(found, Why.FIRST, found.owner or "nobody yet", None).rpartition("Take it:")[0].rstrip()))
    console.print(Text(f"State:     {_state(found)}" + (f", part of {found.merged_into}" if found.merged_into else "")))
    for act in acts:
        console.print(Text(f"{_moment(act.at)}  {act.kind:12} {act.actor}: {act.reason}"), soft_wrap=True)
    for letter in letters:
        line = f"{_moment(letter.message.created)}  {letter.state:12} {letter.message.why} to {letter.message.owner}"
        trouble = f", {letter.attempts} attempts: {letter.trouble}" if letter.trouble else ""
        console.print(Text(f"{line} by {letter.message.channel}{trouble}"), soft_wrap=True)


@app.command()
def ack(
    incident: _Id,
    reason: _Reason,
    ticket: Annotated[str, typer.Option(help="Its id in another system.")] = "",
    actor: _Actor = None,
) -> None:
    """Take an incident: it does not escalate any more."""
    done = _acts().acknowledge(incident, _by(actor, reason), ticket)
    typer.echo(f"{done.id} is yours: {done.title}")


@app.command()
def snooze(
    incident: _Id,
    reason: _Reason,
    minutes: Annotated[float, typer.Option("--for", min=1, help="Minutes of quiet.")] = 60.0,
    actor: _Actor = None,
) -> None:
    """Keep an incident quiet for a while; if it goes on then and nobody has taken it, it is told again."""
    done = _acts().snooze(incident, _by(actor, reason), system_clock() + timedelta(minutes=minutes))
    typer.echo(f"{done.id} is quiet until {_moment(done.snoozed)} UTC")


@app.command()
def close(
    incident: _Id,
    reason: _Reason,
    real: Annotated[bool, typer.Option("--real/--false-alarm", help="What it was.")],
    actor: _Actor = None,
) -> None:
    """Close an incident and say whether it was real: alert precision is made of that."""
    from vigil.alerts.incidents import Judged

    done = _acts().close(incident, _by(actor, reason), Judged.REAL if real else Judged.FALSE)
    typer.echo(f"{done.id} is closed as {done.judged}")


@app.command()
def report(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What you noticed.")],
    site: Annotated[str, typer.Option(help="At which site.")] = "",
    metric: Annotated[str, typer.Option(help="In which metric.")] = "",
    at: Annotated[str | None, typer.Option(metavar="TIME", help="When you noticed it; now without it.")] = None,
    severity: Annotated[Severity, typer.Option(help="How bad it looks.")] = Severity.MEDIUM,
    actor: _Actor = None,
) -> None:
    """Report what you noticed by yourself; if Vigil has not seen it, it becomes an incident."""
    from vigil.alerts.acts import Noticed

    noticed = Noticed(site, metric, _time(at) if at else None, severity)
    told = _acts().report(noticed, _by(actor, text))
    known = "Vigil had it already" if told.was_known else "it is on record"
    typer.echo(f"thank you, {known}: incident {told.incident}")


@app.command()
def measures(
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Incidents opened since; all without it.")] = None,
    config: _Config = None,
    as_json: _Json = False,
) -> None:
    """Say what the alerts are worth, from recorded times, each with its formula."""
    from vigil.alerts.measures import measure
    from vigil.alerts.opening import open_journal

    settings, moment = load_settings(), _time(since) if since else None
    found = measure(open_journal(settings), _told(settings, config), system_clock(), moment)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
        return
    for one in found.measures:
        value = "none" if one.value is None else f"{one.value:.1%}" if one.unit == "share" else f"{one.value:.1f} min"
        counts = f"{one.numerator} of {one.denominator}" + (f"; {one.note}" if one.note else "")
        typer.echo(f"{one.name}: {value} ({counts})\n    = {one.formula}")


@routes.command("show")
def show_routes(config: _Config = None) -> None:
    """Show the table: the first line that matches decides."""
    told = _told(load_settings(), config)
    table = Table("line", "type", "metric", "site", "from", "owner", "told by", "then", box=None, pad_edge=False)
    for line, route in enumerate(told.routes):
        owner = told.owners[route.owner]
        least = "" if route.severity is Severity.NONE else route.severity
        how = "; ".join(told.channels[one].where() for one in owner.channels)
        cells = (str(line), route.type, route.metric, route.site, least, route.owner, how)
        table.add_row(*map(Text, (*cells, ", ".join(owner.escalates_to))))
    Console().print(Text(f"table {told.table}"))
    Console().print(table)


@routes.command("test")
def try_route(
    kind: Annotated[str, typer.Argument(metavar="TYPE", help="An alert type, such as site_dip.")],
    site: Annotated[str, typer.Option(help="The site.")] = "",
    metric: Annotated[str, typer.Option(help="The metric.")] = "",
    severity: Annotated[Severity, typer.Option(help="How severe it is.")] = Severity.HIGH,
    send: Annotated[bool, typer.Option("--send", help="Really send a test message by each channel.")] = False,
    config: _Config = None,
) -> None:
    """Say who would be told of such a signal, by which channels, and who would be next."""
    from vigil.alerts.trial import send_test, told_of

    told = _told(load_settings(), config)
    trial = told_of(told, kind, site, metric, severity)
    for line in trial.lines:
        typer.echo(line)
    if not send:
        return
    outcomes = asyncio.run(send_test(told, load_settings(), trial))
    for channel, trouble in outcomes.items():
        typer.echo(f"{channel}: {trouble or 'sent'}")
    if any(outcomes.values()):
        raise typer.Exit(1)


@maintenance.command("add")
def add_window(
    reason: _Reason,
    until: Annotated[str, typer.Option(metavar="TIME", help="When it ends, such as 2026-11-26T06:00Z.")],
    since: Annotated[str | None, typer.Option(metavar="TIME", help="When it begins; now without it.")] = None,
    site: Annotated[str, typer.Option(help="Pattern of sites, such as `S00*`.")] = "*",
    metric: Annotated[str, typer.Option(help="Pattern of metrics.")] = "*",
    kind: Annotated[str, typer.Option("--type", help="Pattern of alert types, such as `site_*`.")] = "*",
) -> None:
    """Announce maintenance: what it covers, by event time, is recorded and alerts nobody."""
    from pydantic import ValidationError

    from vigil.alerts.records import Window
    from vigil.alerts.settings import describe

    by = _by(None, reason)
    times = {"since": _time(since) if since else system_clock(), "until": _time(until)}
    patterns = {"site": site, "metric": metric, "type": kind}
    try:
        window = Window(id=uuid.uuid4().hex[:8], **patterns, **times, actor=by.actor, reason=by.reason)
    except ValidationError as error:
        raise ContractError(describe(error)) from error
    _acts().add_window(window)
    typer.echo(f"maintenance {window.id} until {_moment(window.until)} UTC")


@maintenance.command("end")
def end_window(
    window: Annotated[str, typer.Argument(metavar="WINDOW", help="Its id.")], reason: _Reason, actor: _Actor = None
) -> None:
    """End maintenance now."""
    done = _acts().end_window(window, _by(actor, reason))
    typer.echo(f"maintenance {done.id} ended")


@maintenance.command("list")
def list_windows() -> None:
    """List maintenance windows, and how many signals each has kept from being incidents."""
    from vigil.alerts.opening import open_journal

    with open_journal(load_settings()).reading() as pages:
        found: list[tuple[Window, int]] = [(one, pages.suppressed(one.id)) for one in pages.windows()]
    table = Table("window", "from", "until", "site", "metric", "type", "signals", "reason", box=None, pad_edge=False)
    for one, count in found:
        cells = (one.id, _moment(one.since), _moment(one.until), one.site, one.metric, one.type, str(count))
        table.add_row(*map(Text, (*cells, f"{one.actor}: {one.reason}")))
    Console().print(table if found else "No maintenance window.")


def _acts() -> "Acts":
    from vigil.alerts.acts import Acts
    from vigil.alerts.opening import open_journal

    settings = load_settings()
    return Acts(open_journal(settings), _told(settings, None))


def _told(settings: Settings, config: Path | None) -> "AlertSettings":
    from vigil.alerts.settings import load_alert_settings

    return load_alert_settings(config or settings.alerts)


def _by(actor: str | None, reason: str) -> "By":
    from vigil.alerts.acts import By

    return By(actor if actor is not None else f"person:{login()}", reason)


def _state(found: "Incident") -> str:
    if found.is_snoozed(system_clock()):
        return f"{found.state}, quiet until {_moment(found.snoozed)}"
    if found.state == "acknowledged":
        return f"taken by {found.taken_by}"
    judged = f" as {found.judged}" if found.judged else ""
    return f"{found.state}{judged}"


def _time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ContractError(f"{text!r} is not a time such as 2026-11-26T06:00Z") from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _moment(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else ""


def _span(duration: timedelta) -> str:
    hours = duration.total_seconds() / 3600
    return f"{hours / 24:.1f} d" if hours >= 48 else f"{hours:.1f} h"
