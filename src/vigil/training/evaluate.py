"""The candidate is measured: evidence for the gates, and the report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vigil.contracts.artifacts import Manifest, read_manifest, seal
from vigil.evaluation.ablation import Ablation, ablate_groups
from vigil.evaluation.comparison import Scorer
from vigil.evaluation.diagnosis import Suspect, diagnose
from vigil.evaluation.gates.evidence import Evidence
from vigil.evaluation.report import EvaluationReport, Material, build_report, write_report
from vigil.evaluation.resources import process_seconds
from vigil.evaluation.rows import FloatArray
from vigil.evaluation.segments import SegmentSettings
from vigil.members.base import FRAUD, Member
from vigil.members.catalog import fit_member, parse_settings
from vigil.settings import Settings
from vigil.training.evidence import Judged, Tried, gather, try_candidate
from vigil.training.folders import EVALUATION, EVIDENCE, SCORES, events_hash, fresh
from vigil.training.model import read_model
from vigil.training.production import find_production
from vigil.training.rows import divide, read_rows
from vigil.training.screened import Screened, read_screened
from vigil.usecase import UseCase

_SEGMENTS = SegmentSettings(maximum=12)
_DIAGNOSED_ROWS = 20_000


@dataclass(frozen=True)
class Inputs:
    """The folders that an evaluation reads."""

    events: Path
    features: Path
    screened: Path
    model: Path


def evaluate(use_case: UseCase, inputs: Inputs, output: Path, settings: Settings, cpu_seconds: float) -> Manifest:
    """Write evidence and report into a sealed folder; `cpu_seconds` is what the steps before have used."""
    judged = _judged(use_case, inputs, settings, cpu_seconds)
    evidence = gather(judged)
    fresh(output)
    write_report(_report(judged, evidence, _facts(judged, inputs)), output)
    pq.write_table(_scores(judged), output / SCORES, compression="zstd")
    (output / EVIDENCE).write_bytes(evidence.model_dump_json(indent=1).encode() + b"\n")
    parents = {"model": judged.model.hash, "features": read_manifest(inputs.features).content_hash}
    counts = dict(judged.parts.facts())
    return seal(output, EVALUATION, rows=counts, parents=parents, facts={"candidate": evidence.candidate})


def _judged(use_case: UseCase, inputs: Inputs, settings: Settings, cpu_seconds: float) -> Judged:
    rows = read_rows(use_case, inputs.features)
    parts = divide(rows)
    test = rows.scored(parts.test, np.zeros(len(parts.test)), parts.test_labels)
    return Judged(
        rows=rows,
        parts=parts,
        screened=read_screened(inputs.screened),
        model=read_model(inputs.model, rows.schema),
        test=test,
        matrix=rows.take(parts.test),
        production=find_production(rows, test, parts.test, inputs.events, settings),
        cpu_seconds=cpu_seconds + process_seconds(),
    )


def _scores(judged: Judged) -> pa.Table:
    """Return the test rows with the candidate's scores, as `vigil evaluate report` and `diagnose` take them."""
    main = try_candidate(judged, judged.model.main.name)
    table = judged.rows.table.select(["event_id", "event_time", "amount"]).take(pa.array(judged.parts.test))
    columns = {"label": judged.test.labels, "score": main.scores, "threshold": main.threshold}
    columns |= {"entity_id": judged.test.entities, **judged.test.segments}
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    return table


def _facts(judged: Judged, inputs: Inputs) -> dict[str, str]:
    fold, sizes = judged.parts.fold, judged.parts.facts()
    facts = {
        "use case": f"{judged.use_case.name}, {judged.use_case.content_hash}",
        "events": events_hash(inputs.events),
        "features": f"{len(judged.matrix.names)}, schema {judged.rows.schema.content_hash}",
        "trained on": f"{fold.train}: {sizes['train']:,} rows, {sizes['train_frauds']:,} frauds",
        "calibrated on": f"{sizes['calibration']:,} rows, {sizes['calibration_frauds']:,} frauds until "
        f"{str(fold.calibration or fold.train).partition(' to ')[2]}",
        "tested on": f"{fold.test}: {sizes['test']:,} rows, {sizes['test_frauds']:,} frauds, "
        f"{sizes['test_unlabelled']:,} rows without a label left out",
        "left out of the training": _left_out(judged.screened),
        "in production": "no model" if judged.production is None else judged.production.name,
    }
    facts |= {f"{name} abstained": reason for name, reason in judged.model.abstained.items()}
    if judged.production is not None and (judged.production.obstacle or judged.production.note):
        facts["production"] = judged.production.obstacle or judged.production.note
    return facts


