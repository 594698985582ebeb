"""From a panel to a fleet: every series by itself in compiled code, then what they share, then their thresholds."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vigil.clock import DAY
from vigil.fleet.grid import Grid, given_closed, grid_of
from vigil.fleet.guard import blank_faults
from vigil.fleet.kernels import fitting, online, replay
from vigil.fleet.model import Basis, Fleet, Tables
from vigil.fleet.panel import Floats, Panel
from vigil.fleet.pooling import adopt, basis_of, fallback_row, given_clusters, lean, share
from vigil.fleet.scales import Fitted, misfit
from vigil.fleet.settings import FleetSettings
from vigil.fleet.state import FleetState
from vigil.fleet.thresholds import MONTH, QUANTILES, norms_of, peaks_of, series_per_site, tails_of, with_budget
from vigil.fleet.trend import set_trend

THREADS = 2
CHUNK = 16
SAMPLE = 32
SCALES = ((0.0, 0.1), (1.0, 0.1), (1.0, 0.3), (1.0, 1.0))
"""Linear, and logarithms with offsets in units of the series: the larger, the less small values stand out."""
NEARLY_BEST = 1.04
RATES = np.array([[0.02, 0.05], [0.01, 0.05], [0.01, 0.0], [0.005, 0.02], [0.005, 0.0]])
SLOW_RATES = np.array([[0.05, 0.0], [0.02, 0.0], [0.0, 0.0]])
"""Learning rates that are tried, the fastest first: of the level at each reading, of the day at each of its hours."""

Progress = Callable[[str, float], None]


@dataclass(frozen=True, eq=False)
class _Work:
    """What a fit is computed in, one row for each series."""

    grid: Grid
    settings: FleetSettings
    tables: Tables
    counts: NDArray[np.int32]
    levels: Floats
    given: NDArray[np.int8]


def fit_fleet(
    panel: Panel, settings: FleetSettings, version: str = "1", on_progress: Progress = lambda _name, _share: None
) -> Fleet:
    """Return a fleet fitted on the panel: the same panel gives the same bytes, whatever the order of its readings."""
    on_progress("reading", 0.0)
    grid = grid_of(panel, settings)
    work = _prepare(panel, grid, settings)
    metrics = tuple(dict.fromkeys(one.metric for one in panel.series))
    groups = [np.array([row for row, one in enumerate(panel.series) if one.metric == name]) for name in metrics]
    for rows in groups:
        _choose_scale(work, rows)
    on_progress("faults", 0.1)
    blank_faults(grid, settings, lambda rows: _decompose(work, rows), work.tables)
    on_progress("profiles", 0.3)
    _in_threads(len(grid.values), lambda rows: _decompose(work, rows))
    _set_facts(work)
    set_trend(work.tables.params, work.levels, grid, settings)
    fallbacks = [_pool(panel, work, rows) for rows in groups]
    on_progress("rates", 0.5)
    first = _first_shifts(work)
    _in_threads(len(grid.values), lambda rows: _choose_rates(work, rows, first))
    on_progress("thresholds", 0.7)
    state = _calibrate(panel, work, groups, first)
    ends = [_finish(row, work, rows) for row, rows in zip(fallbacks, groups, strict=True)]
    tables = Tables._make(np.concatenate(parts) for parts in zip(work.tables, *ends, strict=True))
    calendar_of = np.concatenate([grid.calendar_of, [grid.calendar_of[rows[0]] for rows in groups]]).astype(np.int32)
    versions = (version,) * len(tables.params)
    on_progress("done", 1.0)
    fleet = Fleet(settings, panel.series, metrics, grid.calendars, calendar_of, tables, versions, state)
    return with_budget(fleet, settings.budget)


def _in_threads(count: int, work: Callable[[NDArray[np.int64]], None]) -> None:
    """Do the work for all rows, in chunks; each chunk writes to its own rows."""
    chunks = [np.arange(first, min(first + CHUNK, count)) for first in range(0, count, CHUNK)]
    with ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(work, chunk) for chunk in chunks]:
            done.result()


def _prepare(panel: Panel, grid: Grid, settings: FleetSettings) -> _Work:
    rows, slots = len(grid.values), settings.slots
    params = np.zeros((rows, online.PARAMS))
    params[:, [online.LOGARITHMIC, online.UNIT, online.OFFSET, online.INNOVATION]] = (1.0, 1.0, 0.1, 1.0)
    params[:, online.MOST_MISSING] = settings.floors.silence / settings.patience
    params[:, online.YEAR] = 365.25 * DAY / settings.step
    params[:, online.HORIZON] = 90.0 * DAY / settings.step
    quiet = np.full((rows, online.STATISTICS, len(QUANTILES)), 0.0, dtype=np.float32)
    tables = Tables(
        params=params,
        profile=np.zeros((rows, slots), dtype=np.float32),
        scale=np.ones((rows, slots), dtype=np.float32),
        closed=np.zeros((rows, slots), dtype=np.bool_),
        same_cost=np.zeros((rows, slots), dtype=np.float32),
        miss_cost=np.zeros((rows, slots), dtype=np.float32),
        norms=np.tile(np.array(settings.ceilings.each), (rows, 1)),
        tails=np.zeros((rows, replay.BINS), dtype=np.float32),
        peaks=quiet,
        facts=np.zeros((rows, 4), dtype=np.int64),
    )
    blocks = -(-grid.values.shape[1] // settings.block)
    counts = np.zeros((rows, slots), dtype=np.int32)
    return _Work(grid, settings, tables, counts, np.zeros((rows, blocks)), given_closed(panel, settings))


def _decompose(work: _Work, rows: NDArray[np.int64]) -> None:
    settings, tables = work.settings, work.tables
    shape = (settings.week_steps, settings.day_steps, settings.block, settings.absorb_after)
    parts: list[NDArray[Any]] = [
        part[rows] for part in (tables.profile, tables.scale, tables.closed, tables.same_cost, tables.miss_cost)
    ]
    parts = [*(np.zeros_like(parts[0]), *parts[1:]), work.counts[rows]]
    params, levels = tables.params[rows], work.levels[rows]
    given, calendar_of = work.given[rows], work.grid.calendar_of[rows]
    fitting.fit_many(work.grid.values[rows], calendar_of, work.grid.slots, shape, given, params, tuple(parts), levels)
    wholes = (tables.profile, tables.scale, tables.closed, tables.same_cost, tables.miss_cost, work.counts)
    for whole, part in zip(wholes, parts, strict=True):
        whole[rows] = part
    tables.params[rows], work.levels[rows] = params, levels


def _choose_scale(work: _Work, rows: NDArray[np.int64]) -> None:
    """Set the scale of one metric: of those that fit its values about best, the one on which residuals are most even.

    Negative values want a linear one.
    """
    params = work.tables.params
    sample = rows[:: max(1, len(rows) // SAMPLE)]
    lowest = np.median([np.nanmin(work.grid.values[row], initial=0.0) for row in sample])
    choices = SCALES if lowest >= 0.0 else SCALES[:1]
    fits = []
    for logarithmic, offset in choices:
        params[sample, online.LOGARITHMIC], params[sample, online.OFFSET] = logarithmic, offset
        _decompose(work, sample)
        found = np.array([misfit(_fitted(work, row), params[row]) for row in sample])
        fits.append(np.median(found, axis=0))
    errors, lopsided = np.array(fits).T
    chosen = int(np.argmin(np.where(errors <= NEARLY_BEST * errors.min(), lopsided, np.inf)))
    params[rows, online.LOGARITHMIC], params[rows, online.OFFSET] = choices[chosen]


def _fitted(work: _Work, row: int) -> Fitted:
    grid, tables = work.grid, work.tables
    slots = grid.slots[grid.calendar_of[row]]
    middles = (np.arange(work.levels.shape[1]) + 0.5) * work.settings.block
    scaled = np.interp(np.arange(len(slots)) + 0.5, middles, work.levels[row]) + tables.profile[row][slots]
    return Fitted(grid.values[row].astype(np.float64), scaled, tables.scale[row][slots], tables.closed[row][slots])


def _set_facts(work: _Work) -> None:
    """Write down the basis, the readings, and the months that they span."""
    there = np.isfinite(work.grid.values)
    width = there.shape[1]
    some = there.any(axis=1)
    first, last = np.argmax(there, axis=1), width - 1 - np.argmax(there[:, ::-1], axis=1)
    span = np.where(some, last - first + 1, 0) * work.settings.step
    facts = work.tables.facts
    facts[:, 0] = basis_of(work.counts, span / DAY, work.settings)
    facts[:, 1] = work.counts.sum(axis=1)
    facts[:, 3] = np.rint(span / MONTH * 100)
    work.tables.params[:, online.ORIGIN] = work.grid.first_step + np.where(some, last, width - 1)


def _pool(panel: Panel, work: _Work, rows: NDArray[np.int64]) -> Tables:
    """Let the series of one metric share what they have; returns the row that unseen sites fall back on."""
    part, counts = work.tables.rows(rows), work.counts[rows]
    shared = share(part, counts, given_clusters(panel, rows), work.settings)
    part.facts[:, 2] = shared.cluster_of
    lean(part, counts, shared)
    fallback = fallback_row(part, shared)
    for row in np.flatnonzero(part.facts[:, 0] != Basis.SITE):
        adopt(part, int(row), fallback, bool(counts[row].sum()))
    wholes: tuple[NDArray[Any], ...] = work.tables
    for whole, chosen in zip(wholes, part, strict=True):
        whole[rows] = chosen
    return fallback


def _model(tables: Tables, rows: NDArray[np.int64]) -> tuple[NDArray[np.generic], ...]:
    names = ("params", "profile", "scale", "closed", "same_cost", "miss_cost", "norms")
    return tuple(np.ascontiguousarray(getattr(tables, name)[rows]) for name in names)


def _first_shifts(work: _Work) -> Floats:
    """Return how far the level of each series began from what its model says of that time."""
    first = work.grid.first_step + 0.5 * work.settings.block
    params = work.tables.params
    angle = 2 * np.pi * first / params[:, online.YEAR]
    base = params[:, online.LEVEL] + params[:, online.SLOPE] * (first - params[:, online.ORIGIN])
    for times, cosine, sine in ((1, online.COS1, online.SIN1), (2, online.COS2, online.SIN2)):
        base = base + params[:, cosine] * np.cos(times * angle) + params[:, sine] * np.sin(times * angle)
    own = work.tables.facts[:, 0] == Basis.SITE
    return np.where(own, work.levels[:, 0] - base, 0.0)


def _choose_rates(work: _Work, rows: NDArray[np.int64], first: Floats) -> None:
    grid, model = work.grid, _model(work.tables, rows)
    rates = RATES if work.settings.day_steps > 1 else SLOW_RATES
    arguments = (grid.first_step, grid.calendar_of[rows], (grid.slots, grid.hours), model, first[rows], rates)
    replay.choose_rates(grid.values[rows], *arguments)
    work.tables.params[rows] = model[0]


def _calibrate(panel: Panel, work: _Work, groups: list[NDArray[np.int64]], first: Floats) -> FleetState:
    """Set thresholds and tails by replaying the history twice: first to set them, then with what they set off."""
    per_site = series_per_site(panel.series)
    for turn in range(2):
        state = FleetState.empty(len(first), work.settings.day_steps, work.settings.window)
        state.memory[:, online.SHIFT] = first
        histogram = np.zeros((len(first), replay.BINS), dtype=np.int64)
        _in_threads(len(first), partial(_replay, work, state, histogram))
        if turn == 0:
            for rows in groups:
                work.tables.norms[rows] = norms_of(work.tables, rows, work.settings, per_site)
    seen = state.memory[:, online.SEEN] > 0
    state.memory[seen, online.STEP] = work.grid.last[seen]
    for rows in groups:
        work.tables.tails[rows] = tails_of(histogram[rows].sum(axis=0))
    return state


def _replay(work: _Work, state: FleetState, histogram: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
    grid, block = work.grid, work.settings.block
    seats = tuple(part[rows] for part in (state.memory, state.daily, state.ring))
    maxima = np.empty((len(rows), -(-grid.values.shape[1] // block), online.STATISTICS))
    counts, model = histogram[rows], _model(work.tables, rows)
    clocks = (grid.slots, grid.hours)
    arguments = (grid.first_step, grid.calendar_of[rows], clocks, model, seats, maxima, counts, block)
    replay.replay_many(grid.values[rows], *arguments)
    for whole, part in zip((state.memory, state.daily, state.ring), seats, strict=True):
        whole[rows] = part
    histogram[rows] = counts
    if not work.tables.peaks[rows].any():
        work.tables.peaks[rows] = peaks_of(maxima)


def _finish(fallback: Tables, work: _Work, rows: NDArray[np.int64]) -> Tables:
    """Return the fallback row with the thresholds and rates that are usual among the series of its metric."""
    own = rows[work.tables.facts[rows, 0] == Basis.SITE]
    own = rows if own.size == 0 else own
    params = fallback.params.copy()
    for column in (online.FAST, online.DAILY):
        params[0, column] = np.median(work.tables.params[own, column])
    norms = np.median(work.tables.norms[own], axis=0)[None]
    peaks = np.median(work.tables.peaks[own], axis=0)[None]
    return fallback._replace(params=params, norms=norms, peaks=peaks, tails=work.tables.tails[own[:1]].copy())
