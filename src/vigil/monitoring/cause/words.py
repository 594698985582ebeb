"""Signals as sentences."""

import numpy as np

from vigil.monitoring.cause.findings import Findings, FloatArray, Signal


def describe(signal: Signal, findings: Findings) -> str:
    """Return what a signal says, for a person, with its numbers."""
    at = f" at {signal.site}" if signal.site and signal.kind != "site" else ""
    rate = f"{_share(signal, findings):.1%} of rows, usual is {signal.usual:.1%}"
    by_aspect = {
        "level": f"{_called(signal)} moved by {signal.size:+.2f} standard deviations{_medians(signal, findings)}",
        "width": f"{_called(signal)} is spread {'wider' if signal.size > 0 else 'closer'} ({signal.size:+.2f})",
        "shape": f"{_called(signal)} has another shape",
        "missing": f"{signal.subject} is missing{at} in {rate}",
        "rare": f"{_called(signal)} is unusual in {rate}",
        "high": f"{_called(signal)} is far up{at} in {rate}",
        "low": f"{_called(signal)} is far down{at} in {rate}",
        "stuck": f"{_called(signal)} repeats its last value{at} in {rate}",
        "unknown": f"{signal.subject} has values that it never had in {rate}",
        "unit": f"{signal.subject} is multiplied by {signal.size:g}{at}",
        "silent": f"{signal.subject} is silent, though it brought {signal.usual:.1%} of decisions",
        "limit": f"{signal.size:.1%} of decisions are flagged, beyond the limit",
        "usual": f"{signal.size:.1%} of decisions are flagged, usual is {signal.usual:.1%}",
        "down": f"{signal.size:.1%} of flagged decisions were right, usual is {signal.usual:.1%}",
    }
    return by_aspect[signal.aspect]


def _share(signal: Signal, findings: Findings) -> float:
    """Return the rate among the rows since the change; the detector's own still remembers those before."""
    if signal.site is not None or not findings.sites:
        return signal.size
    if signal.aspect == "missing" and signal.subject in findings.names:
        return float(np.mean(~np.isfinite(findings.after[:, findings.names.index(signal.subject)])))
    entries = findings.fields.get(signal.subject, ())
    if signal.aspect == "missing" and entries:
        return float(np.mean([entry is None for entry in entries]))
    if signal.aspect == "unknown" and entries:
        known = set(findings.known.get(signal.subject, ()))
        return float(np.mean([entry is not None and entry not in known for entry in entries]))
    return signal.size


def _called(signal: Signal) -> str:
    names = {"score": "the score", "member": f"the level of {signal.subject}"}
    return names.get(signal.kind, signal.subject)


def _medians(signal: Signal, findings: Findings) -> str:
    if signal.kind == "score":
        return _change(findings.score_before, findings.score_after)
    return _change(*findings.column(signal.subject)) if signal.subject in findings.names else ""


def _change(before: FloatArray, after: FloatArray) -> str:
    if not len(before) or not len(after):
        return ""
    return f" (median {np.median(before):,.4g} before, {np.median(after):,.4g} now)"
