"""`vigil evaluate`: judge a candidate by its gates, diagnose a model, write the evaluation report."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from vigil.errors import MissingExtra

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


def _evaluation(module: str) -> ModuleType:
    """Import a part of the evaluation when a command needs it: `vigil --help` stays quick, and free of the extra."""
    try:
        return importlib.import_module(f"vigil.evaluation.{module}")
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), "train") from error


@app.command()
def gates(
    evidence: Annotated[Path, typer.Argument(help="JSON file with the evidence of the candidate.")],
    config: Annotated[str, typer.Option("--config", "-c", help="YAML file, or card_fraud, retail_pos, site_metrics.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON file for the verdicts.")] = None,
) -> None:
    """Judge a candidate: the verdict of every gate with its reason, and the decision. Exit status 1 is a rejection.

    For example: `vigil evaluate gates run/evidence.json --config card_fraud`.
    """
    found = _evaluation("gates.evidence").read_evidence(evidence)
    report = _evaluation("gates.evaluate").evaluate_gates(found, _evaluation("gates.config").load_gates(config))
    table = Table("gate", "verdict", "reason")
    for verdict in report.verdicts:
        table.add_row(verdict.gate, "[green]passed[/]" if verdict.passed else "[red]failed[/]", verdict.reason)
    Console().print(table)
    typer.echo(f"{report.decision}: {report.summary}")
    if output is not None:
        output.write_text(report.model_dump_json(indent=1) + "\n")
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
    """Ask the four questions in order: is it the data, the labels, the model or the threshold? Exit status 1 is a fault.

    The features are the columns of the reference but `label`. Rows of SCORES without a label count as not labelled yet.
    """
    tables, diagnosis = _evaluation("tables"), _evaluation("diagnosis")
    settings = _evaluation("settings").MetricSettings(
        alerts_per_day=alerts_per_day, cost_per_alert=cost_per_alert, block="day"
    )
    whole, then = tables.read_table(scores), tables.read_table(reference)
    now, unlabelled = tables.labelled(whole)
    names = [name for name in then.column_names if name != "label"]
    suspect = diagnosis.Suspect(
        rows=tables.scored_rows(now),
        features=tables.feature_matrix(now, names),
        names=names,
        reference=tables.feature_matrix(then, names),
        reference_rate=float(np.mean(tables.label_column(then))),
        threshold=threshold,
        baselines=tables.baseline_scores(now),
        unlabelled=unlabelled,
    )
    found = diagnosis.diagnose(suspect, settings)
    table = Table("step", "in order", "findings", "what to do", show_lines=True)
    for step in found.steps:
        findings = "\n".join(step.findings)
        table.add_row(step.question, "[green]yes[/]" if step.ok else "[red]no[/]", findings, step.advice)
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
    """Write the evaluation report of scored rows with labels: metrics with intervals beside the baselines, and curves.

    For example: `vigil evaluate report run/scores.parquet -t 0.5 --by site_id -o run/report`.
    """
    tables, reports = _evaluation("tables"), _evaluation("report")
    scorer = _evaluation("comparison").Scorer
    whole = tables.read_table(scores)
    table, unlabelled = tables.labelled(whole)
    rows = tables.scored_rows(table, by or ())
    baselines = tables.baseline_scores(table)
    material = reports.Material(
        title=title,
        rows=rows,
        candidate=scorer("candidate", rows.scores, threshold),
        baselines=[scorer(name, values) for name, values in baselines.items()],
        by=by or (),
        facts={"file": scores.name, "rows without a label, left out": str(unlabelled)},
    )
    block = "day" if rows.entities is None else "entity"
    settings = _evaluation("settings").MetricSettings(block=block)
    page, numbers = reports.write_report(reports.build_report(material, settings), output)
    typer.echo(f"{page}\n{numbers}")
