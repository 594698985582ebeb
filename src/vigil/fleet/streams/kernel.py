"""The recursion of one value of one stream: the same compiled code scores a history and what comes in.

Zeros are a stream without a past. Values are kept in units of the stream's own slowly moving centre and spread, so that
neither its unit nor its offset matters.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

OPTIONS = {"cache": True, "nogil": True, "error_model": "numpy"}

SEEN, CENTRE, SPREAD, ALARMED, ALARM, DAY_CENTRE, DAY_SPREAD, SCALARS = range(8)
"""Of a stream: values so far, its centre and spread, when it last alarmed and how rare that was, and the scale of
the distances from the daily profile."""
VALUE, LOGARITHM, HOUR, RESIDUAL, CLOCK, COLUMNS = range(6)
"""Of a remembered value: itself, on a symmetric logarithmic scale, the mean with the 5 before, its distance from the
daily profile, and its second of the day."""
(
    NEW_VALUE,
    NEW_LOGARITHM,
    NEW_AT_THIS_TIME,
    NEW_HOUR_AT_THIS_TIME,
    NEW_SEQUENCE,
    OFF_PROFILE,
    NEW_MIX,
    MEMBERS,
) = range(8)
"""What is watched; each is larger the less the stream has seen the like."""
JOINT = MEMBERS
"""Place of the members' common score among the histories."""

BINS, FINENESS, FLOOR, OFFSET = 512, 12.0, 1e-4, 170.0
"""Histograms of logarithms: bins, bins for a doubling, what is added before the logarithm, and the bin of 1."""
TOP, LARGEST, FILLED, CLOSED, UNIT, TALLY = range(6)
"""Of a histogram: highest bin in use, the open block's largest bin, its length, closed blocks, weight of a new one."""
BEYOND, MOST_BEYOND = 0.1, 4.0
"""What a doubling above everything seen adds to the rarity, and the most doublings that count."""
COMMON = 2.0
"""A member is silent where its statistic was reached in more blocks than 10 to this power."""

SLOW = 0.001
"""Learning rate of centres and spreads, once there are as many values."""
YOUNG, CLIP, SPREAD_CLIP = 30, 4.0, 6.0
"""Values after which a single one moves the centre by at most so many spreads, and the spread by so many."""
FARTHEST, UNMEASURED = 1e9, 1e3
"""The largest distance in spreads, and the first one of a stream that was constant so far."""
DAY_SECONDS = 86400.0
SLOTS, PROFILE_RATE = 96, 0.1
"""Quarters of an hour of the daily profile, and how fast it follows."""
SAME_TIME = 900.0
"""Seconds of the day within which two values are of the same time."""
SHORT, SEQUENCE, MIXED, APART = 6, 12, 48, 12
"""Values of an hour's mean (of five-minute values), of a sequence, of a mix; and how far back the past begins."""
RECENT = 2000
"""Latest values among which a sequence is looked for."""
MIXES, MIX_REACH = 24, 6.0
"""Bins of the mix of values on the logarithmic scale, and where they end."""
HUGE = 1e100


Floats = NDArray[np.float64]


class Memory(NamedTuple):
    """What is known of one stream."""

    scalars: Floats
    """SCALARS"""
    past: Floats
    """(latest values, COLUMNS), a ring"""
    profile: Floats
    """(SLOTS, 2): the usual value by time of day, and the values that it comes from"""
    mix: Floats
    """(2, MIXES): how many of the recent values and of all before them lie in each bin"""
    counts: Floats
    """(MEMBERS + 1, BINS): the histories of rarity"""
    tallies: Floats
    """(MEMBERS + 1, TALLY)"""


class Rules(NamedTuple):
    """The settings, of members and of their common score where there are two."""

    weights: Floats
    power: float
    blocks: tuple[float, float]
    fading: tuple[float, float]
    rest_share: float
    rest: float
    step_up: float


@njit(**OPTIONS)
def replay(memory, rules, seconds, values, out):
    """Write the rarity of each value that is worth telling, and minus infinity for the others and for missing ones."""
    for row in range(len(values)):
        out[row] = advance(memory, rules, seconds[row], values[row]) if math.isfinite(values[row]) else -math.inf


