"""The detectors of each site: values far out, missing or stuck there, and a site that went silent.

A change at one of many sites is thin in the whole. What breaks at a site breaks grossly, so that a few rows show it.
"""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vigil.clock import DAY, HOUR
from vigil.monitoring.watch.packing import pack, unpack
from vigil.monitoring.watch.rates import Range, Rates, usual_range
from vigil.monitoring.watch.settings import WatchSettings
from vigil.monitoring.watch.signals import Readings

FloatArray = NDArray[np.float64]

FAR = 2.33
"""Standard deviations beyond which a value is far out: 1 % of the reference on each side."""
_TOLERANCE = 0.1
_TOO_ALIKE = 0.6
_LEVEL_ROWS = 300
_KNOWN = 20
_FEW = 5
_DAY_OFF, _DAYS_OFF = 14 * HOUR, 40 * HOUR
"""How long any site may be silent: over night, and over a day off while no week has been seen yet."""
"""Rows of a site that are judged together."""
ASPECTS = ("high", "low", "missing", "stuck")


class SiteWatch:
    """The detectors of one site: four for each of C columns."""

    def __init__(self, columns: int) -> None:
        self.rows, self.gap, self.longest = 0, 0, 0
        """Rows of this site; rows of others since its last, and the most that there ever were while learning."""
        self.last_time, self.longest_time = 0, 0
        self.last_values = np.full(columns, np.nan)
        self.last_level = np.full(columns, np.nan)
        self.mean_level, self.level_rows = np.zeros(columns), np.zeros(columns)
        """What is usual here: mean and rows of it, by column."""
        self.yes = np.zeros(4 * columns)
        self.pairs = np.zeros(4 * columns)
        self.pending, self.pending_since = 0, 0
        self.judged_at = 0
        self.usual = np.zeros(4 * columns)
        self.rates: Rates | None = None

    def add(self, values: FloatArray, level: FloatArray, time: NDArray[np.int64]) -> None:
        """Count the rows of a window."""
        previous = np.vstack([self.last_values, values[:-1]])
        same = (values == previous) & ~np.isnan(values)
        both = ~np.isnan(values) & ~np.isnan(previous)
        missing = np.isnan(values)
        with np.errstate(invalid="ignore"):
            far = [level > FAR, level < -FAR]
        yes = [*(one.sum(axis=0) for one in far), missing.sum(axis=0), same.sum(axis=0)]
        rows = [(~missing).sum(axis=0)] * 2 + [np.full(values.shape[1], len(values)), both.sum(axis=0)]
        self.yes += np.concatenate(yes)
        self.pairs += np.concatenate(rows)
        self.pending_since = self.pending_since if self.pending else int(time[0])
        self.pending += len(values)
        self.rows += len(values)
        self.last_values, self.last_level, self.last_time = values[-1], level[-1], int(time[-1])

    def learn_level(self, level: FloatArray) -> None:
        """Know more of what is usual here; what was long ago is forgotten."""
        count = (~np.isnan(level)).sum(axis=0)
        self.level_rows = np.minimum(self.level_rows + count, _LEVEL_ROWS)
        self.mean_level += (np.nansum(level, axis=0) - count * self.mean_level) / np.maximum(self.level_rows, 1)

    def judge(self, least: int, power: FloatArray) -> None:
        """Judge the rows when there are a few; the first `least` teach what is usual here."""
        if self.rates is None and self.pending >= least:
            self.usual = self.yes / np.maximum(self.pairs, 1)
            usual = usual_range(self.usual, self.pairs, _TOLERANCE)
            high = np.where((self.usual > 0.75) | (power == 0), 1.0, usual.high)
            self.rates = Rates(Range(np.zeros(len(high)), high, np.maximum(power, 0.01)))
        elif self.rates is not None and self.pending >= _FEW:
            days = max(self.last_time - self.judged_at, 0) / DAY
            self.rates.update(self.yes, self.pairs, days, self.pending_since)
        else:
            return
        self.judged_at, self.pending = self.last_time, 0
        self.yes, self.pairs = np.zeros_like(self.yes), np.zeros_like(self.pairs)

    def snapshot(self) -> dict[str, Any]:
        """Return the state as a JSON document."""
        state = {name: getattr(self, name) for name in _NUMBERS} | {n: pack(getattr(self, n)) for n in _ARRAYS}
        return state | {"rates": None if self.rates is None else self.rates.snapshot()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        for name in _NUMBERS:
            setattr(self, name, state[name])
        for name in _ARRAYS:
            setattr(self, name, unpack(state[name]))
        self.rates = None if state["rates"] is None else Rates.restored(state["rates"])


_NUMBERS = ("rows", "gap", "longest", "longest_time", "last_time", "pending", "pending_since", "judged_at")
_ARRAYS = ("last_values", "last_level", "mean_level", "level_rows", "yes", "pairs", "usual")


class Sites:
    """The sites, those that came first."""

    def __init__(self, names: tuple[str, ...], mixed: NDArray[np.bool_], settings: WatchSettings) -> None:
        self.names, self._settings, self._mixed = names, settings, mixed
        self.sites: dict[str, SiteWatch] = {}
        self.rows, self.oldest, self.newest = 0, 0, 0
        self.learned = 0
        """Rows by which it was known which sites there are."""
        self.likeness = np.zeros((2, len(names)))
        """Sums over rows of a site and the one before it: level times level, and level squared."""

    def learn(self) -> None:
        """Take the rows so far as how often each site is heard of."""
        self.learned = self.rows
        for site in self.sites.values():
            site.longest = max(site.longest, site.gap)

    def levels(self) -> dict[str, FloatArray]:
        """Return the mean level of each column that is usual at a site, by site; 0 where it is not known yet."""
        return {name: np.where(one.level_rows >= _KNOWN, one.mean_level, 0.0) for name, one in self.sites.items()}

    def learn_levels(self, sites: list[str], level: FloatArray) -> None:
        """Know from a window without an alarm what is usual at each site."""
        here = np.array(sites)
        for name in dict.fromkeys(sites):
            if name in self.sites:
                self.sites[name].learn_level(level[here == name])

    def update(self, sites: list[str], values: FloatArray, level: FloatArray, time: NDArray[np.int64]) -> None:
        """Judge the rows of a window, site by site."""
        here = np.array(sites)
        for name in dict.fromkeys(sites):
            chosen = np.flatnonzero(here == name)
            if name not in self.sites and len(self.sites) < self._settings.sites_at_most:
                self.sites[name] = SiteWatch(len(self.names))
            if (site := self.sites.get(name)) is not None:
                site.longest = max(site.longest, site.gap + int(chosen[0]))
                site.gap = -1 - int(chosen[-1])
                if site.rows:
                    site.longest_time = max(site.longest_time, int(time[chosen[0]]) - site.last_time)
                self._compare(level[chosen], site.last_level)
                site.add(values[chosen], level[chosen], time[chosen])
                if self.learned:
                    site.judge(self._settings.site_rows, self._power)
        for site in self.sites.values():
            site.gap += len(sites)
        self.rows += len(sites)
        self.oldest, self.newest = self.oldest or int(time[0]), max(self.newest, int(time[-1]))

    def _compare(self, level: FloatArray, last: FloatArray) -> None:
        """Learn how much a row resembles the one before it at its site."""
        if not self.learned:
            previous = np.vstack([last, level[:-1]])
            both = ~np.isnan(previous) & ~np.isnan(level)
            self.likeness[0] += np.where(both, previous * level, 0.0).sum(axis=0)
            self.likeness[1] += np.where(both, (level**2 + previous**2) / 2, 0.0).sum(axis=0)

    @cached_property
    def _power(self) -> FloatArray:
        """Return what a row counts in each detector: less if it resembles the last one, nothing if it repeats it."""
        alike = np.clip(self.likeness[0] / np.maximum(self.likeness[1], 1e-9), 0.0, 1.0)
        watched = self._mixed & (alike <= _TOO_ALIKE)
        power = np.where(watched, 0.5 * (1 - alike) / (1 + alike), 0.0)
        return np.concatenate([power, power, np.full(len(alike), 0.5), power])

    @property
    def alike(self) -> dict[str, float]:
        """How much a row resembles the one before it at its site, by column."""
        shares = self.likeness[0] / np.maximum(self.likeness[1], 1e-9)
        return dict(zip(self.names, shares.tolist(), strict=True))

    @property
    def detectors(self) -> int:
        """Number of detectors over all sites."""
        return max(len(self.sites), 1) * (4 * len(self.names) + 1)

    def readings(self, least: float = -np.inf) -> list[Readings]:
        """Return the evidence site by site; sites where none reaches `least`, a logarithm of years, are left out."""
        found = []
        for name, site in self.sites.items():
            if site.rates is not None and site.rates.log_years().max(initial=-np.inf) >= least:
                labels = [(_kind(aspect), column, aspect) for aspect in ASPECTS for column in self.names]
                rates = site.rates
                found.append(
                    Readings(labels, rates.log_years(), rates.since(), now := rates.share(), site.usual, now, name)
                )
            if self.learned and site.gap >= max(3 * site.longest, 1) * (least > -np.inf):
                found.append(self._silence(name, site))
        return found

    def _silence(self, name: str, site: SiteWatch) -> Readings:
        """Return the evidence that a site is silent: a quarter of its share would have brought many rows."""
        share = site.rows / max(self.rows, 1)
        quiet = self.newest - site.last_time
        least = max(1.5 * site.longest_time, _DAY_OFF if self.newest - self.oldest > 8 * DAY else _DAYS_OFF)
        is_odd = site.gap > 3 * site.longest and site.rows >= self._settings.site_rows and quiet > least
        evidence = site.gap * share / 4 - 9 if is_odd else -np.inf
        labels = [("site", name, "silent")]
        since = np.full(1, site.last_time, dtype=np.int64)
        now = np.full(1, share if site.gap <= site.longest else 0.0)
        return Readings(labels, np.full(1, evidence), since, np.zeros(1), np.full(1, share), now, name)

    def restart(self) -> None:
        """Forget what was told."""
        for site in self.sites.values():
            if site.rates is not None:
                site.rates.restart()

    def snapshot(self) -> dict[str, Any]:
        """Return the state as a JSON document."""
        sites = {name: site.snapshot() for name, site in self.sites.items()}
        return {
            "sites": sites,
            "rows": self.rows,
            "learned": self.learned,
            "span": [self.oldest, self.newest],
            "likeness": pack(self.likeness),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        self.rows, self.learned, self.sites = state["rows"], state["learned"], {}
        self.oldest, self.newest = state["span"]
        self.likeness = unpack(state["likeness"])
        self.__dict__.pop("_power", None)
        for name, one in state["sites"].items():
            self.sites[name] = SiteWatch(len(self.names))
            self.sites[name].restore(one)


def _kind(aspect: str) -> str:
    return "missingness" if aspect == "missing" else "input"
