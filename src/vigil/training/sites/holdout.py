"""The end of the data, on which the candidate of each site meets the site's own champion."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict

from vigil.clock import DAY
from vigil.fleet.fit import fit_fleet
from vigil.fleet.incidents import incidents_of
from vigil.fleet.kernels.online import SEEN, STEP
from vigil.fleet.model import Basis, Fleet
from vigil.fleet.panel import Floats, Ints, Panel, Readings, Series
from vigil.fleet.score import Findings, Kind, score
from vigil.fleet.state import FleetState
from vigil.fleet.thresholds import MONTH
from vigil.training.sites.config import SiteGates, SitesConfig

WEEK = 7 * DAY
KEPT_SHARE = 0.95
"""Of the errors, the smallest: what no model could have expected does not decide between two."""
_UNSCORED = (Kind.LATE, Kind.DUPLICATE, Kind.STUCK, Kind.UNIT)


class SiteVerdict(BaseModel):
    """Whether the candidate of a site goes live, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    promoted: bool
    reasons: tuple[str, ...]
    error: float | None = None
    """Largest ratio to the champion's, over the metrics of the site."""


@dataclass(frozen=True, eq=False)
class Trial:
    """What one model did on the holdout: its rows in the order of series and time."""

    times: dict[Series, Ints]
    errors: dict[Series, Floats]
    incidents: Counter[str]
    sound: set[Series]


@dataclass(frozen=True, eq=False)
class Holdout:
    """The verdicts, and the champion's state after the data: a site that keeps it goes on from there."""

    verdicts: dict[str, SiteVerdict]
    champion_state: FleetState | None


def judge(panel: Panel, config: SitesConfig, champion: Fleet | None) -> Holdout:
    """Return the verdict for each site of the panel."""
    readings = panel.readings
    start = int(readings.times.max()) - int(config.holdout_days * DAY)
    early, late = readings.take(readings.times < start), readings.take(readings.times >= start)
    if not len(early):
        verdict = SiteVerdict(promoted=True, reasons=("all data are younger than the holdout: nothing to judge by",))
        return Holdout({series.site: verdict for series in readings.series}, None)
    candidate = fit_fleet(Panel(_used(early), panel.sites, panel.masks), config.fleet)
    tried = _trial(score(candidate, candidate.start_state(), _known(late, candidate)), start, candidate)
    met, state = None, None
    if champion is not None:
        state = champion.start_state()
        met = _trial(score(champion, state, after_history(champion, _known(readings, champion))), start, champion)
    judged = _Judged(config, candidate, tried, met, _naive(readings, start))
    return Holdout({site: judged.verdict(site) for site in sorted({one.site for one in readings.series})}, state)


