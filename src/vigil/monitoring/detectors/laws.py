"""Laws of test statistics without a change, exact in the far tail: sequential alarms need very small chances."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vigil.errors import MissingExtra

try:
    from scipy import special
except ModuleNotFoundError as error:
    raise MissingExtra("scipy", "monitor") from error

Floats = NDArray[np.float64]

SMALLEST = 1e-300
"""No chance is smaller: its logarithm stays finite."""

_SERIES_TERMS = 12
_FAR = 4.0
"""Above this statistic the series of the Cramer-von Mises law loses its digits, and its tail law is within 1 %."""


def ks_chance(distance: float, effective: float) -> float:
    """Return the chance of a Kolmogorov distance of two samples with `effective` = nm / (n + m) rows."""
    root = math.sqrt(effective)
    return _clip(float(special.kolmogorov(distance * (root + 0.12 + 0.11 / root))))  # Stephens' finite sample


def cvm_chance(statistic: float) -> float:
    """Return the chance of a Cramer-von Mises statistic under its limiting law."""
    if statistic <= 0.0:
        return 1.0
    if statistic < _FAR:
        return _clip(1.0 - _cvm_cdf(statistic))
    # Zolotarev: the largest weight 1 / pi^2 rules the tail, the others multiply it by sqrt(2)
    return _clip(math.sqrt(2.0) * math.erfc(math.pi * math.sqrt(statistic / 2.0)))


def _cvm_cdf(statistic: float) -> float:
    k = np.arange(_SERIES_TERMS, dtype=np.float64)
    odd = 4.0 * k + 1.0
    q = odd**2 / (16.0 * statistic)
    weights = np.exp(special.gammaln(k + 0.5) - special.gammaln(k + 1.0)) * np.sqrt(odd)
    terms = weights * np.exp(-2.0 * q) * special.kve(0.25, q)  # kve: kv scaled by exp(q)
    return float(terms.sum() / (math.pi**1.5 * math.sqrt(statistic)))


def cvm_standardised(statistic: float, window: float, reference: float) -> float:
    """Return the statistic of finite samples moved to mean and variance of the limiting law."""
    both, product = window + reference, window * reference
    mean = (1.0 + 1.0 / both) / 6.0
    spread = 4.0 * product * both - 3.0 * (window**2 + reference**2) - 2.0 * product
    variance = (both + 1.0) * spread / (45.0 * both**2 * 4.0 * product)
    return 1.0 / 6.0 + (statistic - mean) / math.sqrt(45.0 * variance)


def chi2_chance(window: Floats, reference: Floats) -> tuple[float, float]:
    """Return statistic and chance of two rows of counts; cells that both lack do not count."""
    counts = np.stack([window, reference])
    counts = counts[:, counts.sum(axis=0) > 0]
    if counts.shape[1] < 2:
        return 0.0, 1.0
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / counts.sum()
    statistic = float(((counts - expected) ** 2 / expected).sum())
    return statistic, _clip(float(special.chdtrc(counts.shape[1] - 1, statistic)))


def share_chance(window: tuple[float, float], reference: tuple[float, float]) -> float:
    """Return the two-sided chance (twice Fisher's smaller tail) of hits among rows, given as (hits, rows) twice."""
    hits, rows = round(window[0]), round(window[1])
    others = max(round(reference[1]), 1)
    total = hits + min(round(reference[0]), others)
    if total in (0, rows + others):
        return 1.0
    low, high = max(0, total - others), min(rows, total)
    k = np.arange(low, high + 1, dtype=np.float64)
    logs = -_log_factorials(k, rows - k, total - k, others - total + k)
    chances = np.exp(logs - logs.max())
    tails = chances[: hits - low + 1].sum(), chances[hits - low :].sum()
    return _clip(2.0 * float(min(tails) / chances.sum()))


def _log_factorials(*arrays: Floats) -> Floats:
    total: Floats = np.sum([special.gammaln(array + 1.0) for array in arrays], axis=0)
    return total


def smallest_of(chances: Sequence[float]) -> float:
    """Return the chance that the smallest of independent chances is as small as it is (Sidak)."""
    if len(chances) == 1:
        return chances[0]
    return _clip(-math.expm1(len(chances) * math.log1p(-min(*chances, 1.0 - 1e-16))))


def _clip(chance: float) -> float:
    return min(1.0, max(SMALLEST, chance))
