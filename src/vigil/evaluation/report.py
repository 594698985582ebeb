"""The evaluation report: everything that is known of a candidate, as numbers (JSON) and as a page (HTML)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from markupsafe import Markup
from pydantic import BaseModel, ConfigDict

from vigil.contracts.keys import ContentHash, canonical_json
from vigil.evaluation import curves, plots
from vigil.evaluation.ablation import Ablation
from vigil.evaluation.behaviour import Matrix
from vigil.evaluation.comparison import Comparison, Scorer, compare
from vigil.evaluation.diagnosis import Diagnosis
from vigil.evaluation.gates.evaluate import GateReport
from vigil.evaluation.metrics import METRICS, Measured, measure
from vigil.evaluation.mistakes import Mistakes, find_mistakes
from vigil.evaluation.operating import threshold_array
from vigil.evaluation.page import render
from vigil.evaluation.resources import Cost
from vigil.evaluation.rows import FloatArray, ScoredRows
from vigil.evaluation.segments import (
    SegmentMetrics,
    SegmentRate,
    SegmentSettings,
    false_positive_rates,
    measure_segments,
)
from vigil.evaluation.settings import MetricSettings
from vigil.evaluation.sweeps import (
    OperatingPoint,
    Proposal,
    propose_thresholds,
    sweep_contamination,
    sweep_thresholds,
)

_FAIRNESS_RESAMPLES = 200


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Confusion(_Data):
    """Rows by what they are and by whether they were alerted."""

    found: int
    missed: int
    false_alarms: int
    passed: int


class Scored(_Data):
    """What was measured of one scorer: the candidate or a baseline."""

    name: str
    metrics: dict[str, Measured]
    precision_recall: curves.Curve | None
    roc: curves.Curve | None


class EvaluationReport(_Data):
    """All numbers of the page. What was not asked for is empty or None."""

    version: int = 1
    title: str
    facts: dict[str, str]
    settings: MetricSettings
    rows_hash: ContentHash
    threshold: float | None
    thresholds_differ: bool
    candidate: Scored
    baselines: tuple[Scored, ...]
    against_baselines: tuple[Comparison, ...]
    confusion: Confusion
    calibration: tuple[curves.CalibrationBin, ...]
    calibration_error: float | None
    cost_curve: curves.CostCurve | None
    scores: curves.ScoreBins | None
    segments: dict[str, tuple[SegmentMetrics, ...]]
    fairness: tuple[SegmentRate, ...]
    mistakes: tuple[Mistakes, ...]
    ablation: tuple[Ablation, ...]
    threshold_sweep: tuple[OperatingPoint, ...]
    contamination_sweep: tuple[OperatingPoint, ...]
    proposals: tuple[Proposal, ...]
    diagnosis: Diagnosis | None
    gates: GateReport | None
    cost: Cost | None


@dataclass(frozen=True, eq=False)
class Material:
    """What a report is made from. Only the candidate and its labelled test rows are needed; the rest adds sections.

    `features` has shape (n, len(names)) and belongs to the error analysis, `calibration` are rows before the test with
    the candidate's scores, `facts` are lines for the head of the page, such as the hash of the data.
    """

    title: str
    rows: ScoredRows
    candidate: Scorer
    baselines: Sequence[Scorer] = ()
    by: Sequence[str] = ()
    features: Matrix | None = None
    names: Sequence[str] = ()
    calibration: ScoredRows | None = None
    ablation: Sequence[Ablation] = ()
    diagnosis: Diagnosis | None = None
    gates: GateReport | None = None
    cost: Cost | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


def build_report(
    material: Material, settings: MetricSettings | None = None, segments: SegmentSettings | None = None
) -> EvaluationReport:
    """Return every number of the report; equal material gives an equal report."""
    chosen = settings or MetricSettings()
    candidate = material.candidate
    rows = material.rows.with_scores(candidate.scores)
    threshold = None if candidate.threshold is None else threshold_array(candidate.threshold, len(rows))
    single = threshold is not None and len(threshold) > 0 and bool((threshold == threshold[0]).all())
    bins = curves.calibration(rows)
    calibration = material.calibration
    return EvaluationReport(
        title=material.title,
        facts=dict(material.facts),
        settings=chosen,
        rows_hash=rows.rows_hash,
        threshold=float(threshold[0]) if threshold is not None and single else None,
        thresholds_differ=threshold is not None and not single,
        candidate=_scored(rows, candidate, chosen),
        baselines=tuple(_scored(rows.with_scores(one.scores), one, chosen) for one in material.baselines),
        against_baselines=tuple(
            compare(rows, candidate, one, "average_precision", chosen) for one in material.baselines
        ),
        confusion=_confusion(rows, threshold),
        calibration=bins,
        calibration_error=curves.calibration_error(bins),
        cost_curve=curves.cost_by_alerts(rows, chosen),
        scores=curves.score_bins(rows),
        segments={by: tuple(measure_segments(rows, by, chosen, threshold, segments)) for by in material.by},
        fairness=_fairness(rows, material.by, threshold, chosen),
        mistakes=_mistakes(rows, material, threshold),
        ablation=tuple(material.ablation),
        threshold_sweep=tuple(sweep_thresholds(rows, chosen)) if len(rows) else (),
        contamination_sweep=() if calibration is None else tuple(sweep_contamination(calibration.scores, rows, chosen)),
        proposals=() if calibration is None else tuple(propose_thresholds(calibration, rows, chosen)),
        diagnosis=material.diagnosis,
        gates=material.gates,
        cost=material.cost,
    )


def _scored(rows: ScoredRows, scorer: Scorer, settings: MetricSettings) -> Scored:
    return Scored(
        name=scorer.name,
        metrics=measure(rows, settings, scorer.threshold),
        precision_recall=curves.precision_recall(rows, settings),
        roc=curves.roc(rows, settings),
    )


def _confusion(rows: ScoredRows, threshold: FloatArray | None) -> Confusion:
    labels = rows.need_labels("a confusion matrix")
    alerted = np.zeros(len(rows), np.bool_) if threshold is None else rows.scores >= threshold
    return Confusion(
        found=int((alerted & labels).sum()),
        missed=int((~alerted & labels).sum()),
        false_alarms=int((alerted & ~labels).sum()),
        passed=int((~alerted & ~labels).sum()),
    )


def _fairness(
    rows: ScoredRows, by: Sequence[str], threshold: FloatArray | None, settings: MetricSettings
) -> tuple[SegmentRate, ...]:
    if threshold is None or not len(rows):
        return ()
    fewer = settings.model_copy(update={"resamples": min(settings.resamples, _FAIRNESS_RESAMPLES)})
    return tuple(rate for name in by for rate in false_positive_rates(rows, name, threshold, fewer))


def _mistakes(rows: ScoredRows, material: Material, threshold: FloatArray | None) -> tuple[Mistakes, ...]:
    if material.features is None or threshold is None:
        return ()
    return find_mistakes(rows, material.features, material.names, threshold)


def figures(report: EvaluationReport) -> dict[str, Markup]:
    """Return the figures of a report by name, as SVG; what has no numbers has no figure."""
    found: dict[str, Markup] = {}
    scored = (report.candidate, *report.baselines)
    precision_recall = {one.name: one.precision_recall for one in scored if one.precision_recall}
    roc = {one.name: one.roc for one in scored if one.roc}
    average = report.candidate.metrics["average_precision"]
    if precision_recall:
        found["precision_recall"] = plots.plot_precision_recall(precision_recall, average.positives / average.rows)
    if roc:
        found["roc"] = plots.plot_roc(roc)
    if report.calibration:
        found["calibration"] = plots.plot_calibration(report.calibration)
    if report.scores:
        found["scores"] = plots.plot_scores(report.scores, report.threshold)
    if report.cost_curve:
        alerts = report.candidate.metrics["alerts_per_day"].value
        found["cost"] = plots.plot_cost(report.cost_curve, alerts, report.settings.alerts_per_day)
    if report.ablation:
        found["ablation"] = plots.plot_ablation(report.ablation, METRICS[report.ablation[0].gain.metric].label)
    return found


def render_report(report: EvaluationReport) -> str:
    """Return the page: self-contained HTML, the same bytes for the same report."""
    return render("report.html.j2", {"report": report, "figures": figures(report), "metrics": METRICS})


def write_report(report: EvaluationReport, folder: Path) -> tuple[Path, Path]:
    """Write `report.html` and `report.json` into the folder and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    page, numbers = folder / "report.html", folder / "report.json"
    page.write_text(render_report(report), encoding="utf-8")
    numbers.write_bytes(canonical_json(report.model_dump(mode="json")) + b"\n")
    return page, numbers
