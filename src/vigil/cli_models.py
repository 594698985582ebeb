"""`vigil models`: what is registered, what is in production, who decided and why."""

import json
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from vigil.contracts.keys import ContentHash, ModelName, ModelVersion
from vigil.errors import ContractError
from vigil.registry.bundle import bundle_uri
from vigil.registry.comparison import Value, differences, version_facts
from vigil.registry.registry import IN_PRODUCTION, Registry, open_tracking
from vigil.registry.stages import Entry, Stage, Step, VersionState, promote_step, retire_step, rollback_step
from vigil.registry.store import open_store
from vigil.settings import load_settings, login

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="See the versions of models and move them between stages.\n\n"
    "A version is registered as **candidate**, approved for **staging**, and goes from there to **production**. "
    "The version that it displaces goes back to staging, where a rollback finds it.",
)

_Model = Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model, such as card_fraud.")]
_Version = Annotated[str, typer.Argument(metavar="VERSION", help="Its number, or production.")]
_Target = Annotated[
    tuple[str, str], typer.Argument(metavar="MODEL VERSION", help="Model and number, such as card_fraud 7.")
]
_Reason = Annotated[str, typer.Option("--reason", help="Why. It is kept for ever.")]
_Actor = Annotated[
    str | None,
    typer.Option("--by", metavar="ACTOR", help="person:NAME or policy:NAME; without it person: and your login."),
]
_Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


@dataclass(frozen=True)
class _Places:
    """Where the registry lies. MLflow takes seconds to open, so only changes open it."""

    store: str
    tracking: str

    def read(self) -> Registry:
        return Registry(open_store(self.store))

    def change(self) -> Registry:
        return Registry(open_store(self.store), None if self.tracking == "none" else open_tracking(self.tracking))


_PLACES: ContextVar[_Places] = ContextVar("_PLACES")
"""What the options of the group say. Commands have no room for a context: six parameters are enough."""


@app.callback()
def _root(
    store: Annotated[
        str | None,
        typer.Option(
            help="Folder or gs://bucket/prefix of bundles and ledger; $VIGIL_STORE or $VIGIL_HOME/models without it."
        ),
    ] = None,
    tracking_uri: Annotated[
        str | None,
        typer.Option(
            help="MLflow that is to show changes, or none; $VIGIL_TRACKING_URI or $VIGIL_HOME/mlflow.db without it."
        ),
    ] = None,
) -> None:
    settings = load_settings()
    _PLACES.set(_Places(store or settings.store_uri, tracking_uri or settings.mlflow_uri))


@app.command("list")
def list_versions(
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="Only this model.")] = None,
    stage: Annotated[Stage | None, typer.Option(help="Only versions in this stage.")] = None,
    made_from: Annotated[
        str | None,
        typer.Option("--from", metavar="HASH", help="Only versions that this bundle, code or data hash leads to."),
    ] = None,
    as_json: _Json = False,
) -> None:
    """List versions, the stage of each, and who brought it there.

    For example: `vigil models list card_fraud --stage staging`, or, to find every version that was trained on a data
    set, `vigil models list --from sha256:...`.
    """
    registry = _PLACES.get().read()
    found = registry.made_from(ContentHash(made_from)) if made_from else _all_versions(registry)
    shown = [one for one in found if model in (None, one.model) and stage in (None, one.stage)]
    if as_json:
        _print_json([_summary(registry, one) for one in shown])
    else:
        Console().print(_version_table(shown) if shown else "No version: a training run registers the first one.")


@app.command()
def show(model: _Model, version: _Version = IN_PRODUCTION, as_json: _Json = False) -> None:
    """Show what a version was made from, how good it is, and all that was done to it.

    For example: `vigil models show card_fraud` for the version in production, `vigil models show card_fraud 7` for
    another.
    """
    registry = _PLACES.get().read()
    found = registry.state(ModelName(model)).version(ModelVersion(version))
    history = [entry for entry in registry.history(found.model) if found.version in entry.moves]
    if as_json:
        entries = [entry.model_dump(mode="json", exclude={"registration"}) for entry in history]
        _print_json(_summary(registry, found) | found.registration.model_dump(mode="json") | {"history": entries})
        return
    console = Console()
    console.print(_fact_table(registry, found))
    console.print(_history_table(found.version, history))


@app.command()
def compare(
    model: _Model,
    first: Annotated[str, typer.Argument(metavar="FIRST", help="A version, or production.")],
    second: Annotated[str, typer.Argument(metavar="SECOND", help="Another version.")],
    as_json: _Json = False,
) -> None:
    """Compare two versions: what differs in metrics, parameters, data, code and libraries.

    For example: `vigil models compare card_fraud production 7`.
    """
    state = _PLACES.get().read().state(ModelName(model))
    left, right = (state.version(ModelVersion(version)) for version in (first, second))
    different = differences(left, right)
    if as_json:
        _print_json({"model": model, "versions": [left.version, right.version], "different": different})
    elif different:
        Console().print(_difference_table(left, right, different))
    else:
        Console().print(f"Versions {left.version} and {right.version} of {model} do not differ.")