@njit(**OPTIONS)
def advance(memory, rules, second, value):
    """Return the rarity of the next value if it is worth telling, else minus infinity; remember the value."""
    stream, past = memory.scalars, memory.past
    seen = int(stream[SEEN])
    here = seen % len(past)
    scaled = _scale(stream, CENTRE, SPREAD, value, seen)
    past[here, VALUE] = scaled
    past[here, LOGARITHM] = math.asinh(scaled)
    past[here, CLOCK] = second
    past[here, HOUR] = _mean(past, VALUE, seen, SHORT)
    past[here, RESIDUAL] = _off_profile(memory.profile, second, scaled)
    total, weight = 0.0, 0.0
    for member in range(MEMBERS):
        found = _statistic(member, stream, past, memory.mix, seen)
        rare = rarity(memory.counts[member], memory.tallies[member], found, rules.blocks[0], rules.fading[0])
        total += rules.weights[member] * max(rare + COMMON, 0.0) ** rules.power
        weight += rules.weights[member]
    together = (total / weight) ** (1.0 / rules.power)
    joint = rarity(memory.counts[JOINT], memory.tallies[JOINT], together, rules.blocks[1], rules.fading[1])
    stream[SEEN] += 1.0
    return _told(stream, joint, seen, rules)


@njit(**OPTIONS)
def _told(stream, rare, seen, rules):
    """Return the rarity, or minus infinity during the rest after an alarm that was about as rare."""
    rest = max(rules.rest_share * seen, rules.rest)
    if stream[ALARMED] > 0.0 and seen + 1.0 - stream[ALARMED] <= rest and rare <= stream[ALARM] + rules.step_up:
        return -math.inf
    stream[ALARMED], stream[ALARM] = seen + 1.0, rare
    return rare


@njit(**OPTIONS)
def _statistic(member, stream, past, mix, seen):
    if member == NEW_VALUE:
        return _nearest(past, VALUE, seen, 1, False)
    if member == NEW_LOGARITHM:
        return _nearest(past, LOGARITHM, seen, 1, False)
    if member == NEW_AT_THIS_TIME:
        return _nearest(past, VALUE, seen, APART, True)
    if member == NEW_HOUR_AT_THIS_TIME:
        return _nearest(past, HOUR, seen, APART, True)
    if member == NEW_SEQUENCE:
        return _nearest_sequence(past, seen)
    if member == OFF_PROFILE:
        return abs(_scale(stream, DAY_CENTRE, DAY_SPREAD, _mean(past, RESIDUAL, seen, SHORT), seen))
    return _relative_entropy(past, mix, seen)


@njit(**OPTIONS)
def _scale(stream, centre, spread, value, seen):
    """Return the distance from a robust running centre in running spreads, from before this value."""
    if seen == 0:
        stream[centre] = value
    away = value - stream[centre]
    scale = stream[spread]
    rate = max(SLOW, 1.0 / (seen + 1.0))
    pull, width = away, abs(away)
    if seen > YOUNG and scale > 0.0:
        pull = min(max(away, -CLIP * scale), CLIP * scale)
        width = min(width, SPREAD_CLIP * scale)
    stream[centre] += rate * pull
    stream[spread] += rate * (width - scale)
    if scale > 0.0:
        return min(max(away / scale, -FARTHEST), FARTHEST)
    return math.copysign(UNMEASURED, away) if seen > YOUNG and away != 0.0 else 0.0


@njit(**OPTIONS)
def _mean(past, column, last, length):
    count = min(length, last + 1)
    total = 0.0
    for row in range(last - count + 1, last + 1):
        total += past[row % len(past), column]
    return total / count


@njit(**OPTIONS)
def _off_profile(profile, second, value):
    slot = int(second * SLOTS / DAY_SECONDS)
    seen = profile[slot, 1]
    away = value - profile[slot, 0] if seen > 0.0 else 0.0
    profile[slot, 0] += max(PROFILE_RATE, 1.0 / (seen + 1.0)) * (value - profile[slot, 0])
    profile[slot, 1] = seen + 1.0
    return away


