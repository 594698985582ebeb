"""What a change of a column looks like: a unit, a value that is stuck, a shift, and whether one site makes it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

FloatArray = NDArray[np.float64]

FACTORS = {
    **{10.0**power: f"{10**power:,}" for power in range(1, 7)},
    12.0: "12 (months in a year, pieces in a dozen)",
    24.0: "24 (hours in a day)",
    60.0: "60 (seconds in a minute)",
    2.2046: "2.2046 (pounds in a kilogram)",
}
"""What a value is multiplied by when its unit changes. Exchange rates are no such factor: prices do move like them."""

_QUANTILES = np.linspace(0.1, 0.9, 17)
_LEAST = 20
SURE_FACTOR = 9.0
"""Factors from this on are no ordinary change of a whole distribution, so that they may be met less exactly."""


@dataclass(frozen=True)
class Unit:
    """A column whose values are as before after they are divided by a factor."""

    column: str
    factor: float
    measured: float
    name: str

    @property
    def words(self) -> str:
        """What happened to the values."""
        return f"{'multiplied' if self.factor > 1 else 'divided'} by {self.name}"


def find_unit(column: str, before: FloatArray, after: FloatArray) -> Unit | None:
    """Return the change of unit that explains a column's change, None if none does."""
    if min(len(before), len(after)) < _LEAST:
        return None
    sign = 1.0 if np.mean(before > 0) >= 0.5 else -1.0
    old, new = before[sign * before > 0] * sign, after[sign * after > 0] * sign
    is_whole = len(new) >= 0.9 * len(after) * (len(old) / len(before)) and len(old) >= 0.5 * len(before)
    if not is_whole or len(new) < _LEAST:
        return None
    ratios = np.log(np.quantile(new, _QUANTILES)) - np.log(np.quantile(old, _QUANTILES))
    found, spread = float(np.median(ratios)), float(np.std(ratios))
    error = 1.25 * float(np.std(np.log(new))) / np.sqrt(len(new))
    met = [
        Unit(column, factor**sign_of, float(np.exp(found)), name)
        for factor, name in FACTORS.items()
        for sign_of in (1, -1)
        if _meets(found - sign_of * np.log(factor), spread, error, factor)
    ]
    return min(met, key=lambda unit: abs(found - np.log(unit.factor)), default=None)


def nearest_factor(found: float, tolerance: float) -> tuple[float, str] | None:
    """Return the large factor nearest to a logarithm within a tolerance, and its name; powers of ten come first."""
    distances = [
        (round(np.log10(factor), 9) % 1 > 0, abs(found - sign * np.log(factor)), factor**sign, name)
        for factor, name in FACTORS.items()
        for sign in (1, -1)
        if factor >= SURE_FACTOR and abs(found - sign * np.log(factor)) < tolerance
    ]
    return min(distances)[2:] if distances else None


def _meets(distance: float, spread: float, error: float, factor: float) -> bool:
    """Return whether a factor explains the ratios of the quantiles: close to it, and the same for small and large."""
    if factor < SURE_FACTOR:
        return abs(distance) < 0.08 and spread < 0.15 and error < 0.05
    return abs(distance) < min(max(0.15, 2 * error), 0.45) and spread < max(0.35, 2.5 * error)


def stuck_value(before: FloatArray, after: FloatArray) -> float | None:
    """Return the value that most rows have now and few had before, None if there is none."""
    if min(len(before), len(after)) < _LEAST:
        return None
    values, counts = np.unique(after, return_counts=True)
    most = int(np.argmax(counts))
    share = counts[most] / len(after)
    usual = float(np.mean(before == values[most]))
    return float(values[most]) if share > 0.5 and usual < share / 3 else None


def scores_of(before: FloatArray, after: FloatArray) -> FloatArray:
    """Return the normal scores of values at their ranks in what was before; NaN stays."""
    ranked = np.sort(before[np.isfinite(before)])
    if not len(ranked):
        return np.full(len(after), np.nan)
    rank = (np.searchsorted(ranked, after, "left") + np.searchsorted(ranked, after, "right")) / 2
    scores: FloatArray = ndtri((rank + 0.5) / (len(ranked) + 1))
    return np.where(np.isfinite(after), scores, np.nan)


def shift(before: FloatArray, after: FloatArray) -> tuple[float, float]:
    """Return the change of a column's mean score in standard deviations, and its error."""
    old, new = scores_of(before, before), scores_of(before, after)
    new = new[np.isfinite(new)]
    if len(new) < 2:
        return 0.0, 1.0
    spread = max(float(np.nanstd(old)), 0.3)
    error = float(np.sqrt(np.var(new) / len(new) + 1 / max(len(before), 1))) / spread
    return (float(new.mean()) - float(np.nanmean(old))) / spread, error


def site_of(scores: FloatArray, sites: Sequence[str]) -> str | None:
    """Return the one site without which the mean score would be usual, None if the change is in several."""
    names = np.array(sites)
    seen = np.isfinite(scores)
    if len(set(sites)) < 3 or seen.sum() < _LEAST:
        return None
    total = float(scores[seen].sum())
    sums = {name: float(scores[seen & (names == name)].sum()) for name in dict.fromkeys(sites)}
    most = max(sums, key=lambda name: sums[name] * np.sign(total))
    here = seen & (names == most)
    rest = seen & ~here
    if here.sum() < 5 or rest.sum() < 5:
        return None
    remaining = abs(float(scores[rest].mean()))
    error = float(scores[rest].std()) / np.sqrt(rest.sum())
    is_gross = abs(float(scores[here].mean())) > 1.0
    is_alone = remaining < max(2 * error, 0.15 * abs(float(scores[here].mean())))
    return most if is_gross and is_alone else None
