"""What one series' history says: opening hours, level by level, the profile of its week, spread, and memory.

Medians throughout, so that incidents in the history weigh little; NaN is what is missing or masked.
"""

import math

import numpy as np
from numba import njit

from vigil.fleet.kernels.online import (
    HIGHEST,
    INNOVATION,
    LOGARITHMIC,
    LOWEST,
    MIDDLE,
    OPTIONS,
    PHI,
    UNIT,
    clip,
    forward,
)
from vigil.fleet.kernels.robust import deviation, median, of_slots, quantile, spread_of

RECENT = 8
"""Last readings of a slot that tell whether the site is closed then."""
LONGEST_NEWS = 12
NEWS = 2.5
PASSES = 3
PRIOR = 8.0
"""Readings that the spread of the whole series counts for in the spread of one slot."""
MOST_COST = 6.0
MEDIAN_NOISE = 1.57
"""Variance of a median relative to that of a mean, of normal values."""


@njit(**OPTIONS)
def fit_one(values, slots, shape, given, params, tables):
    """Fill one row of the tables from the values of a series; returns the level of each block.

    `shape` is (week, day, block, absorb); `given` says of each slot whether it is closed (1), open (0) or unknown (-1).
    """
    profile, scale, closed, same_cost, miss_cost, counts = tables
    week, day, block, absorb = shape
    slot_count = week + day
    rows, starts = of_slots(values, slots, slot_count)
    buffer = np.empty(len(values) + 1)
    find_closed(values, rows, starts, given, week, day, closed)
    set_unit(values, slots, closed, params, buffer)
    for slot in range(slot_count):
        counts[slot] = starts[slot + 1] - starts[slot]
    scaled = np.full(len(values), np.nan)
    for row in rows:
        scaled[row] = forward(values[row], params)
    levels = np.zeros(max(1, (len(values) + block - 1) // block))
    path = np.zeros(len(values))
    for _ in range(PASSES):
        find_levels(scaled, slots, profile, closed, block, levels, buffer)
        interpolate(levels, block, path)
        find_profile(scaled, path, rows, starts, profile, week, day, buffer)
    find_scale(scaled, path, rows, starts, profile, scale, closed, week, buffer)
    if day > 1 and week == 7 * day:
        smooth(profile, scale, closed, counts, day, buffer)
    absorb_news(scaled, path, rows, starts, profile, scale, week, absorb, buffer)
    find_memory(scaled, path, slots, profile, scale, closed, params, buffer)
    find_costs(values, slots, week + day, same_cost, miss_cost)
    return levels


@njit(**OPTIONS)
def find_closed(values, rows, starts, given, week, day, closed):
    """Mark the slots that are given as closed, and those whose last readings are nearly all zero."""
    for slot in range(week + day):
        first = max(starts[slot], starts[slot + 1] - RECENT)
        zeros = 0
        for one in range(first, starts[slot + 1]):
            zeros += values[rows[one]] == 0.0
        seen = starts[slot + 1] - first
        closed[slot] = seen >= 2 and zeros >= 0.9 * seen
        if seen == 0 and slot >= week > 1:
            closed[slot] = closed[week - day + slot - week]
        if given[slot] >= 0:
            closed[slot] = given[slot] == 1


@njit(**OPTIONS)
def set_unit(values, slots, closed, params, buffer):
    """Set the unit to the usual size of a value (logarithmic) or to the usual spread of the values (linear)."""
    count, any_sign = 0, params[LOGARITHMIC] == 0.0
    for row in range(len(values)):
        if not np.isnan(values[row]) and not closed[slots[row]] and (any_sign or values[row] > 0.0):
            buffer[count] = values[row]
            count += 1
    centre = median(buffer, count)
    params[MIDDLE] = centre
    params[LOWEST] = quantile(buffer, count, 0.001)
    params[HIGHEST] = quantile(buffer, count, 0.999)
    if params[LOGARITHMIC] == 1.0:
        params[LOWEST] = min(params[LOWEST], 0.0)
        params[UNIT] = centre if centre > 0.0 else 1.0
        return
    spread = deviation(buffer, count, centre)
    if spread <= 1e-9 * abs(centre):
        spread = max(abs(centre) * 0.1, params[HIGHEST] - params[LOWEST])
    params[UNIT] = spread if spread > 0.0 else 1.0


@njit(**OPTIONS)
def find_levels(scaled, slots, profile, closed, block, levels, buffer):
    """Find the level of each block, the median of what the profile leaves; one with little takes its neighbour's."""
    found = 0
    for number in range(len(levels)):
        count = 0
        for row in range(number * block, min(len(scaled), (number + 1) * block)):
            if not np.isnan(scaled[row]) and not closed[slots[row]]:
                buffer[count] = scaled[row] - profile[slots[row]]
                count += 1
        levels[number] = median(buffer, count) if count >= min(4, block) else np.nan
        found += count >= min(4, block)
    if found == 0:
        count = 0
        for row in range(len(scaled)):
            if not np.isnan(scaled[row]) and not closed[slots[row]]:
                buffer[count] = scaled[row] - profile[slots[row]]
                count += 1
        levels[:] = median(buffer, count)
        return
    fill(levels)
    raw = levels.copy()
    for number in range(1, len(levels) - 1):
        low, high = min(raw[number - 1], raw[number + 1]), max(raw[number - 1], raw[number + 1])
        levels[number] = max(low, min(high, raw[number]))


@njit(**OPTIONS)
def fill(levels):
    """Put the nearest earlier level into each gap, and the first into those before it."""
    last = np.nan
    for number in range(len(levels)):
        if np.isnan(levels[number]):
            levels[number] = last
        else:
            last = levels[number]
    for number in range(len(levels) - 1, -1, -1):
        if np.isnan(levels[number]):
            levels[number] = last
        else:
            last = levels[number]


@njit(**OPTIONS)
def interpolate(levels, block, path):
    """Let the path of the level run straight from the middle of one block to the middle of the next."""
    for row in range(len(path)):
        place = (row + 0.5) / block - 0.5
        left = min(max(math.floor(place), 0), len(levels) - 1)
        right = min(left + 1, len(levels) - 1)
        share = min(max(place - left, 0.0), 1.0)
        path[row] = levels[left] * (1.0 - share) + levels[right] * share


@njit(**OPTIONS)
def find_profile(scaled, path, rows, starts, profile, week, day, buffer):
    """Find the median of each slot above the path."""
    for slot in range(week + day):
        count = starts[slot + 1] - starts[slot]
        for one in range(count):
            row = rows[starts[slot] + one]
            buffer[one] = scaled[row] - path[row]
        own = median(buffer, count)
        if count == 0:
            own = profile[slot]
        profile[slot] = own
    if week > 1:
        lean_on_sunday(starts, profile, week, day, buffer)


@njit(**OPTIONS)
def lean_on_sunday(starts, profile, week, day, buffer):
    """Move the profile of a holiday, which is seen rarely, towards the shape of a Sunday."""
    count = 0
    for hour in range(day):
        if starts[week + hour + 1] > starts[week + hour]:
            buffer[count] = profile[week + hour] - profile[week - day + hour]
            count += 1
    shift = median(buffer, count)
    for hour in range(day):
        seen = starts[week + hour + 1] - starts[week + hour]
        sunday = profile[week - day + hour] + shift
        profile[week + hour] = (seen * profile[week + hour] + sunday) / (seen + 1.0)


@njit(**OPTIONS)
def smooth(profile, scale, closed, counts, day, buffer):
    """Move each slot towards hour plus weekday, as far as its noise explains, and widen the spread by what is left."""
    hours, weekdays = np.zeros(day), np.zeros(7)
    for _ in range(3):
        for hour in range(day):
            count = 0
            for weekday in range(7):
                if usable_slot(closed, counts, weekday * day + hour):
                    buffer[count] = profile[weekday * day + hour] - weekdays[weekday]
                    count += 1
            hours[hour] = median(buffer, count)
        for weekday in range(7):
            count = 0
            for hour in range(day):
                if usable_slot(closed, counts, weekday * day + hour):
                    buffer[count] = profile[weekday * day + hour] - hours[hour]
                    count += 1
            weekdays[weekday] = median(buffer, count)
    count = 0
    for slot in range(7 * day):
        if usable_slot(closed, counts, slot):
            buffer[count] = profile[slot] - hours[slot % day] - weekdays[slot // day]
            count += 1
    between = deviation(buffer, count, 0.0) ** 2
    noise = typical_noise(scale, closed, counts, day, buffer)
    between = max(between - noise, 0.05 * between)
    for slot in range(7 * day):
        if not closed[slot]:
            target = hours[slot % day] + weekdays[slot // day]
            own = MEDIAN_NOISE * scale[slot] ** 2 / max(counts[slot], 1)
            apart = max(between, (profile[slot] - target) ** 2 - 4.0 * own) if counts[slot] else 0.0
            weight = apart / (apart + own)
            profile[slot] = target + weight * (profile[slot] - target)
            scale[slot] *= math.sqrt(1.0 + weight * MEDIAN_NOISE / max(counts[slot], 1))


@njit(**OPTIONS)
def usable_slot(closed, counts, slot):
    """Whether a slot is open and was seen."""
    return not closed[slot] and counts[slot] > 0


@njit(**OPTIONS)
def typical_noise(scale, closed, counts, day, buffer):
    """Return the usual variance of a slot's median."""
    count = 0
    for slot in range(7 * day):
        if usable_slot(closed, counts, slot):
            buffer[count] = MEDIAN_NOISE * scale[slot] ** 2 / counts[slot]
            count += 1
    return median(buffer, count)


@njit(**OPTIONS)
def find_scale(scaled, path, rows, starts, profile, scale, closed, week, buffer):
    """Find the spread of each slot, which leans on that of the series; of a closed one, that of what is there."""
    total = 0
    for slot in range(week):
        if not closed[slot]:
            for one in range(starts[slot], starts[slot + 1]):
                buffer[total] = scaled[rows[one]] - path[rows[one]] - profile[slot]
                total += 1
    whole = max(spread_of(buffer, total), 0.01)
    for slot in range(len(scale)):
        count = starts[slot + 1] - starts[slot]
        for one in range(count):
            row = rows[starts[slot] + one]
            buffer[one] = scaled[row] - (0.0 if closed[slot] else path[row] + profile[slot])
        if closed[slot]:
            lowest = quantile(buffer, count, 0.0)
            high = quantile(buffer, count, 0.9) - lowest
            scale[slot] = max(0.5 * whole, high / 2.0, 0.1)
            continue
        spread = spread_of(buffer, count)
        scale[slot] = math.sqrt((count * spread * spread + PRIOR * whole * whole) / (count + PRIOR))


@njit(**OPTIONS)
def absorb_news(scaled, path, rows, starts, profile, scale, week, absorb, buffer):
    """Take the last readings of a slot for what is usual from now on, where all lie far out on the same side."""
    for slot in range(week):
        run, side = 0, 0.0
        for one in range(starts[slot + 1] - 1, max(starts[slot], starts[slot + 1] - LONGEST_NEWS) - 1, -1):
            residual = scaled[rows[one]] - path[rows[one]] - profile[slot]
            sign = 1.0 if residual > 0.0 else -1.0
            if abs(residual) < 0.5 * scale[slot] or (run > 0 and sign != side):
                break
            side = sign
            buffer[run] = residual
            run += 1
        if run >= absorb and run < starts[slot + 1] - starts[slot]:
            middle = median(buffer, run)
            if abs(middle) > NEWS * scale[slot]:
                profile[slot] += middle


@njit(**OPTIONS)
def find_memory(scaled, path, slots, profile, scale, closed, params, buffer):
    """How much of a residual is left a step later, and how far the rest spreads in spreads of the residual."""
    products, squares = 0.0, 1e-12
    for row in range(1, len(scaled)):
        if usable(scaled, slots, closed, row):
            before = clip(ratio_of(scaled, path, slots, profile, scale, row - 1), 3.0)
            now = clip(ratio_of(scaled, path, slots, profile, scale, row), 3.0)
            products += before * now
            squares += before * before
    phi = min(max(products / squares, 0.0), 0.95)
    count = 0
    for row in range(1, len(scaled)):
        if usable(scaled, slots, closed, row):
            before = clip(ratio_of(scaled, path, slots, profile, scale, row - 1), 2.0)
            buffer[count] = ratio_of(scaled, path, slots, profile, scale, row) - phi * before
            count += 1
    params[PHI] = phi if count >= 20 else 0.0
    params[INNOVATION] = min(max(deviation(buffer, count, 0.0), 0.3), 1.0) if count >= 20 else 1.0


@njit(**OPTIONS)
def usable(scaled, slots, closed, row):
    """Whether a row and the one before it are both there and open."""
    there = not np.isnan(scaled[row]) and not np.isnan(scaled[row - 1])
    return there and not closed[slots[row]] and not closed[slots[row - 1]]


@njit(**OPTIONS)
def ratio_of(scaled, path, slots, profile, scale, row):
    """Return a residual in spreads of its slot."""
    return (scaled[row] - path[row] - profile[slots[row]]) / scale[slots[row]]


@njit(**OPTIONS)
def find_costs(values, slots, longest, same_cost, miss_cost):
    """Find what an equal value and a missing one cost in each slot: minus the logarithm of how often that happens.

    Of a gap longer than `longest` only so much counts: it was an outage, or it was masked.
    """
    slot_count = len(same_cost)
    same, missing, seen = np.zeros(slot_count), np.zeros(slot_count), np.zeros(slot_count)
    first, last = -1, -1
    for row in range(len(values)):
        if not np.isnan(values[row]):
            first = row if first < 0 else first
            last = row
    run = 0
    for row in range(max(first, 0), last + 1):
        slot = slots[row]
        run = run + 1 if np.isnan(values[row]) else 0
        seen[slot] += 1.0 if run <= longest else 0.0
        if run > 0:
            missing[slot] += 1.0 if run <= longest else 0.0
        elif row > first and values[row] == values[row - 1]:
            same[slot] += 1.0
    present = max(seen.sum() - missing.sum(), 0.0)
    usual_same = (same.sum() + 0.1) / (present + 10.0)
    usual_missing = (missing.sum() + 0.1) / (seen.sum() + 10.0)
    for slot in range(slot_count):
        there = max(seen[slot] - missing[slot], 0.0)
        equal = (same[slot] + 4.0 * usual_same) / (there + 4.0)
        absent = (missing[slot] + 4.0 * usual_missing) / (seen[slot] + 4.0)
        same_cost[slot] = min(MOST_COST, -math.log(min(equal, 1.0)))
        miss_cost[slot] = min(MOST_COST, -math.log(min(absent, 1.0)))


@njit(**OPTIONS)
def fit_many(values, calendar_of, slots, shape, given, params, tables, levels):
    """Fit every row of `values`, (series, steps); `slots` are (calendars, steps)."""
    profile, scale, closed, same_cost, miss_cost, counts = tables
    for one in range(len(values)):
        row = (profile[one], scale[one], closed[one], same_cost[one], miss_cost[one], counts[one])
        copied = values[one].astype(np.float64)
        levels[one] = fit_one(copied, slots[calendar_of[one]], shape, given[one], params[one], row)