@njit(**OPTIONS)
def _nearest(past, column, seen, apart, same_time):
    """Return the distance of the last value from the nearest one before; of the same time of day only, if so wanted."""
    here = past[seen % len(past), column]
    second = past[seen % len(past), CLOCK]
    best = math.inf
    for row in range(seen - apart, max(seen - len(past), -1), -1):
        place = row % len(past)
        if same_time:
            away = abs(past[place, CLOCK] - second)
            if min(away, DAY_SECONDS - away) > SAME_TIME:
                continue
        best = min(best, abs(past[place, column] - here))
    return best if best < math.inf else 0.0


@njit(**OPTIONS)
def _nearest_sequence(past, seen):
    """Return the mean distance of the last values from the nearest sequence of as many before."""
    best = math.inf
    first = max(SEQUENCE, seen - min(RECENT, len(past) - SEQUENCE))
    for row in range(seen - SEQUENCE, first - 1, -1):
        away = 0.0
        for back in range(SEQUENCE):
            away += abs(past[(seen - back) % len(past), VALUE] - past[(row - back) % len(past), VALUE])
            if away >= best:
                break
        best = min(best, away)
    return best / SEQUENCE if best < math.inf else 0.0


@njit(**OPTIONS)
def _relative_entropy(past, mix, seen):
    """Return how much the mix of the last values tells them from the mix of all before."""
    mix[0, _mix_bin(past[seen % len(past), LOGARITHM])] += 1.0
    if seen < MIXED:
        return 0.0
    left = _mix_bin(past[(seen - MIXED) % len(past), LOGARITHM])
    mix[0, left] -= 1.0
    mix[1, left] += 1.0
    all_before = seen - MIXED + 1.0 + 0.5 * MIXES
    total = 0.0
    for bin_ in range(MIXES):
        if mix[0, bin_] > 0.0:
            share = mix[0, bin_] / MIXED
            total += share * math.log(share * all_before / (mix[1, bin_] + 0.5))
    return max(total, 0.0)


@njit(**OPTIONS)
def _mix_bin(value):
    return min(max(int((value + MIX_REACH) / (2.0 * MIX_REACH) * MIXES), 0), MIXES - 1)


@njit(**OPTIONS)
def rarity(counts, tally, value, length, fading):
    """Return minus the decimal logarithm of the blocks so far that held so large a value, and remember the value.

    A block is `length` values in a row and counts once, by its largest, however long its anomaly lasted. Older blocks
    fade with the age of the stream: of n blocks the i-th weighs about (i/n) ** fading.
    """
    place = min(max(int(math.log(value + FLOOR) / math.log(2.0) * FINENESS + OFFSET), 0), BINS - 1)
    if tally[UNIT] == 0.0:
        tally[UNIT], tally[TOP] = 1.0, -1.0
    top = int(tally[TOP])
    above = 0.0
    for bin_ in range(place, top + 1):
        above += counts[bin_]
    above = max((above - 0.5 * counts[place]) / tally[UNIT], 0.0)
    found = BEYOND * min(max(place - top, 0) / FINENESS, MOST_BEYOND) - math.log10(above + 0.5)
    tally[LARGEST] = max(tally[LARGEST], place)
    tally[FILLED] += 1.0
    if tally[FILLED] >= length:
        _close_block(counts, tally, fading)
    return found


@njit(**OPTIONS)
def _close_block(counts, tally, fading):
    tally[CLOSED] += 1.0
    tally[UNIT] /= 1.0 - fading / (tally[CLOSED] + 1.0 + fading)
    if tally[UNIT] > HUGE:
        for bin_ in range(BINS):
            counts[bin_] /= tally[UNIT]
        tally[UNIT] = 1.0
    counts[int(tally[LARGEST])] += tally[UNIT]
    tally[TOP] = max(tally[TOP], tally[LARGEST])
    tally[LARGEST] = tally[FILLED] = 0.0
