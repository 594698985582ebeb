"""Runs of flagged findings as incidents: what a budget counts."""

from dataclasses import dataclass

import numpy as np

from vigil.fleet.panel import Series
from vigil.fleet.score import Findings, Kind


@dataclass(frozen=True)
class Incident:
    """Flagged findings of one series, none further from the next than the gap; times are microseconds."""

    series: Series
    first: int
    last: int
    kinds: tuple[str, ...]
    """From the most frequent on."""
    findings: int
    surprise: float
    """The largest."""
    sign: int
    """1 where its most surprising reading was too high, -1 where too low."""


def incidents_of(findings: Findings, gap: int) -> list[Incident]:
    """Return the incidents in the order of their beginning; findings at most `gap` microseconds apart are of one."""
    rows = np.flatnonzero(findings.flagged)
    numbers = {series: place for place, series in enumerate(dict.fromkeys(findings.series))}
    owner = np.array([numbers[findings.series[one]] for one in findings.index[rows]], dtype=np.int64)
    order = np.lexsort((findings.times[rows], owner))
    rows, owner = rows[order], owner[order]
    times = findings.times[rows]
    apart = np.flatnonzero((np.diff(owner) != 0) | (np.diff(times) > gap)) + 1
    found = [_incident(findings, part) for part in np.split(rows, apart) if part.size]
    return sorted(found, key=lambda one: (one.first, one.series))


def _incident(findings: Findings, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Incident:
    kinds, counts = np.unique(findings.kind[rows], return_counts=True)
    by_count = kinds[np.argsort(-counts, kind="stable")]
    top = rows[int(np.argmax(findings.ratio[rows]))]
    return Incident(
        series=findings.series[findings.index[rows[0]]],
        first=int(findings.times[rows[0]]),
        last=int(findings.times[rows[-1]]),
        kinds=tuple(Kind(kind).name.lower() for kind in by_count),
        findings=len(rows),
        surprise=float(findings.surprise[top]),
        sign=int(findings.sign[top]),
    )
