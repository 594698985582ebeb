"""`vigil up`, `deploy`, `status`, `logs` and `down`: models served on this machine, as on a cluster."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vigil.errors import ContractError, MissingExtra
from vigil.registry.registry import IN_PRODUCTION
from vigil.settings import load_settings

if TYPE_CHECKING:
    from vigil.runtime.client import Progress, RuntimeClient
    from vigil.runtime.status import MonitorStatus, RevisionStatus, RuntimeStatus

_Revision = Annotated[
    str,
    typer.Argument(metavar="REVISION", help="Its name in `vigil status`; monitor for the detector service."),
]

_WIDEST = 250
_MONITOR_CONFIG = "monitor.yaml"
"""In VIGIL_HOME: limits of the detector service and settings of its watches."""

_COLOURS = {"ready": "green", "failed": "red", "stopped": "dim"}


def _client() -> "RuntimeClient":
    """Return the client of the runtime; the runtime needs packages that a core installation does not have."""
    try:
        from vigil.runtime.client import RuntimeClient
    except ModuleNotFoundError as error:
        if (error.name or "vigil").startswith("vigil"):
            raise
        raise MissingExtra(str(error.name), "serve") from error
    return RuntimeClient(load_settings())


def up(
    port: Annotated[int, typer.Option(help="Port of the endpoint, V1 and V2 over HTTP.", min=1, max=65535)] = 8080,
    grpc_port: Annotated[int, typer.Option(help="Port of V2 over gRPC; 0 for none.", min=0, max=65535)] = 8081,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    grace: Annotated[
        float, typer.Option(help="Seconds that a revision without traffic stays warm before it is stopped.", min=0)
    ] = 30.0,
    monitor: Annotated[bool, typer.Option("--monitor/--no-monitor", help="Run the detector service beside it.")] = True,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay here until Ctrl-C.")] = False,
) -> None:
    """Start the local runtime: one endpoint, behind which models are deployed.

    It goes on in the background, and takes up what was deployed before the machine, or it, went down. For example:
    `vigil up --port 9000`, then `vigil deploy card_fraud`, then `vigil status`.
    """
    client = _client()
    from vigil.runtime import daemon
    from vigil.runtime.supervisor import RuntimeConfig

    settings = load_settings()
    limits = settings.home.absolute() / _MONITOR_CONFIG
    config = RuntimeConfig(
        settings=settings,
        host=host,
        port=port,
        grpc_port=grpc_port or None,
        grace_seconds=grace,
        monitor=monitor,
        monitor_config=str(limits) if limits.exists() else None,
    )
    if foreground:
        daemon.run(config)
        return
    daemon.start(config)
    status = client.status()
    typer.echo(f"The runtime is up at {status.endpoint} (pid {status.pid}).")
    from vigil.rollout.process import carry_on

    if carry_on(settings):
        typer.echo("Rollouts that were under way go on: vigil rollout status.")
    if not status.revisions:
        typer.echo("Nothing is deployed: vigil deploy MODEL.")


def deploy(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model, such as card_fraud.")],
    version: Annotated[str, typer.Argument(metavar="[VERSION]", help="Its number, or production.")] = IN_PRODUCTION,
    traffic: Annotated[
        float, typer.Option(help="Percent of the traffic; the first revision of a model gets all.", min=0, max=100)
    ] = 100.0,
    shadow: Annotated[bool, typer.Option("--shadow", help="Copies of the live requests instead of traffic.")] = False,
    name: Annotated[str | None, typer.Option(help="Name of the revision; MODEL-vVERSION without it.")] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait until it is ready.")] = False,
) -> None:
    """Serve a registered version; traffic moves to it once it is ready.

    A revision that does not get ready gets no traffic, and the last lines of its log are shown. What was served before
    keeps the rest of the traffic; without any, it is stopped after the grace time and can be deployed again at once.

    For example: `vigil deploy card_fraud 7 --traffic 5`, later `vigil deploy card_fraud 7`.
    """
    client = _client()
    from vigil.runtime.client import READY_SECONDS, resolve

    request = resolve(load_settings(), model, version, traffic=traffic, shadow=shadow, name=name)
    if no_wait:
        found = client.deploy(request, wait=False)
        typer.echo(f"Revision {found.name} is {found.state}: vigil status.")
        return
    with _progress(request.revision) as show:
        found = client.deploy(request, timeout=READY_SECONDS, on_progress=show)
    what = "gets copies of the live requests" if found.shadow else f"has {found.traffic:g} % of the traffic"
    typer.echo(f"Revision {found.name} is ready and {what}.")
    typer.echo(f"Its endpoint: {client.status().endpoint}/v1/models/{found.model}:predict")


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show the revisions: their state, their traffic and what they have served."""
    found = _client().status()
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
        return
    table, console = status_table(found), Console()
    wanted = console.measure(table, options=console.options.update(width=_WIDEST)).maximum
    console.width = max(console.width, wanted)  # a line that wraps beats a cell that is cut
    console.print(table)
    console.print(_endpoints(found), highlight=False, soft_wrap=True)
    for revision in found.revisions:
        if revision.why is not None:
            console.print(Text(f"\n{revision.name}: {revision.why}"), soft_wrap=True)