@app.command()
def promote(
    target: _Target,
    reason: _Reason,
    to: Annotated[Stage, typer.Option(help="The stage that the version goes to.")] = Stage.PRODUCTION,
    actor: _Actor = None,
    yes: _Yes = False,
    as_json: _Json = False,
) -> None:
    """Move a version on: from candidate to staging, and from staging to production.

    If someone else changes production while you decide, nothing is done and you are told.

    For example: `vigil models promote card_fraud 7 --to staging --reason "gates passed, report read"`, then
    `vigil models promote card_fraud 7 --reason "a week in shadow without a surprise"`.
    """
    model, version = ModelName(target[0]), ModelVersion(target[1])
    before = _PLACES.get().read().state(model)
    _confirm(model, promote_step(before, version, to, before.production), yes)
    registry = _PLACES.get().change()
    done = registry.promote(
        model, version, to, expected_production=before.production, actor=_actor(actor), reason=reason
    )
    _print_done(registry, done, as_json)


@app.command()
def rollback(model: _Model, reason: _Reason, actor: _Actor = None, yes: _Yes = False, as_json: _Json = False) -> None:
    """Put the version back that was in production before; the present one becomes a candidate.

    For example: `vigil models rollback card_fraud --reason "twice the alerts since noon" --yes`.
    """
    before = _PLACES.get().read().state(ModelName(model))
    _confirm(before.model, rollback_step(before, before.production), yes)
    registry = _PLACES.get().change()
    done = registry.rollback(before.model, expected_production=before.production, actor=_actor(actor), reason=reason)
    _print_done(registry, done, as_json)


@app.command()
def retire(target: _Target, reason: _Reason, actor: _Actor = None, yes: _Yes = False, as_json: _Json = False) -> None:
    """Take a version out of use; the one in production is refused.

    For example: `vigil models retire card_fraud 3 --reason "trained on the incident of May"`.
    """
    model, version = ModelName(target[0]), ModelVersion(target[1])
    _confirm(model, retire_step(_PLACES.get().read().state(model), version), yes)
    registry = _PLACES.get().change()
    _print_done(registry, registry.retire(model, version, actor=_actor(actor), reason=reason), as_json)


def _actor(given: str | None) -> str:
    try:
        return given or f"person:{login()}"
    except (OSError, KeyError) as error:
        raise ContractError("this account has no name: say who decides with --by person:NAME") from error


def _confirm(model: ModelName, step: Step, yes: bool) -> None:
    """Say what the step will do and ask; a refusal ends the command."""
    if yes:
        return
    moves = ", ".join(f"version {version} goes to {stage}" for version, stage in step.moves.items())
    typer.confirm(f"{model}: {moves}. Go on?", abort=True, err=True)


def _all_versions(registry: Registry) -> list[VersionState]:
    return [found for model in registry.models() for found in registry.state(model).versions.values()]


def _summary(registry: Registry, found: VersionState) -> dict[str, str]:
    return {
        "model": found.model,
        "version": found.version,
        "stage": found.stage,
        "since": found.since.at.isoformat(),
        "actor": found.since.actor,
        "reason": found.since.reason,
        "bundle": found.registration.bundle,
        "uri": bundle_uri(registry.store, found.registration.bundle),
    }


def _version_table(versions: list[VersionState]) -> Table:
    table = Table()
    for name in ("model", "version", "stage", "since"):
        table.add_column(name, no_wrap=True)
    for name in ("by", "reason"):
        table.add_column(name, overflow="fold")
    for one in versions:
        _add_row(table, one.model, one.version, one.stage, _minute(one.since.at), one.since.actor, one.since.reason)
    return table


def _fact_table(registry: Registry, found: VersionState) -> Table:
    table = Table("", Column(overflow="fold"), title=f"{found.model} version {found.version}", show_header=False)
    registration = found.registration
    for name, value in _summary(registry, found).items():
        _add_row(table, name, value)
    _add_row(table, "run in MLflow", registration.run or "none")
    for name, fact in version_facts(found).items():
        _add_row(table, name, _text(fact))
    return table


def _history_table(version: ModelVersion, history: list[Entry]) -> Table:
    table = Table("time", "stage", "because of", "by", "reason", title="History")
    for entry in history:
        action = f"{entry.action} {entry.version}"
        _add_row(table, _minute(entry.at), entry.moves[version], action, entry.actor, entry.reason)
    return table


def _difference_table(left: VersionState, right: VersionState, different: dict[str, tuple[Value, Value]]) -> Table:
    table = Table("", f"version {left.version}", f"version {right.version}", "change", title=str(left.model))
    for name, (before, after) in different.items():
        numbers = [value for value in (before, after) if isinstance(value, int | float)]
        change = f"{numbers[1] - numbers[0]:+.6g}" if len(numbers) == 2 else ""
        _add_row(table, name, _text(before), _text(after), change)
    return table


def _add_row(table: Table, *cells: str) -> None:
    """Add cells as they are: a reason may hold what rich would take for markup."""
    table.add_row(*map(Text, cells))


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def _text(value: Value) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _print_done(registry: Registry, done: VersionState, as_json: bool) -> None:
    if as_json:
        _print_json(_summary(registry, done))
    else:
        typer.echo(f"{done.model} version {done.version} is now in stage {done.stage}.")


def _print_json(document: Any) -> None:  # noqa: ANN401 - any JSON value
    typer.echo(json.dumps(document, indent=2, sort_keys=True))
