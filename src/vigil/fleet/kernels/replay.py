"""The recursion over a whole history: what the thresholds and the first state are learned from."""

import numpy as np
from numba import njit

from vigil.fleet.kernels.online import (
    DAILY,
    FAST,
    OPTIONS,
    OUTPUTS,
    PHI,
    RATIO,
    SILENT,
    STATISTICS,
    absent,
    baseline,
    clip,
    forward,
    observe,
)

BINS, BIN = 96, 1.0 / 32.0
"""Counts of the ratio to the threshold, for the calibration: bins of that width."""


NEARLY = 1.002
"""Rates that predict that well are as good as the best."""


@njit(**OPTIONS)
def replay_many(values, first_step, calendar_of, clocks, model, state, maxima, histogram, block):
    """Score every row of `values` from its first reading on, in order.

    Puts the largest of each statistic in each block into `maxima`, (series, blocks, statistics); NaN where nothing
    came. `clocks` are the slots and the steps of the day, (calendars, steps).
    """
    params, profile, scale, closed, same_cost, miss_cost, norms = model
    memory, daily, ring = state
    found, stats = np.zeros(OUTPUTS), np.zeros(STATISTICS)
    slots, hours = clocks
    maxima[:] = np.nan
    for one in range(len(values)):
        chosen = (params[one], profile[one], scale[one], closed[one], same_cost[one], miss_cost[one], norms[one])
        seat = (memory[one], daily[one], ring[one])
        slot_of, hour_of = slots[calendar_of[one]], hours[calendar_of[one]]
        started, last = bounds(values[one])
        for row in range(started, last + 1):
            place = (first_step + row, slot_of[row], hour_of[row])
            if np.isnan(values[one, row]) and memory[one, SILENT] >= block:
                continue
            if np.isnan(values[one, row]):
                absent(place, chosen, seat, found, stats)
            else:
                observe(float(values[one, row]), place, chosen, seat, found, stats)
            histogram[one, min(BINS - 1, int(found[RATIO] / BIN))] += 1
            for kind in range(STATISTICS):
                top = maxima[one, row // block, kind]
                if np.isnan(top) or stats[kind] > top:
                    maxima[one, row // block, kind] = stats[kind]


@njit(**OPTIONS)
def bounds(values):
    """Return the first and the last row with a value; an empty range without any."""
    first, last = len(values), -1
    for row in range(len(values)):
        if not np.isnan(values[row]):
            first = min(first, row)
            last = row
    return first, last


@njit(**OPTIONS)
def choose_rates(values, first_step, calendar_of, clocks, model, shifts, rates):
    """Set the learning rates of each series to the first of `rates` that predict its second half nearly best."""
    params, profile, scale, closed, _, _, _ = model
    slots, hours = clocks
    for one in range(len(values)):
        errors = np.empty(len(rates))
        for number in range(len(rates)):
            params[one, FAST], params[one, DAILY] = rates[number]
            chosen = (params[one], profile[one], scale[one], closed[one])
            clock = (slots[calendar_of[one]], hours[calendar_of[one]])
            errors[number] = follow(values[one], first_step, clock, chosen, shifts[one])
        for number in range(len(rates)):
            if errors[number] <= NEARLY * errors.min():
                params[one, FAST], params[one, DAILY] = rates[number]
                break


@njit(**OPTIONS)
def follow(values, first_step, clock, chosen, shift):
    """Return the mean error of the predictions in spreads, none counted for more than four."""
    params, profile, scale, closed = chosen
    slots, hours = clock
    daily = np.zeros(int(hours.max()) + 1)
    before, total, count = 0.0, 0.0, 0
    start, last = bounds(values)
    half = (start + last) // 2
    for row in range(start, last + 1):
        slot, hour = slots[row], hours[row]
        if np.isnan(values[row]) or closed[slot]:
            continue
        static = baseline(first_step + row, params) + shift + daily[hour] + profile[slot]
        residual = forward(float(values[row]), params) - static
        innovation = residual - params[PHI] * clip(before, 2.0 * scale[slot])
        if row >= half:
            total += clip(abs(innovation) / scale[slot], 4.0)
            count += 1
        before = residual
        bounded = clip(residual, 2.0 * scale[slot])
        shift += params[FAST] * bounded
        daily[hour] += params[DAILY] * bounded
    return total / max(count, 1)


@njit(**OPTIONS)
def mask_faults(values, slots, same_cost, limit, least):
    """Blank the runs of equal values that cost more than `limit` and last at least `least` steps; returns how many.

    A fault that lasts is never learned from; a night of zeros costs nothing and stays.
    """
    masked, start, cost = 0, 0, 0.0
    for row in range(1, len(values) + 1):
        if row < len(values) and values[row] == values[start]:
            cost += same_cost[slots[row]]
            continue
        if cost >= limit and row - start >= least and not np.isnan(values[start]):
            values[start:row] = np.nan
            masked += row - start
        start, cost = row, 0.0
    return masked


@njit(**OPTIONS)
def mask_many(values, calendar_of, slots, same_cost, limit, least):
    """Blank the faults of every row of `values`; returns how many steps of each."""
    masked = np.zeros(len(values), dtype=np.int64)
    for one in range(len(values)):
        masked[one] = mask_faults(values[one], slots[calendar_of[one]], same_cost[one], limit, least)
    return masked
