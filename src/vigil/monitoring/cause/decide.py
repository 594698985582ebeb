"""The table of causes: data broken, model worse, population moved; and undecided where it does not say."""

from collections.abc import Sequence
from dataclasses import dataclass

from vigil.clock import from_micros
from vigil.monitoring.cause.broken import broken_evidence
from vigil.monitoring.cause.findings import Fact, Findings, Signal
from vigil.monitoring.cause.places import is_score_of_few, is_wide_in
from vigil.monitoring.cause.shapes import shift
from vigil.monitoring.cause.versions import Agreement, Comparison, compare
from vigil.monitoring.cause.words import describe
from vigil.monitoring.samples import PairCounts
from vigil.monitoring.verdicts import Cause, Evidence

MOST_EVIDENCE = 8
_LEAST_ROWS = 75
_INPUTS = ("input", "category")
_OUTPUTS = ("score", "member", "anomaly_rate")
_SUSPECT = 3.5
_SMALL = 0.12
_SOME_EVIDENCE = 1.0
"""Strength from which the watch's own detectors, who know which columns are slow, suspect an input."""

ACTS = {
    Cause.DATA_BROKEN: "the data broke: nothing is rolled back or trained, the feed has to be mended",
    Cause.MODEL_WORSE: "the model got worse: the previous version takes over",
    Cause.POPULATION_MOVED: "the population moved: a model is trained on what is usual now",
    Cause.UNDECIDED: "the cause cannot be told: a person has to look",
}


@dataclass(frozen=True)
class Decision:
    """A cause, with the evidence for it."""

    cause: Cause
    summary: str
    evidence: tuple[Evidence, ...]
    sites: tuple[str, ...]


def find_cause(findings: Findings, pairs: PairCounts | None = None, facts: Sequence[Fact] = ()) -> Decision:
    """Return the cause of a change: the same findings always give the same one."""
    broken = broken_evidence(findings, facts)
    versions = compare(pairs)
    moved = _moved_inputs(findings)
    cause = Cause.DATA_BROKEN if broken else _model_or_population(findings, moved, versions)
    evidence = _evidence(findings, [one for one, _ in broken], versions, moved)
    sites = tuple(sorted({site for _, site in broken if site}))
    if len(sites) > len(findings.usual_sites) / 2:
        sites = ()
    return Decision(cause, _summary(findings, cause, evidence, sites), evidence, sites)


def _model_or_population(findings: Findings, moved: list[str], versions: Comparison) -> Cause:
    kinds = {signal.kind for signal in findings.alarms}
    outputs = kinds & set(_OUTPUTS)
    if moved:
        sure = kinds & set(_INPUTS) and any(is_wide_in(name, findings) for name in moved)
        return Cause.POPULATION_MOVED if sure and versions.agreement != Agreement.DISAGREE else Cause.UNDECIDED
    if "precision" in kinds:
        return Cause.POPULATION_MOVED if versions.agreement == Agreement.AGREE else Cause.MODEL_WORSE
    if outputs and versions.agreement == Agreement.DISAGREE:
        return Cause.MODEL_WORSE
    is_seen = len(findings.after) >= _LEAST_ROWS and findings.names
    if outputs and is_seen and versions.agreement == Agreement.UNKNOWN and not is_score_of_few(findings):
        return Cause.MODEL_WORSE
    return Cause.UNDECIDED


def _moved_inputs(findings: Findings) -> list[str]:
    """Return the inputs that moved: those in alarm, and those that plainly do though their alarm is not due yet."""
    moved = [signal.subject for signal in findings.alarms if signal.kind in _INPUTS and signal.site is None]
    if len(findings.after) < _LEAST_ROWS // 2:
        return moved
    watched = {s.subject for s in findings.signals if s.kind == "input" and s.strength >= _SOME_EVIDENCE}
    for name in findings.names:
        if name in watched and name not in moved:
            size, error = shift(*findings.column(name))
            if abs(size) > max(_SUSPECT * error, _SMALL):
                moved.append(name)
    return list(dict.fromkeys(moved))


def _points_to(signal: Signal, moved: list[str]) -> Cause | None:
    if signal.kind in _INPUTS:
        return Cause.POPULATION_MOVED
    if signal.kind == "precision" or (signal.kind in _OUTPUTS and not moved):
        return Cause.MODEL_WORSE
    return Cause.DATA_BROKEN if signal.kind in ("missingness", "site") else None


def _evidence(
    findings: Findings, broken: list[Evidence], versions: Comparison, moved: list[str]
) -> tuple[Evidence, ...]:
    told = {(one.subject, one.kind) for one in broken}
    signals = [
        Evidence(
            kind=signal.kind,
            subject=signal.subject,
            statement=describe(signal, findings),
            strength=signal.strength,
            points_to=_points_to(signal, moved),
        )
        for signal in (findings.alarms or findings.signals[:1])
        if (signal.subject, signal.kind) not in told
    ]
    cause = {Agreement.DISAGREE: Cause.MODEL_WORSE, Agreement.AGREE: Cause.POPULATION_MOVED}.get(versions.agreement)
    comparison = Evidence(
        kind="disagreement",
        subject="the previous version",
        statement=versions.statement,
        strength=versions.strength,
        points_to=cause,
    )
    first = sorted(broken, key=lambda one: -one.strength) + sorted(signals, key=lambda one: -one.strength)
    return (*first[: MOST_EVIDENCE - 1], comparison)


def _summary(findings: Findings, cause: Cause, evidence: Sequence[Evidence], sites: Sequence[str]) -> str:
    since = from_micros(findings.first_seen).strftime("%Y-%m-%d %H:%M UTC")
    where = f" at {', '.join(sites[:3])}" if sites and sites[0] not in evidence[0].statement else ""
    return f"Since {since}{where} {evidence[0].statement}; {ACTS[cause]}."
