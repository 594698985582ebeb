"""What the commands of `vigil evaluate` do, on files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vigil.evaluation.comparison import Scorer
from vigil.evaluation.diagnosis import Diagnosis, Suspect, diagnose
from vigil.evaluation.gates.config import load_gates
from vigil.evaluation.gates.evaluate import GateReport, evaluate_gates
from vigil.evaluation.gates.evidence import read_evidence
from vigil.evaluation.report import Material, build_report, write_report
from vigil.evaluation.settings import MetricSettings
from vigil.evaluation.tables import (
    baseline_scores,
    feature_matrix,
    label_column,
    labelled,
    read_table,
    scored_rows,
)


def judge_file(evidence: Path, config: str, output: Path | None) -> GateReport:
    """Return the verdicts on the evidence of a JSON file, and write them to `output` if given."""
    report = evaluate_gates(read_evidence(evidence), load_gates(config))
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(report.model_dump_json(indent=1) + "\n")
    return report


def diagnose_file(scores: Path, reference: Path, threshold: float, settings: MetricSettings) -> Diagnosis:
    """Return the diagnosis of scored rows; the features are the columns of the reference but `label`."""
    then = read_table(reference)
    rows, unlabelled = labelled(read_table(scores))
    names = [name for name in then.column_names if name != "label"]
    suspect = Suspect(
        rows=scored_rows(rows),
        features=feature_matrix(rows, names),
        names=names,
        reference=feature_matrix(then, names),
        reference_rate=float(np.mean(label_column(then))),
        threshold=threshold,
        baselines=baseline_scores(rows),
        unlabelled=unlabelled,
    )
    return diagnose(suspect, settings)


def report_file(scores: Path, threshold: float, by: Sequence[str], title: str, output: Path) -> tuple[Path, Path]:
    """Write the evaluation report of scored rows and return the paths of the page and of the numbers."""
    table, unlabelled = labelled(read_table(scores))
    rows = scored_rows(table, by)
    material = Material(
        title=title,
        rows=rows,
        candidate=Scorer("candidate", rows.scores, threshold),
        baselines=[Scorer(name, values) for name, values in baseline_scores(table).items()],
        by=by,
        facts={"file": scores.name, "left out, no label yet": f"{unlabelled:,} rows"},
    )
    settings = MetricSettings(block="day" if rows.entities is None else "entity")
    return write_report(build_report(material, settings), output)
