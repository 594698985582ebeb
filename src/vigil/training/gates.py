"""The gates judge the evidence; what follows is one word, and a page that says why."""

import logging
from pathlib import Path

from vigil.contracts.artifacts import Manifest, seal
from vigil.contracts.keys import canonical_json
from vigil.errors import ContractError
from vigil.evaluation.gates.evaluate import GateReport, evaluate_gates
from vigil.evaluation.gates.evidence import read_evidence
from vigil.evaluation.report import EvaluationReport, write_report
from vigil.training.folders import EVALUATION, EVIDENCE, fresh, verified
from vigil.usecase import UseCase

KIND = "verdicts"
VERDICTS, PAGE, REPORT = "gates.json", "gates.md", "report.html"

_log = logging.getLogger(__name__)


def apply_gates(use_case: UseCase, evaluation: Path, output: Path) -> GateReport:
    """Write the verdicts and the report with them into a sealed folder, and return the decision with its reasons."""
    manifest = verified(evaluation, EVALUATION)
    report = evaluate_gates(read_evidence(evaluation / EVIDENCE), use_case.gate_config)
    fresh(output)
    numbers = EvaluationReport.model_validate_json((evaluation / "report.json").read_bytes())
    write_report(numbers.model_copy(update={"gates": report}), output)
    (output / VERDICTS).write_bytes(canonical_json(report.model_dump(mode="json")) + b"\n")
    (output / PAGE).write_text(render_markdown(report), encoding="utf-8")
    _seal(output, report, manifest)
    log = _log.warning if report.decision == "reject" else _log.info
    log("gates: %s", report.summary, extra={"decision": report.decision})
    for verdict in report.failed:
        _log.warning("gate %s failed: %s", verdict.gate, verdict.reason)
    return report


def _seal(output: Path, report: GateReport, evaluation: Manifest) -> None:
    failed = {verdict.gate: verdict.reason for verdict in report.failed}
    facts = {"decision": report.decision, "ship": report.ship, "summary": report.summary, "failed": failed}
    seal(output, KIND, parents={"evaluation": evaluation.content_hash, "gates": report.config_hash}, facts=facts)


def render_markdown(report: GateReport) -> str:
    """Return the verdicts as a page: the decision first, then every gate with its reason."""
    lines = [f"# {report.decision}: {report.candidate}", "", report.summary, ""]
    lines += _table(report)
    if report.alternative is not None:
        lines += ["", f"## The member {report.alternative.candidate} alone", "", report.alternative.summary, ""]
        lines += _table(report.alternative)
    if report.not_asked:
        lines += ["", f"Not asked: {', '.join(report.not_asked)}."]
    return "\n".join(lines) + "\n"


def _table(report: GateReport) -> list[str]:
    rows = [
        f"| {verdict.gate} | {'passed' if verdict.passed else '**failed**'} | {_cell(verdict.reason)} |"
        for verdict in report.verdicts
    ]
    return ["| gate | verdict | reason |", "|---|---|---|", *rows]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def read_verdicts(folder: Path) -> GateReport:
    """Return the verdicts of a sealed folder."""
    verified(folder, KIND)
    return GateReport.model_validate_json((folder / VERDICTS).read_bytes())


def shipped_candidate(report: GateReport) -> str:
    """Return what may ship, or raise ContractError if nothing may."""
    if report.decision == "reject" or report.ship is None:
        raise ContractError(f"nothing may be registered: {report.summary}")
    return report.ship
