"""`vigil simulate`: make the events of a business with many sites, with incidents whose truth is known."""

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from vigil.errors import ContractError
from vigil.simulate import PRESETS, Simulated, SimulationConfig, load_config, preset, simulate, write
from vigil.simulate.truth import IncidentTruth


def simulate_command(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to write; it must be empty or absent.")
    ] = None,
    base: Annotated[
        str,
        typer.Option("--preset", "-p", help=f"Where to start from: {', '.join(PRESETS)}.", show_default=True),
    ] = "small",
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="YAML file whose keys override the preset's.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", "-s", help="KEY=VALUE that overrides both; can be repeated.")
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Write the transactions as raw/transactions.csv too.")] = False,
    show_config: Annotated[
        bool, typer.Option("--show-config", help="Print the configuration as YAML and leave: the start of your own.")
    ] = False,
) -> None:
    """Make the events of a business with many sites, and labelled incidents in them.

    Sites with tills, opening hours and time zones; customers with cards and habits; products with prices, stock and
    suppliers; hourly readings of each site. In them: frauds (large amounts, compromised tills and customers, floods of
    tiny amounts) and troubles (silent feeds, stock-outs, sales dips, a drift, broken units). The same configuration
    gives the same bytes, and changing one incident leaves all rows that it does not touch as they were.

    **small** is about 100,000 transactions, **retail** about 190,000 with frauds enough to train a model and to judge
    it, **million** about a million, **quiet** is small without any incident.

    For example:

    - `vigil simulate -o run/raw`

    - `vigil simulate -o run/raw --preset million --set seed=7`

    - `vigil simulate -o run/raw --set days=365 --set chain.sites=4 --csv`

    - `vigil simulate --show-config > mine.yaml`, edit it, then `vigil simulate -o run/raw --config mine.yaml`

    What is written: `events/KIND.parquet` for transaction, verdict, stock_level, stock_movement, restock and
    site_reading; `truth/incidents.json` (what was made to go wrong, where and when) and `truth/affected.parquet` (every
    event that it touched); `configuration.json`, which `--config` takes to make the same once more.
    """
    overrides = parse_settings(settings or [])
    wanted = preset(base, overrides) if config is None else load_config(config, base, overrides)
    if show_config:
        typer.echo(
            yaml.safe_dump(
                wanted.model_dump(
                    mode="json",
                ),
                sort_keys=False,
            ),
            nl=False,
        )
        return
    if output is None:
        raise ContractError("where to? Name a folder with --output, such as: vigil simulate --output run/raw")
    simulated = _run(wanted, output, csv=csv)
    console = Console()
    console.print(_files(simulated, output), _incidents(simulated), _closing(simulated, output))


def parse_settings(settings: list[str]) -> dict[str, Any]:
    """Return `chain.sites=4` and the like as nested keys, or raise ContractError quoting what is not KEY=VALUE."""
    nested: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not all(key.split(".")):
            raise ContractError(f"--set {setting!r} is not KEY=VALUE, such as days=90 or chain.sites=4")
        *parents, last = key.split(".")
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise ContractError(f"--set {setting!r}: {parent!r} has a value already, it cannot have keys below it")
        place[last] = _value(setting, value)
    return nested


def _value(setting: str, text: str) -> Any:  # noqa: ANN401 - any YAML value
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ContractError(f"--set {setting!r}: the value is not YAML: {error}") from error


def _run(config: SimulationConfig, output: Path, *, csv: bool) -> Simulated:
    columns = (TextColumn("{task.description:32}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("world", total=2.0)
        simulated = simulate(config, lambda step, share: bar.update(task, description=step, completed=share))
        write(
            simulated,
            output,
            csv=csv,
            on_progress=lambda step, share: bar.update(task, description=step, completed=1 + share),
        )
    return simulated


def _files(simulated: Simulated, output: Path) -> Table:
    table = Table("events", "rows", "MB", title="What was written", title_justify="left")
    table.columns[1].justify = table.columns[2].justify = "right"
    for kind, rows in simulated.rows.items():
        size = (output / "events" / f"{kind}.parquet").stat().st_size
        table.add_row(kind, f"{rows:,}", f"{size / 1e6:.1f}")
    return table


def _incidents(simulated: Simulated) -> Table:
    """One line for each configured incident; those that strike several entities are summed."""
    table = Table("incident", "where", "from", "until", "events", title="Incidents", title_justify="left")
    table.columns[0].no_wrap, table.columns[4].justify = True, "right"
    groups: dict[str, list[IncidentTruth]] = {}
    for truth in simulated.incidents:
        groups.setdefault(truth.name.partition(".")[0], []).append(truth)
    for name, truths in groups.items():
        start, end = min(truth.start for truth in truths), max(truth.end for truth in truths)
        events = sum(truth.events for truth in truths)
        table.add_row(name, _where(truths), start[:10], end[:10], f"{events:,}")
    return table


def _where(truths: list[IncidentTruth]) -> str:
    first = truths[0]
    if len(truths) > 1:
        return f"{len(truths)} {first.entity}s"
    site = f" at {first.site_id}" if first.site_id and first.entity in ("product", "card") else ""
    return f"{first.entity} {first.entity_id}{site}" if first.entity_id else f"the whole {first.entity}"


def _closing(simulated: Simulated, output: Path) -> str:
    shares = simulated.fraud_shares
    by_kind = ", ".join(f"{kind} {share:.2%}" for kind, share in sorted(shares.items()))
    return (
        f"Fraud: {sum(shares.values()):.2%} of the transactions{f' ({by_kind})' if by_kind else ''}. Sealed: {output}"
    )