def after_history(fleet: Fleet, readings: Readings) -> Readings:
    """Return the readings that come after what the fleet was fitted on."""
    last = np.full(len(readings.series), -1, dtype=np.int64)
    for number, series in enumerate(readings.series):
        row = fleet.position.get(series)
        if row is not None and fleet.start.memory[row, SEEN] > 0:
            last[number] = int(fleet.start.memory[row, STEP])
    return readings.take(readings.times // fleet.settings.step > last[readings.index])


def _known(readings: Readings, fleet: Fleet) -> Readings:
    """Return the readings of series that the fleet has; the others have nothing to compare."""
    known = np.array([series in fleet.position for series in readings.series], dtype=bool)
    return readings.take(known[readings.index])


def _used(readings: Readings) -> Readings:
    """Return the readings without the series that have none."""
    used, index = np.unique(readings.index, return_inverse=True)
    series = tuple(readings.series[number] for number in used)
    return Readings(series, index.astype(np.int32), readings.times, readings.values)


def _trial(findings: Findings, start: int, fleet: Fleet) -> Trial:
    gap = fleet.settings.window * fleet.settings.step
    rows = np.isfinite(findings.values) & (findings.times >= start) & ~np.isin(findings.kind, _UNSCORED)
    times: dict[Series, Ints] = {}
    errors: dict[Series, Floats] = {}
    sound: set[Series] = set()
    for number, series in enumerate(findings.series):
        mine = np.flatnonzero(rows & (findings.index == number))
        times[series] = findings.times[mine]
        errors[series] = np.abs(findings.values[mine] - findings.expected[mine])
        if np.isfinite(findings.expected[mine]).all() and np.isfinite(findings.surprise[mine]).all():
            sound.add(series)
    found = [one for one in incidents_of(findings, gap) if one.last >= start]
    return Trial(times, errors, Counter(one.series.site for one in found), sound)


def _naive(readings: Readings, start: int) -> dict[Series, tuple[Ints, Floats]]:
    """Return times and errors of the value of a week before."""
    found = {}
    for number, series in enumerate(readings.series):
        mine = readings.index == number
        times, values = readings.times[mine], readings.values[mine]
        wanted = np.flatnonzero(times >= start)
        place = np.searchsorted(times, times[wanted] - WEEK)
        there = times[np.minimum(place, len(times) - 1)] == times[wanted] - WEEK if len(times) else place < 0
        wanted, place = wanted[there], place[there]
        found[series] = (times[wanted], np.abs(values[wanted] - values[place]))
    return found


def _error(times: Ints, errors: Floats, common: Ints) -> float:
    """Return the mean of the smaller errors at the common times."""
    chosen = np.sort(errors[np.isin(times, common)])
    return float(chosen[: max(1, int(np.ceil(KEPT_SHARE * len(chosen))))].mean()) if len(chosen) else 0.0


@dataclass(frozen=True, eq=False)
class _Judged:
    config: SitesConfig
    candidate: Fleet
    tried: Trial
    met: Trial | None
    naive: dict[Series, tuple[Ints, Floats]]

    @property
    def gates(self) -> SiteGates:
        return self.config.gates

    def verdict(self, site: str) -> SiteVerdict:
        """Return the verdict of a site: every metric of it has to pass."""
        mine = [series for series in self.candidate.series if series.site == site and series in self.tried.errors]
        has_champion = self.met is not None and any(series in self.met.errors for series in mine)
        rows = sum(len(self.tried.errors[series]) for series in mine)
        if rows < self.gates.least_readings:
            told = f"{rows} readings in the holdout, {self.gates.least_readings} are needed to judge"
            return SiteVerdict(promoted=not has_champion, reasons=(told,))
        against = [self._champion(series) for series in mine]
        failures = [text for text, _ in against if text]
        failures += [text for series in mine if (text := self._sound(series) or self._naively(series))]
        failures += [text] if (text := self._incidents(site)) else []
        ratios = [ratio for _, ratio in against if ratio is not None]
        passed = "as good as its champion" if ratios else "no champion yet"
        return SiteVerdict(
            promoted=not failures, reasons=tuple(failures) or (passed,), error=max(ratios) if ratios else None
        )

    def _champion(self, series: Series) -> tuple[str, float | None]:
        """Return why the champion of a series is better, if it is, and the ratio of the errors."""
        if self.met is None or series not in self.met.errors:
            return "", None
        common = np.intersect1d(self.tried.times[series], self.met.times[series])
        if len(common) == 0:
            return "", None
        own = _error(self.tried.times[series], self.tried.errors[series], common)
        champion = _error(self.met.times[series], self.met.errors[series], common)
        ratio = 1.0 if own == champion else own / max(champion, 1e-12)
        ratio = min(ratio, 1e9)
        if own <= champion * (1 + self.gates.worse_percent / 100):
            return "", ratio
        return f"{series.metric}: its error is {own:.4g}, its champion's {champion:.4g}", ratio

    def _sound(self, series: Series) -> str:
        return "" if series in self.tried.sound else f"{series.metric}: what it expects is not finite"

    def _naively(self, series: Series) -> str:
        times, errors = self.naive[series]
        common = np.intersect1d(times, self.tried.times[series])
        own_history = self.candidate.tables.facts[self.candidate.position[series], 0] == Basis.SITE
        if len(common) < self.gates.least_readings or not own_history:
            return ""
        own = _error(self.tried.times[series], self.tried.errors[series], common)
        naive = _error(times, errors, common)
        if own <= naive * self.gates.naive_ratio or naive == 0.0:
            return ""
        return f"{series.metric}: its error is {own:.4g}, that of last week's value {naive:.4g}"

    def _incidents(self, site: str) -> str:
        months = self.config.holdout_days * DAY / MONTH
        usual = self.met.incidents[site] if self.met is not None else 0
        own = self.tried.incidents[site]
        allowed = usual + max(1.0, self.gates.incidents_month * months)
        return "" if own <= allowed else f"{own} incidents in the holdout, at most {allowed:.3g} are plausible"
