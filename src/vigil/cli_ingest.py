"""`vigil ingest`: a raw file becomes validated events."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from vigil.clock import system_clock
from vigil.errors import ContractError

if TYPE_CHECKING:
    from vigil.ingest.mapping import Mapping
    from vigil.ingest.report import IngestReport

_SHOWN_RULES = 8


def ingest(
    file: Annotated[Path, typer.Argument(help="The raw file: CSV (also .gz or .bz2), Parquet or JSON lines.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to make; it must not exist yet.")],
    source: Annotated[
        str | None, typer.Option("--source", "-s", help="Name of a mapping that comes with Vigil (see below).")
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option("--mapping", "-m", help="YAML file with a mapping of your own, instead of --source.")
    ] = None,
    max_quarantined_share: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share of faulty rows beyond which the run fails, instead of the mapping's."),
    ] = None,
    previous: Annotated[
        Path | None,
        typer.Option(help="Output of the run before: feeds are then judged against the four weeks before this file."),
    ] = None,
) -> None:
    """Turn a raw file into validated events.

    Every row is mapped to canonical events and checked: types, ranges, nulls, duplicates, unknown categories, times
    that cannot be, changes of unit. What fails goes to OUTPUT/quarantine.parquet with row, field, rule and a sentence;
    rows read = accepted + quarantined. Feeds that fell silent become events of their own. OUTPUT/report.html shows it
    all. Too many bad rows fail the run; quarantine and report are then in OUTPUT.rejected.

    **Examples**

    A data set that Vigil knows:

        vigil ingest transactions.parquet --source fraud_handbook --output events/fraud

    A file whose columns are called as in the events already (event_id, event_time, amount, ...):

        vigil ingest sales.csv --source canonical-transaction --output events/sales

    A file of your own, with a mapping of your own:

        vigil ingest export.csv --mapping till.yaml --output events/monday

    where till.yaml says

        name: till
        reader: {format: csv, delimiter: ";", decimal_point: ","}
        time_zone: Europe/Berlin
        events:
          - kind: transaction
            id: "{receipt}/{line}"
            time: {column: sold_at, format: "%d.%m.%Y %H:%M"}
            fields:
              amount: {product: [quantity, price]}
              quantity: quantity
              site_id: {column: shop, required: true}
              product_id: {column: article, known: [tea, coffee]}

    The next day, judged against the days before:

        vigil ingest export2.csv --mapping till.yaml --output events/tuesday --previous events/monday

    **Sources that come with Vigil**

    buildings, fraud_handbook, online_retail, orange_juice, and canonical-KIND for each kind of event: transaction,
    stock_level, stock_movement, restock, site_reading, feed_silence, verdict.
    """
    from vigil.ingest.run import IngestOptions, ingest_file

    chosen = _mapping(source, mapping)
    if max_quarantined_share is not None:
        limits = chosen.limits.model_copy(update={"max_quarantined_share": max_quarantined_share})
        chosen = chosen.model_copy(update={"limits": limits})
    with _progress() as progress:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, fraction: float) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=1.0)
            progress.update(tasks[stage], completed=fraction)

        options = IngestOptions(previous=previous)
        report = ingest_file(file, chosen, output, clock=system_clock, progress=show, options=options)
    _print_summary(report, output)


def _mapping(source: str | None, path: Path | None) -> "Mapping":
    from vigil.ingest.mapping import load_mapping
    from vigil.ingest.shipped import shipped_mapping, source_names

    if source is not None and path is not None:
        raise ContractError("give either --source or --mapping, not both")
    if path is not None:
        return load_mapping(path)
    if source is None:
        raise ContractError(
            f"say what the file is: --mapping FILE, or --source with one of {', '.join(source_names())}"
        )
    return shipped_mapping(source)


def _progress() -> Progress:
    columns = (TextColumn("{task.description:20}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _print_summary(report: "IngestReport", output: Path) -> None:
    console = Console()
    rows = report.rows
    console.print(
        f"[bold]{rows.read:,}[/] rows = {rows.accepted:,} accepted + {rows.quarantined:,} quarantined"
        + (f" ({rows.excluded:,} on purpose)" if rows.excluded else ""),
        highlight=False,
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("event", overflow="fold")
    for name in ("accepted", "quarantined", "absent", "out of order"):
        table.add_column(name, justify="right")
    for item in report.events:
        counts = (item.accepted, item.quarantined, item.absent, item.out_of_order)
        table.add_row(item.event, *(f"{count:,}" for count in counts))
    console.print(table)
    for rule in report.rules[:_SHOWN_RULES]:
        text = f"{rule.count:,} {rule.rule}, first in row {rule.first_row}: {rule.examples[0].reason}"
        console.print(text, markup=False, highlight=False)
    console.print(f"{report.silent_feed_count:,} silences of feeds, {report.unit_jump_count:,} changes of scale")
    console.print(f"{output / 'report.html'}", markup=False, highlight=False)
