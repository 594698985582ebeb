"""The steps as tasks call them: texts and paths in, what the user interface shows of the output out.

Every task is a process of its own, so each function imports only what its step needs.
"""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import pyarrow.parquet as pq

from vigil.clock import system_clock
from vigil.contracts.artifacts import Manifest
from vigil.errors import ContractError
from vigil.evaluation.resources import process_seconds
from vigil.logs import configure_logging
from vigil.settings import Settings, load_settings
from vigil.training.shown import Scalar, confusion, plain, roc_points
from vigil.usecase import parse_use_case

Shown = dict[str, Scalar]

CPU = "cpu_seconds"


class Metrics(Protocol):
    """What of kfp's `Metrics` is used."""

    def log_metric(self, metric: str, value: float) -> None:
        """Show one number."""


class Curves(Protocol):
    """What of kfp's `ClassificationMetrics` is used."""

    def log_roc_curve(self, fpr: list[float], tpr: list[float], threshold: list[float]) -> None:
        """Show a ROC curve."""

    def log_confusion_matrix(self, categories: list[str], matrix: list[list[int]]) -> None:
        """Show a confusion matrix."""


def begin() -> Settings:
    """Return the settings, after sending Vigil's logs to standard error as they say."""
    settings = load_settings()
    configure_logging(settings.log_level, as_json=settings.log_json)
    return settings


def total_cpu(*artifacts: Any) -> float:  # noqa: ANN401 - artifacts of kfp
    """Return the CPU seconds that making these artifacts took, as far as their metadata say."""
    return float(sum(float(artifact.metadata.get(CPU, 0.0)) for artifact in artifacts))


def _shown(manifest: Manifest, more: Mapping[str, Any] | None = None, cpu_seconds: float = 0.0) -> Shown:
    facts: dict[str, Any] = {"hash": manifest.content_hash, "kind": manifest.kind, **manifest.rows, **manifest.facts}
    return plain({**facts, **(more or {}), CPU: round(process_seconds() + cpu_seconds, 3)})


def validate_ingest(use_case: str, raw_uri: str, source: str, data_version: str, output: str, page: str) -> Shown:
    """Write validated events; refuse raw data that are not what `data_version` says, if it says anything."""
    from vigil.training import ingest
    from vigil.training.folders import events_hash
    from vigil.training.raw import raw_hash

    begin()
    if data_version and (found := raw_hash(raw_uri)) != data_version:
        raise ContractError(f"{raw_uri} has the hash {found}, the run was started for {data_version}: start it again")
    manifest = ingest.ingest(parse_use_case(use_case), raw_uri, source, Path(output), system_clock)
    shutil.copyfile(ingest.report_page(Path(output)), page)
    return _shown(manifest, {"events": events_hash(Path(output))})


def build_features(use_case: str, events: str, output: str, states: str) -> Shown:
    """Write the feature table and the states of all entities."""
    from vigil.training import features as tables

    begin()
    return _shown(tables.build_features(parse_use_case(use_case), Path(events), Path(output), Path(states)))


def sanitize_training_data(use_case: str, events: str, features: str, output: str) -> Shown:
    """Write which rows may be trained on."""
    from vigil.training import sanitize

    settings = begin()
    given = parse_use_case(use_case)
    return _shown(sanitize.sanitize_training_data(given, Path(events), Path(features), Path(output), settings))


def train_member(use_case: str, kind: str, features: str, training_rows: str, output: str) -> Shown:
    """Write a fitted member, or that it abstains."""
    from vigil.training import members

    begin()
    given = parse_use_case(use_case)
    return _shown(members.train_member(given, kind, Path(features), Path(training_rows), Path(output)))


def fit_ensemble(use_case: str, features: str, training_rows: str, fitted: Iterable[Any], output: str) -> Shown:
    """Write the ensemble of the members among the artifacts `fitted`."""
    from vigil.training import model

    begin()
    artifacts = list(fitted)
    folders = [Path(artifact.path) for artifact in artifacts]
    given = parse_use_case(use_case)
    manifest = model.fit_model(given, Path(features), Path(training_rows), folders, Path(output))
    weights = {f"weight_{name}": weight for name, weight in manifest.facts["weights"].items()}
    return _shown(manifest, weights, total_cpu(*artifacts))


def evaluate(use_case: str, inputs: Mapping[str, Any], output: str, metrics: Metrics, curves: Curves) -> Shown:
    """Write evidence and report of the artifacts in `inputs`, and show metrics, ROC curve and confusion matrix."""
    from vigil.training import evaluate as evaluation

    settings = begin()
    folders = evaluation.Inputs(**{name: Path(artifact.path) for name, artifact in inputs.items()})
    cpu_seconds = total_cpu(*inputs.values())
    manifest = evaluation.evaluate(parse_use_case(use_case), folders, Path(output), settings, cpu_seconds)
    _show_evaluation(Path(output), metrics, curves)
    return _shown(manifest, cpu_seconds=cpu_seconds)


def _show_evaluation(folder: Path, metrics: Metrics, curves: Curves) -> None:
    from vigil.evaluation.report import EvaluationReport
    from vigil.training.folders import SCORES

    report = EvaluationReport.model_validate_json((folder / "report.json").read_bytes())
    values = {name: found.value for name, found in report.candidate.metrics.items()}
    for name, value in plain(values).items():
        metrics.log_metric(name, float(value))
    scores = pq.read_table(folder / SCORES, columns=["score", "label"])
    fpr, tpr, thresholds = roc_points(*(scores[name].to_numpy(zero_copy_only=False) for name in ("score", "label")))
    if fpr:
        curves.log_roc_curve(fpr, tpr, thresholds)
    curves.log_confusion_matrix(["legitimate", "fraud"], confusion(**report.confusion.model_dump()))


def apply_gates(use_case: str, evaluation: str, output: str, page: str, report: str) -> tuple[str, Shown]:
    """Write the verdicts, and return the decision in one word beside what is shown of them."""
    from vigil.training import gates

    begin()
    found = gates.apply_gates(parse_use_case(use_case), Path(evaluation), Path(output))
    shutil.copyfile(Path(output) / gates.PAGE, page)
    shutil.copyfile(Path(output) / gates.REPORT, report)
    failed = {f"failed_{verdict.gate}": verdict.reason for verdict in found.failed}
    return found.decision, plain({"decision": found.decision, "summary": found.summary, **failed})


def register_model(use_case: str, inputs: Mapping[str, Any], occasion: Mapping[str, str], output: str) -> Shown:
    """Register what passed the gates; `occasion` says why the run took place."""
    from vigil.training import register

    settings = begin()
    folders = register.Inputs(**{name: Path(artifact.path) for name, artifact in inputs.items()})
    why = register.Occasion(started=system_clock(), **occasion)
    given = parse_use_case(use_case)
    found = register.register_model(given, folders, Path(output), settings, why, system_clock)
    return plain(found.model_dump())


def score_batch(use_case: str, version: str, events: str, output: str, metrics: Metrics) -> Shown:
    """Write a decision for each transaction among the events, by a version of the use case's model."""
    from vigil.training import score

    settings = begin()
    name = parse_use_case(use_case).name
    manifest = score.score_batch(name, version, Path(events), Path(output), settings)
    for action, count in manifest.rows.items():
        metrics.log_metric(action, float(count))
    return _shown(manifest)
