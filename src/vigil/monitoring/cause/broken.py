"""What speaks for broken data: facts of ingest, nulls, units, stuck values, unknown categories, silence, one site."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from vigil.monitoring.cause.findings import Fact, Findings, FloatArray, Signal
from vigil.monitoring.cause.places import units_at_sites
from vigil.monitoring.cause.shapes import find_unit, scores_of, site_of, stuck_value
from vigil.monitoring.cause.words import describe
from vigil.monitoring.verdicts import Cause, Evidence

Broken = tuple[Evidence, str | None]
"""Evidence for broken data, and the site at which it shows, if at one."""

_FACTS = ("silent", "unit", "schema", "nulls")
_MANY_UNKNOWN = 0.1
_COLUMNS = 6


def broken_evidence(findings: Findings, facts: Sequence[Fact] = ()) -> list[Broken]:
    """Return all that speaks for broken data, none if nothing does."""
    found = [_of_fact(fact) for fact in facts if fact.kind in _FACTS]
    found += [_of_signal(signal, findings) for signal in findings.alarms if _is_plain(signal)]
    units = units_at_sites(findings) if findings.alarms else []
    found += [(_evidence("input", one.unit.column, one.statement, 3.0 + one.rows), one.site) for one in units]
    explained = {one.unit.column for one in units}
    for column, strength in _suspects(findings).items():
        if column not in explained:
            found += _shape(column, strength, findings)
    return list({(one.kind, one.subject, one.statement, site): (one, site) for one, site in found}.values())


def _of_fact(fact: Fact) -> Broken:
    return _evidence("feed", fact.subject, fact.statement, 6.0), fact.site


def _is_plain(signal: Signal) -> bool:
    """Return whether a signal speaks for broken data by itself."""
    if signal.kind == "missingness":
        return signal.size > signal.usual
    if signal.kind == "category":
        return signal.size >= _MANY_UNKNOWN
    return signal.aspect in ("silent", "stuck")


def _of_signal(signal: Signal, findings: Findings) -> Broken:
    statement = describe(signal, findings)
    site = signal.site
    if site is None and signal.kind == "missingness":
        site = _missing_at(signal.subject, findings)
        statement += f", nearly all of it at {site}" if site else ""
    return _evidence(signal.kind, signal.subject, statement, signal.strength), site


def _missing_at(name: str, findings: Findings) -> str | None:
    if name in findings.names:
        gone = ~np.isfinite(findings.after[:, findings.names.index(name)])
    elif name in findings.fields:
        gone = np.array([entry is None for entry in findings.fields[name]], dtype=np.bool_)
    else:
        return None
    counts = Counter(site for site, missing in zip(findings.sites, gone, strict=True) if missing)
    if not counts or len(set(findings.sites)) < 2:
        return None
    site, most = counts.most_common(1)[0]
    return site if most > 0.8 * counts.total() else None


def _suspects(findings: Findings) -> dict[str, float]:
    """Return the strongest columns whose level, width or far values are in alarm, with their strength."""
    aspects = ("level", "width", "shape", "rare", "high", "low")
    strongest: dict[str, float] = {}
    for signal in findings.alarms:
        if signal.kind == "input" and signal.aspect in aspects and signal.subject in findings.names:
            strongest[signal.subject] = max(strongest.get(signal.subject, 0.0), signal.strength)
    return dict(sorted(strongest.items(), key=lambda item: -item[1])[:_COLUMNS])


def _shape(column: str, strength: float, findings: Findings) -> Iterator[Broken]:
    """Return what the rows since the change show of a column, at one site or in all."""
    before, _ = findings.column(column)
    after = findings.after[:, findings.names.index(column)]
    site = _one_site(column, before, after, findings)
    names = np.array(findings.sites)
    for place in dict.fromkeys((site, None)):
        here = after if place is None else after[names == place]
        here = here[np.isfinite(here)]
        if (unit := find_unit(column, before, here)) is not None:
            words = f"{column} is {unit.words}{_at(place)} (measured: {unit.measured:,.4g}), its shape is the same"
            yield _evidence("input", column, words, strength), place
            return
        if (value := stuck_value(before, here)) is not None:
            yield _evidence("input", column, f"{column} is stuck at {value:,.6g}{_at(place)}", strength), place
            return
    if site is not None:
        words = f"{column} is far from what is usual at {site}, and as usual everywhere else"
        yield _evidence("input", column, words, strength), site


def _one_site(column: str, before: FloatArray, after: FloatArray, findings: Findings) -> str | None:
    """Return the one site that makes the change: the only one whose own detectors say so, or by the rows themselves."""
    own = {s.site for s in findings.alarms if s.site and s.subject == column and s.aspect in ("high", "low")}
    alone = site_of(scores_of(before, after), findings.sites)
    if len(own) == 1 and len(findings.usual_sites) >= 3:
        (site,) = own
        is_wide = any(s.is_alarm and s.site is None and s.subject == column for s in findings.signals)
        return site if alone == site or not is_wide else alone
    return alone


def _at(site: str | None) -> str:
    return f" at {site}" if site else ""


def _evidence(kind: str, subject: str, statement: str, strength: float) -> Evidence:
    return Evidence(kind=kind, subject=subject, statement=statement, strength=strength, points_to=Cause.DATA_BROKEN)
