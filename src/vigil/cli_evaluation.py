"""`vigil evaluate`: judge a candidate by its gates, diagnose a model, write the evaluation report."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from vigil.evaluation.settings import MetricSettings

app = typer.Typer(
    no_args_is_help=True, help="Judge a candidate by its gates, diagnose a model, report what it is worth."
)

_Scores = Annotated[
    Path,
    typer.Argument(
        help="Parquet with the columns score and event_time, and label, amount, entity_id, baseline_* where known."
    ),
]
_Threshold = Annotated[float, typer.Option("--threshold", "-t", help="A row is alerted when its score reaches it.")]


@app.command()
def gates(
    evidence: Annotated[Path, typer.Argument(help="JSON file with the evidence of the candidate.")],
    config: Annotated[str, typer.Option("--config", "-c", help="YAML file, or card_fraud, retail_pos, site_metrics.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON file for the verdicts.")] = None,
) -> None:
    """Judge a candidate: the verdict of every gate with its reason, and the decision. Exit status 1 is a rejection.

    For example: `vigil evaluate gates run/evidence.json --config card_fraud`.
    """
    from vigil.evaluation.commands import judge_file

    report = judge_file(evidence, config, output)
    table = Table("gate", "verdict", "reason")
    for verdict in report.verdicts:
        table.add_row(verdict.gate, _word(verdict.passed, "passed", "failed"), verdict.reason)
    Console().print(table)
    typer.echo(f"{report.decision}: {report.summary}")
    if report.decision == "reject":
        raise typer.Exit(1)


@app.command()
def diagnose(
    scores: _Scores,
    reference: Annotated[Path, typer.Option(help="Parquet with the features as they were at training, and label.")],
    threshold: _Threshold,
    alerts_per_day: Annotated[float, typer.Option(min=0.001, help="Budget of alerts.")] = 100,
    cost_per_alert: Annotated[float, typer.Option(min=0, help="Currency units to look at one alert.")] = 5,
) -> None:
    """Ask in order: is it the data, the labels, the model or the threshold? Exit status 1 says that one is at fault.

    The features are the columns of the reference but `label`. Rows of SCORES without a label count as not labelled yet.

    For example: `vigil evaluate diagnose run/scores.parquet --reference run/training.parquet -t 0.5`.
    """
    from vigil.evaluation.commands import diagnose_file

    settings = MetricSettings(alerts_per_day=alerts_per_day, cost_per_alert=cost_per_alert, block="day")
    found = diagnose_file(scores, reference, threshold, settings)
    table = Table("question", "in order", "findings", "what to do", show_lines=True)
    for step in found.steps:
        table.add_row(step.question, _word(step.ok, "yes", "no"), "\n".join(step.findings), step.advice)
    Console().print(table)
    typer.echo(f"begin with the {found.first_fault}" if found.first_fault else "all four are in order")
    if found.first_fault:
        raise typer.Exit(1)


@app.command()
def report(
    scores: _Scores,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for report.html and report.json.")],
    threshold: _Threshold,
    by: Annotated[list[str] | None, typer.Option(help="Column to report by, such as site_id; may be repeated.")] = None,
    title: Annotated[str, typer.Option(help="Head of the page.")] = "Evaluation",
) -> None:
    """Write the evaluation report of scored rows: metrics with intervals beside the baselines, curves, segments.

    For example: `vigil evaluate report run/scores.parquet -t 0.5 --by site_id -o run/report`.
    """
    from vigil.evaluation.commands import report_file

    for path in report_file(scores, threshold, by or (), title, output):
        typer.echo(path)


def _word(good: bool, yes: str, no: str) -> str:
    return f"[green]{yes}[/]" if good else f"[red]{no}[/]"
