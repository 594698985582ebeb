"""Where a change shows: which sites send another unit, and whether a shift is that of many sites or of a few."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from vigil.monitoring.cause.findings import Findings, FloatArray
from vigil.monitoring.cause.shapes import SURE_FACTOR, Unit, nearest_factor, scores_of

LEAST_HERE = 8
"""Rows of a site that tell its unit: a factor of ten is more than anything that eight of them do by chance."""
_LATEST = 15
_CONTINUOUS = 0.1
"""Share of one value from which a column's values are counts or defaults, and have no unit."""
_FEW_SITES = 2
_LEAST_SITES = 4
"""Sites from which on it can be said that a change is that of a few."""
_REMAINS = 0.4
_SURE, _PLAIN = 2.0, 4.0
_USUAL_SIZE = float(np.sqrt(2 / np.pi))
"""Mean absolute normal score."""


@dataclass(frozen=True)
class SiteUnit:
    """A site whose latest values are those of another unit."""

    site: str
    unit: Unit
    rows: int

    @property
    def statement(self) -> str:
        """What is seen, with the numbers."""
        measured = f"measured: {self.unit.measured:,.4g} over {self.rows} rows"
        where = f"at {self.site}" if self.site else "in events that name no site"
        return f"{self.unit.column} is {self.unit.words} {where} ({measured})"


def units_at_sites(findings: Findings) -> list[SiteUnit]:
    """Return the sites whose latest rows differ from what is usual there by the factor of a unit, in a raw field.

    Neither the field nor the site has to be in alarm: what the model makes of a few wrong rows may be found first.
    """
    return [one for k, name in enumerate(findings.names) if name in findings.raw for one in _units(k, findings)]


def _units(k: int, findings: Findings) -> Iterator[SiteUnit]:
    before = _present(findings.before[:, k])
    if not _has_unit(before):
        return
    spread = float(np.std(np.log(before[before > 0])))
    names = np.array(findings.latest_sites)
    for site in dict.fromkeys(findings.latest_sites):
        here = _present(findings.latest[names == site, k])
        ratios = _ratios(here[here > 0], before, _level(site, k, findings))
        for rows in (_LATEST, LEAST_HERE):
            if (unit := _unit(findings.names[k], ratios[-rows:], spread)) is not None:
                yield SiteUnit(site, unit, len(ratios[-rows:]))
                break


def _has_unit(values: FloatArray) -> bool:
    if len(values) < LEAST_HERE or np.mean(values > 0) < 1 - _CONTINUOUS:
        return False
    return bool(np.unique(values, return_counts=True)[1].max() < _CONTINUOUS * len(values))


def _unit(column: str, ratios: FloatArray, spread: float) -> Unit | None:
    """Return the unit that explains logarithms of ratios to what is usual: nearly all beyond, none wider."""
    if len(ratios) < LEAST_HERE:
        return None
    found = float(np.median(ratios))
    beyond = np.mean(np.sign(found) * ratios > np.log(SURE_FACTOR) / 2)
    if abs(found) < np.log(SURE_FACTOR) or beyond < 0.8 or float(np.std(ratios)) > 2 * spread + 0.1:
        return None
    error = 1.25 * spread / np.sqrt(len(ratios))
    factor = nearest_factor(found, min(max(0.15, 2.5 * error), 1.1))
    return None if factor is None else Unit(column, factor[0], float(np.exp(found)), factor[1])


def is_usual_at(site: str, findings: Findings) -> bool:
    """Return whether the latest rows of a site have the usual unit in all raw fields; too few of them tell nothing."""
    names = np.array(findings.latest_sites)
    for k, name in enumerate(findings.names):
        if name in findings.raw and _has_unit(before := _present(findings.before[:, k])):
            here = _present(findings.latest[names == site, k])[-_LATEST:]
            ratios = _ratios(here[here > 0], before, _level(site, k, findings))
            if len(ratios) < LEAST_HERE or abs(float(np.median(ratios))) > np.log(SURE_FACTOR) / 2:
                return False
    return True


def is_wide_in(column: str, findings: Findings) -> bool:
    """Return whether a column has moved at more than a few sites; of few sites in all it is taken to."""
    if column not in findings.names:
        return True
    k = findings.names.index(column)
    scores = scores_of(findings.before[:, k], findings.after[:, k])
    usual = np.array([_level(site, k, findings) for site in findings.sites])
    return any(_Spread.of(one, findings.sites).is_wide for one in (scores - usual, np.abs(scores) - _USUAL_SIZE))


def is_score_of_few(findings: Findings) -> bool:
    """Return whether the score has moved at a few sites, and nowhere else."""
    scores = scores_of(findings.score_before, findings.score_after)
    return len(scores) == len(findings.sites) and _Spread.of(scores, findings.sites).is_of_few


@dataclass(frozen=True)
class _Spread:
    """How a shift is spread over sites."""

    sites: int
    total: float
    """Mean of all rows."""
    few: tuple[float, float]
    """Mean of the sites that make most of the shift, in its direction, and its error."""
    rest: tuple[float, float]
    """The same of all others."""

    @classmethod
    def of(cls, scores: FloatArray, sites: Sequence[str]) -> "_Spread":
        seen = np.isfinite(scores)
        moved, names = scores[seen], np.array(sites)[seen]
        total = float(moved.mean()) if len(moved) else 0.0
        sums = {name: float(moved[names == name].sum()) * np.sign(total) for name in dict.fromkeys(names.tolist())}
        is_few = np.isin(names, sorted(sums, key=lambda name: -sums[name])[:_FEW_SITES])
        few, rest = (_mean(moved[chosen] * np.sign(total)) for chosen in (is_few, ~is_few))
        return cls(len(sums), total, few, rest)

    @property
    def is_wide(self) -> bool:
        mean, error = self.rest
        return self.sites < _LEAST_SITES or mean > max(_SURE * error, _REMAINS * abs(self.total))

    @property
    def is_of_few(self) -> bool:
        mean, error = self.few
        return not self.is_wide and mean > _PLAIN * error


def _mean(values: FloatArray) -> tuple[float, float]:
    """Return a mean and its error."""
    if len(values) < LEAST_HERE:
        return 0.0, 1.0
    return float(values.mean()), float(values.std()) / float(np.sqrt(len(values)))


def _present(values: FloatArray) -> FloatArray:
    present: FloatArray = values[np.isfinite(values)]
    return present


def _level(site: str, k: int, findings: Findings) -> float:
    """Return the usual normal score of a column at a site."""
    return float(findings.site_levels[site][k]) if site in findings.site_levels else 0.0


def _ratios(here: FloatArray, before: FloatArray, level: float) -> FloatArray:
    """Return logarithms of the ratios of values to the usual median of their site."""
    usual = float(np.quantile(before[before > 0], float(ndtr(level))))
    ratios: FloatArray = np.log(here / usual)
    return ratios