def _left_out(screened: Screened) -> str:
    """Return how many rows the members did not see, and why the past was not asked if it was not."""
    report = screened.report
    of_trees = sum(report["supervised"]["excluded_by_rule"].values())
    counts = f"{report['rows_excluded']:,} rows of the members that learn what is normal, {of_trees:,} of the trees"
    skipped = report["supervised"]["skipped"]
    return counts + "".join(f"; not held against the past: {reason}" for reason in skipped.values())


def _report(judged: Judged, evidence: Evidence, facts: dict[str, str]) -> EvaluationReport:
    use_case = judged.use_case
    main = try_candidate(judged, judged.model.main.name)
    baselines = _baselines(judged, main)
    calibration = judged.screened.calibration
    material = Material(
        title=f"{use_case.name}: evaluation of a candidate",
        rows=judged.test,
        candidate=main.scorer,
        baselines=baselines,
        by=tuple(use_case.segments),
        features=judged.matrix.values,
        names=judged.matrix.names,
        calibration=judged.rows.scored(
            calibration, main.candidate.score(judged.rows.take(calibration)), judged.parts.labels
        ),
        ablation=_ablation(judged),
        diagnosis=diagnose(_suspect(judged, main, baselines), use_case.metrics),
        cost=evidence.cost,
        facts=facts,
    )
    return build_report(material, use_case.metrics, _SEGMENTS)


def _baselines(judged: Judged, main: Tried) -> list[Scorer]:
    """Return production, the members, and the baselines fitted on the same training rows."""
    found = judged.production
    given = [] if found is None or found.scores is None else [Scorer(found.name, found.scores, found.thresholds)]
    members = [name for name in judged.model.candidates if name != main.candidate.name]
    given += [try_candidate(judged, name).scorer for name in members]
    taught = judged.rows.training(judged.screened.normal, judged.parts.labels)
    for wanted in judged.use_case.baselines:
        fitted = fit_member(parse_settings(wanted), taught)
        if isinstance(fitted, Member):
            given.append(Scorer(fitted.name, fitted.score(judged.matrix), fitted.threshold))
    return given


def _suspect(judged: Judged, main: Tried, baselines: list[Scorer]) -> Suspect:
    rows, parts = judged.rows, judged.parts
    chosen = parts.train[np.linspace(0, len(parts.train) - 1, min(len(parts.train), _DIAGNOSED_ROWS)).astype(np.int64)]
    return Suspect(
        rows=judged.test.with_scores(main.scores),
        features=judged.matrix.values,
        names=judged.matrix.names,
        reference=rows.take(chosen).values,
        reference_rate=float((parts.labels[parts.train] == FRAUD).mean()),
        threshold=main.threshold,
        baselines={one.name: np.asarray(one.scores) for one in baselines},
        unlabelled=len(parts.unlabelled),
    )


def _ablation(judged: Judged) -> list[Ablation]:
    """Return what each group of features is worth to boosted trees of few rounds, fitted on the latest rows."""
    rows, parts, limit = judged.rows, judged.parts, judged.use_case.checks.ablation_rows
    if not limit or len(rows.schema.groups) < 2 or "boosted" in judged.model.abstained:
        return []
    taught = rows.training(parts.train[-limit:], parts.labels)
    quick = {"kind": "boosted", "rounds": 40, "early_stopping": None, "learning_rate": 0.2, "max_bin": 128}

    def refit(names: Sequence[str]) -> FloatArray:
        fitted = fit_member(parse_settings({**quick, "refit": False, "features": tuple(names)}), taught)
        return fitted.score(judged.matrix) if isinstance(fitted, Member) else np.zeros(len(judged.matrix))

    return ablate_groups(judged.test, rows.schema.groups, refit, judged.use_case.metrics)