def logs(
    revision: _Revision,
    process: Annotated[str | None, typer.Option(help="predictor or transformer; both without it.")] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", help="Last lines of each.", min=1)] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
) -> None:
    """Show what a revision's processes say; their files lie in VIGIL_HOME/runtime/logs.

    For example: `vigil logs card_fraud-v7 --process predictor -f`.
    """
    folder = _client().folder.logs(revision)
    from vigil.runtime.logfile import tail

    roles = [path.stem for path in sorted(folder.glob("*.log"))]
    if not roles:
        raise ContractError(f"revision {revision} has no logs in {folder.parent}: `vigil status` lists the revisions")
    if process is not None and process not in roles:
        raise ContractError(f"{revision} has no process {process}: {' or '.join(roles)}")
    paths = [folder / f"{role}.log" for role in roles if process in (None, role)]
    marks = {path: path.stat().st_size for path in paths}
    for path in paths:
        for line in tail(path, lines):
            typer.echo(f"{path.stem:11} {line}")
    while follow:
        time.sleep(0.3)
        for path in paths:
            marks[path] = _echo_from(path, marks[path])


def down(
    force: Annotated[
        bool, typer.Option("--force", help="End the processes whatever they do, and those that a crash has left.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep logs and deployments for the next `vigil up`.")] = False,
) -> None:
    """Stop the runtime: requests on the way finish, all processes end, nothing is left behind."""
    was_running = _client().down(force=force, keep=keep)
    typer.echo("The runtime is down." if was_running else "No runtime was running.")


def status_table(found: "RuntimeStatus") -> Table:
    """Return the revisions as one table."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("model", "version", "revision", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("traffic", "shadow", "requests", "errors", "restarts"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("ready since", no_wrap=True)
    for one in found.revisions:
        cells = [one.model, one.version, one.name, one.state, _traffic(one), _shadow(one)]
        cells += [str(one.served.requests), str(one.served.errors), str(one.restarts), _moment(one.ready_since)]
        table.add_row(*(Text(cell, style=_COLOURS.get(one.state, "") if cell == one.state else "") for cell in cells))
    return table


def _traffic(one: "RevisionStatus") -> str:
    waits = f" (then {one.awaits:g} %)" if one.awaits is not None else ""
    return f"{one.traffic:g} %{waits}"


def _shadow(one: "RevisionStatus") -> str:
    if not one.shadow and not one.served.mirrored:
        return ""
    dropped = sum(count for outcome, count in one.served.mirrored.items() if outcome.startswith("dropped"))
    sent = sum(one.served.mirrored.values()) - dropped
    return f"{sent} sent" + (f", {dropped} dropped" if dropped else "")


def _moment(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}" if moment else ""


def _endpoints(found: "RuntimeStatus") -> str:
    grpc = f", gRPC {found.grpc_endpoint}" if found.grpc_endpoint else ""
    empty = "" if found.revisions else "\nNothing is deployed: vigil deploy MODEL."
    up = f"Endpoint {found.endpoint}{grpc}, up since {_moment(found.since)} (pid {found.pid})"
    return f"{up}\n{_monitor(found.monitor)}{empty}"


def _monitor(found: "MonitorStatus | None") -> str:
    if found is None:
        return "No detector service: `vigil up --no-monitor` left it out."
    if found.why is not None:
        return f"The detector service failed: {found.why}"
    dropped = sum(found.payloads.values()) - (sent := found.payloads.get("sent", 0))
    state = f"pid {found.pid}" if found.pid else "starting again"
    restarts = f", {found.restarts} restarts" if found.restarts else ""
    return f"Detector service {found.url} ({state}{restarts}), {sent} answers sent, {dropped} dropped"


@contextmanager
def _progress(name: str) -> "Iterator[Progress]":
    """Show how a revision comes up, on a terminal."""
    console = Console(stderr=True)
    with console.status(f"{name}: starting") as display:
        began = time.monotonic()

        def show(found: "RevisionStatus") -> None:
            running = ", ".join(one.role for one in found.processes if one.pid is not None) or "no process"
            restarts = f", {found.restarts} restarts" if found.restarts else ""
            seconds = f"{time.monotonic() - began:.0f} s"
            display.update(f"{found.name}: {found.state} ({running}{restarts}), {seconds}")

        yield show


def _echo_from(path: Path, mark: int) -> int:
    """Print what a log has gained since `mark`, and return the new mark; a fresh file is read from its start."""
    size = path.stat().st_size if path.exists() else 0
    if size == mark:
        return mark
    with path.open("rb") as file:
        file.seek(mark if size > mark else 0)
        content = file.read()
    whole = content[: content.rfind(b"\n") + 1]
    for line in whole.decode("utf-8", "replace").splitlines():
        typer.echo(f"{path.stem:11} {line}")
    return (mark if size > mark else 0) + len(whole)
