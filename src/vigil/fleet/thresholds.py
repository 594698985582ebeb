"""Thresholds from a budget of false incidents, and the calibration of what exceeds them."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vigil.clock import DAY
from vigil.fleet.kernels.replay import BIN, BINS
from vigil.fleet.model import Basis, Fleet, Float32s, Tables
from vigil.fleet.panel import Floats
from vigil.fleet.settings import FleetSettings

QUANTILES = (0.25, 0.5, 0.75, 0.9)
GUMBEL = -np.log(-np.log(np.array(QUANTILES)))
MONTH = 30.4 * DAY
WATCHED = 8
"""Statistics that share the budget; stuck and silence are counted in probabilities and have their own floors."""
PRIOR_BLOCKS = 12.0
FEW_BLOCKS = 6.0
"""A spread known from so many blocks is doubled: it may be larger, and the profile is less certain too."""
LEAST_COUNT = 20


def peaks_of(maxima: Floats) -> Float32s:
    """Return quantiles of the blocks' largest statistics, (series, statistics, quantiles); 0 without blocks."""
    ordered = np.sort(maxima, axis=1)
    count = np.isfinite(maxima).sum(axis=1)
    place = np.stack([np.rint(share * np.maximum(count - 1, 0)) for share in QUANTILES], axis=2).astype(np.int64)
    found = np.take_along_axis(ordered, place.transpose(0, 2, 1), axis=1).transpose(0, 2, 1)
    peaks: Float32s = np.nan_to_num(found, nan=0.0).astype(np.float32)
    return peaks


def norms_of(tables: Tables, rows: NDArray[np.int64], settings: FleetSettings, series_per_site: float) -> Floats:
    """Return the thresholds of series of one metric, (rows, statistics).

    The largest statistic of a block is taken for Gumbel's: its median and quartiles tell the value that is exceeded as
    often as the budget allows, whatever a few incidents in the history did to its tail.
    """
    peaks = tables.peaks[rows].astype(np.float64)
    blocks_a_month = MONTH / (settings.block * settings.step)
    often = min(settings.budget / series_per_site / WATCHED / blocks_a_month, 0.5)
    wide = (peaks[:, :, 2] - peaks[:, :, 0]) / (GUMBEL[2] - GUMBEL[0])
    tail = (peaks[:, :, 3] - peaks[:, :, 1]) / (GUMBEL[3] - GUMBEL[1])
    blocks = tables.facts[rows, 3][:, None] / 100 * blocks_a_month
    spread = np.maximum(wide, tail) * (1 + FEW_BLOCKS / np.maximum(blocks, 1))
    raw = peaks[:, :, 1] + spread * (-np.log(-np.log1p(-often)) - GUMBEL[1])
    raw = np.clip(raw, np.array(settings.floors.each), np.array(settings.ceilings.each))
    own = tables.facts[rows, 0] == Basis.SITE
    usual = np.median(raw[own], axis=0) if own.any() else np.array(settings.floors.each) * 1.5
    weight = np.where(own[:, None], blocks / (blocks + PRIOR_BLOCKS), 0.0)
    norms: Floats = np.exp(weight * np.log(raw) + (1 - weight) * np.log(np.maximum(usual, 1e-6)))
    return norms


def tails_of(histogram: NDArray[np.int64]) -> Float32s:
    """Return the logarithm of the share of normal readings beyond each ratio to the threshold, strictly falling.

    Where too few readings are left to count, it goes on as it fell before.
    """
    total = max(int(histogram.sum()), 1)
    beyond = np.concatenate([[total], total - np.cumsum(histogram)])[:BINS].astype(np.float64)
    logs = np.log(np.maximum(beyond, 0.5) / total)
    known = np.flatnonzero(beyond >= LEAST_COUNT)
    last = int(known[-1]) if known.size else 0
    first = last // 2
    slope = (logs[last] - logs[first]) / max(last - first, 1) if last else -8 * BIN
    slope = min(slope, -0.05)
    logs[last:] = logs[last] + slope * np.arange(BINS - last)
    falling = np.minimum.accumulate(logs) - 1e-5 * np.arange(BINS)
    tails: Float32s = falling.astype(np.float32)
    return tails


def with_budget(fleet: Fleet, budget: float) -> Fleet:
    """Return the fleet with thresholds for another budget; nothing is fitted again."""
    settings = fleet.settings.model_copy(update={"budget": budget})
    settings = FleetSettings.model_validate(settings.model_dump())
    names = [one.metric for one in fleet.series] + list(fleet.metrics)
    norms = fleet.tables.norms.copy()
    per_site = series_per_site(fleet.series)
    for metric in fleet.metrics:
        rows = np.array([row for row, name in enumerate(names) if name == metric])
        norms[rows] = norms_of(fleet.tables, rows, settings, per_site)
    return replace(fleet, settings=settings, tables=fleet.tables._replace(norms=norms))


def series_per_site(series: tuple[tuple[str, str], ...]) -> float:
    """Return how many series a site has on average: they share its budget."""
    return len(series) / max(len({site for site, _ in series}), 1)
