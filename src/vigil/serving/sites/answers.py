"""Findings in words and numbers: what a client gets for each reading, and what the alert desk hears of."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vigil.clock import from_micros
from vigil.contracts.keys import hash_json
from vigil.fleet.bundled import Shard
from vigil.fleet.model import Basis
from vigil.fleet.score import Findings, Kind

FINDING_EVENT = "vigil.site.finding"
"""Type of the CloudEvent for each finding; its data are as `vigil.alerts.findings.Finding` reads them."""

_ALERTED = {
    Kind.CONTEXTUAL: "contextual",
    Kind.COLLECTIVE: "collective",
    Kind.SHIFT: "level_shift",
    Kind.STUCK: "stuck",
    Kind.SILENCE: "silence",
    Kind.UNIT: "unit",
}
_WORDS = {
    Kind.POINT: "beyond all that it was before",
    Kind.CONTEXTUAL: "usual at another hour or day, but not then",
    Kind.COLLECTIVE: "one of a run of readings that are off together",
    Kind.SHIFT: "one of a run so long that the level seems to have moved",
    Kind.STUCK: "the same as for too long",
    Kind.SILENCE: "a reading was due and did not come",
    Kind.UNIT: "off by a factor, as of another unit",
    Kind.LATE: "too late to be learned from",
    Kind.DUPLICATE: "told twice; it counts once",
}
_BASES = {
    Basis.SITE: "its own history of {} readings",
    Basis.CLUSTER: "the sites that are like it, since its own history has {} readings only",
    Basis.GLOBAL: "all sites, since its own history has {} readings only",
}
_MOST_RATIO = 1e9


@dataclass(frozen=True)
class Scored:
    """The answer to each reading, and the findings that are worth an event."""

    answers: list[dict[str, Any]]
    events: list[dict[str, Any]]


def scored_of(findings: Findings, shard: Shard, model: str) -> Scored:
    """Return the answers in the order of the readings; the events are the flagged rows, missing readings too."""
    missed, answers = 0, []
    for row in range(len(findings)):
        if not np.isfinite(findings.values[row]):
            missed += 1
            continue
        answers.append({**_answer(findings, row, shard), "missed": missed})
        missed = 0
    return Scored(answers, list(events_of(findings, model)))


def events_of(findings: Findings, model: str) -> Iterator[dict[str, Any]]:
    """Yield the flagged rows as the alert desk takes them."""
    for row in findings.flagged.nonzero()[0].tolist():
        series, kind, sign = _facts(findings, row)
        distance = finite(findings.z[row])
        yield {
            "site": series.site,
            "metric": series.metric,
            "time": moment(findings, row),
            "kind": _ALERTED.get(kind) or ("dip" if sign < 0 else "spike"),
            "value": finite(findings.values[row]),
            "expected": finite(findings.expected[row]),
            "low": finite(findings.low[row]),
            "high": finite(findings.high[row]),
            "distance": distance if distance is None or sign == 0 else abs(distance) * sign,
            "ratio": min(float(findings.ratio[row]), _MOST_RATIO),
            "model": model,
            "version": findings.versions[row],
            "reasons": list(reasons(findings, row)),
        }


def finding_id(document: Mapping[str, Any]) -> str:
    """Return the same id for the same finding, however often it is told."""
    return hash_json([document[name] for name in ("site", "metric", "time", "kind")]).removeprefix("sha256:")[:32]


def reasons(findings: Findings, row: int) -> Iterator[str]:
    """Yield why a row is judged so, in words."""
    _, kind, sign = _facts(findings, row)
    expected, low, high = (float(getattr(findings, name)[row]) for name in ("expected", "low", "high"))
    band = f"expected {expected:,.6g}, usual are {low:,.6g} to {high:,.6g}"
    far = float(findings.z[row])
    yield (
        band
        if not np.isfinite(far)
        else f"{band}: {abs(far):.1f} standard deviations {'below' if far < 0 else 'above'}"
    )
    if findings.flagged[row] and kind in _WORDS:
        side = (
            "" if kind in (Kind.STUCK, Kind.SILENCE, Kind.UNIT) or not sign else (" (high)" if sign > 0 else " (low)")
        )
        yield f"{_WORDS[kind]}{side}"
    elif kind in (Kind.LATE, Kind.DUPLICATE):
        yield _WORDS[kind]
    yield f"known from {_BASES[Basis(int(findings.basis[row]))].format(f'{int(findings.history[row]):,}')}"


def moment(findings: Findings, row: int) -> str:
    """Return the time of a row in UTC."""
    return from_micros(int(findings.times[row])).isoformat().replace("+00:00", "Z")


def finite(value: float) -> float | None:
    """Return a number that JSON can hold, or None."""
    return float(value) if np.isfinite(value) else None


def _facts(findings: Findings, row: int) -> tuple[Any, Kind, int]:
    series = findings.series[int(findings.index[row])]
    return series, Kind(int(findings.kind[row])), int(findings.sign[row])


def _answer(findings: Findings, row: int, shard: Shard) -> dict[str, Any]:
    series, kind, sign = _facts(findings, row)
    flagged = bool(findings.flagged[row])
    found = {
        "site": series.site,
        "metric": series.metric,
        "time": moment(findings, row),
        "value": float(findings.values[row]),
        "surprise": finite(findings.surprise[row]),
        "threshold": finite(findings.threshold[row]),
        "flagged": flagged,
        "z": finite(findings.z[row]),
        "expected": finite(findings.expected[row]),
        "low": finite(findings.low[row]),
        "high": finite(findings.high[row]),
        "kind": kind.name.lower(),
        "basis": Basis(int(findings.basis[row])).name.lower(),
        "known": series in shard.fleet.position,
        "site_version": findings.versions[row],
        "model_version": shard.version or shard.bundle.removeprefix("sha256:")[:12],
        "reasons": list(reasons(findings, row)),
        "finding_id": None,
    }
    if flagged:
        told = {**found, "kind": _ALERTED.get(kind) or ("dip" if sign < 0 else "spike")}
        found["finding_id"] = finding_id(told)
    return found
