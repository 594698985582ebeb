"""The recursion of one reading: the same compiled code replays a history and scores what comes in.

A model is one row of `params` and of the tables by slot; a state is one row (a seat) of `memory`, `daily` and `ring`.
Values live in units of the series, on a linear or a logarithmic scale.
"""

import math

from numba import njit

OPTIONS = {"cache": True, "nogil": True, "error_model": "numpy"}

(
    LOGARITHMIC,
    UNIT,
    OFFSET,
    LEVEL,
    SLOPE,
    ORIGIN,
    HORIZON,
    YEAR,
    COS1,
    SIN1,
    COS2,
    SIN2,
    PHI,
    INNOVATION,
    FAST,
    DAILY,
    COLD,
    LOWEST,
    HIGHEST,
    MIDDLE,
    MOST_MISSING,
    PARAMS,
) = range(22)
"""Columns of `params`. FAST and DAILY are learning rates, COLD the spread between sites of a level not yet seen."""

(
    POINT_HIGH,
    POINT_LOW,
    RANGE_HIGH,
    RANGE_LOW,
    CUSUM_HIGH,
    CUSUM_LOW,
    WINDOW_HIGH,
    WINDOW_LOW,
    STUCK,
    SILENCE,
    STATISTICS,
) = range(11)
"""What is watched; each has its threshold, and each side its own, since few metrics are alike in both directions."""

STEP, SEEN, SHIFT, LEARNED, RESIDUAL, UP, DOWN, LAST, SAME, MISSING, SILENT, OPEN, UNITS, PLACE, MEMORY = range(15)
"""Columns of `memory`: last step, readings so far, shift of the level, readings it was learned from, last residual, the
two CUSUMs, last value, what its repetition and the silence cost so far, missing steps and flagged readings in a row,
readings in a row that a power of ten explains, and the place in the ring."""

RATIO, Z, EXPECTED, LOW, HIGH, SIGN, KIND, OUTPUTS = range(8)
"""Columns of what is found: the largest statistic in multiples of its threshold, and so on."""

NORMAL, SPIKE, CONTEXT, COLLECTIVE, MOVED, REPEATED, ABSENT, SCALED, LATE, DUPLICATE = range(10)
"""Kinds of finding."""

CLIP, SLACK, MOST_CUSUM = 4.0, 0.5, 1.3
"""Of the CUSUM: most of one reading, what is taken off at each, and the most in thresholds, so that it ends soon."""
LONG_RUN, THAW = 2.0, 0.3
"""A collective finding is a shift after so many windows; learning slows to this rate while something is open."""
BAND = 3.0
TINY, INSIDE = 0.1, 0.9
"""A range is at least so much of the unit wide; what is inside so much of it does not count."""
WARM_UP = 7.0
"""Days after which the sums of a series without a history of its own are watched."""


@njit(**OPTIONS)
def forward(value, params):
    """Return a value on the scale of its model; below zero a logarithmic scale goes on as a straight line."""
    ratio = value / params[UNIT]
    if params[LOGARITHMIC] == 0.0:
        return ratio
    offset = params[OFFSET]
    return math.log(ratio + offset) if ratio > 0.0 else math.log(offset) + ratio / offset


@njit(**OPTIONS)
def backward(scaled, params):
    """Return the value whose `forward` is given."""
    if params[LOGARITHMIC] == 0.0:
        return scaled * params[UNIT]
    offset = params[OFFSET]
    floor = math.log(offset)
    return ((math.exp(min(scaled, 60.0)) - offset) if scaled > floor else (scaled - floor) * offset) * params[UNIT]


@njit(**OPTIONS)
def baseline(step, params):
    """Return level, trend and yearly season at a step, without the shift learned since."""
    ahead = min(step - params[ORIGIN], params[HORIZON])
    level = params[LEVEL] + params[SLOPE] * ahead
    if params[COS1] != 0.0 or params[SIN1] != 0.0:
        angle = 2.0 * math.pi * step / params[YEAR]
        level += params[COS1] * math.cos(angle) + params[SIN1] * math.sin(angle)
        level += params[COS2] * math.cos(2.0 * angle) + params[SIN2] * math.sin(2.0 * angle)
    return level


@njit(**OPTIONS)
def clip(value, limit):
    """Return the value, at most `limit` from zero."""
    return max(-limit, min(limit, value))


@njit(**OPTIONS)
def observe(value, place, model, state, found, stats):
    """Score one reading, put what was found into `found` and the statistics into `stats`, and learn from it.

    `place` is (step, slot, step of the day).
    """
    params, profile, scale, closed, same_cost, _, norms = model
    memory, daily, ring = state
    step, slot, hour = place
    spread = scale[slot]
    shut = closed[slot]
    cold = params[COLD] / math.sqrt(1.0 + memory[LEARNED])
    wide = spread if shut else math.sqrt(spread * spread + cold * cold)
    if shut:
        static = forward(0.0, params)
        predicted, sharp = static, spread
    else:
        static = baseline(step, params) + memory[SHIFT] + daily[hour] + profile[slot]
        predicted = static + params[PHI] * clip(memory[RESIDUAL], 2.0 * spread)
        sharp = wide * params[INNOVATION]
    scaled = forward(value, params)
    residual = scaled - static
    z = (scaled - predicted) / sharp
    found[Z] = z
    found[EXPECTED] = backward(predicted, params)
    found[LOW] = backward(predicted - BAND * sharp, params)
    found[HIGH] = backward(predicted + BAND * sharp, params)
    familiar = cold == 0.0 or memory[LEARNED] >= WARM_UP * len(daily)
    gather(value, residual / wide, not shut and familiar, same_cost[slot], norms, memory, ring, stats)
    middle = params[MIDDLE]
    above = (value - middle) / max(params[HIGHEST] - middle, TINY * params[UNIT])
    below = (middle - value) / max(middle - params[LOWEST], TINY * params[UNIT])
    if cold == 0.0 and z > BAND:
        stats[RANGE_HIGH] = max(above - INSIDE, 0.0)
    if cold == 0.0 and z < -BAND:
        stats[RANGE_LOW] = max(below - INSIDE, 0.0)
    stats[POINT_HIGH], stats[POINT_LOW] = max(z, 0.0), max(-z, 0.0)
    judge(value, stats, norms, params, memory, ring, found)
    learn(step, value, residual, wide, shut, hour, params, found, stats, norms, memory, daily)


@njit(**OPTIONS)
def gather(value, deviation, summed, cost, norms, memory, ring, stats):
    """Update the CUSUMs, the window and the run of equal values, and put them into `stats`."""
    stats[:] = 0.0
    bounded = clip(deviation, CLIP)
    if summed:
        memory[UP] = min(max(0.0, memory[UP] + bounded - SLACK), MOST_CUSUM * norms[CUSUM_HIGH])
        memory[DOWN] = min(max(0.0, memory[DOWN] - bounded - SLACK), MOST_CUSUM * norms[CUSUM_LOW])
        place = int(memory[PLACE])
        ring[place] = bounded
        memory[PLACE] = (place + 1) % len(ring)
        total = 0.0
        for one in range(len(ring)):
            total += ring[one]
        stats[WINDOW_HIGH] = max(total, 0.0) / math.sqrt(len(ring))
        stats[WINDOW_LOW] = max(-total, 0.0) / math.sqrt(len(ring))
        stats[CUSUM_HIGH], stats[CUSUM_LOW] = memory[UP], memory[DOWN]
    if memory[SEEN] > 0.0 and value == memory[LAST]:
        memory[SAME] += cost
    else:
        memory[SAME] = 0.0
    stats[STUCK] = memory[SAME]


@njit(**OPTIONS)
def judge(value, stats, norms, params, memory, ring, found):
    """Tell the kind of what was found, and how many multiples of its threshold it is."""
    best, ratio = 0, -1.0
    for one in range(STATISTICS):
        if stats[one] / norms[one] > ratio:
            best, ratio = one, stats[one] / norms[one]
    found[RATIO] = ratio
    found[SIGN] = direction(best, found[Z])
    expected = found[EXPECTED]
    decades = math.log10(value / expected) if value > 0.0 and expected > 0.0 else 0.0
    near = abs(decades) > 0.8 and abs(decades - round(decades)) < 0.2
    memory[UNITS] = memory[UNITS] + 1.0 if near else 0.0
    found[KIND] = NORMAL
    if ratio < 1.0:
        memory[OPEN] = 0.0
        return
    memory[OPEN] += 1.0
    if best == STUCK:
        found[KIND] = REPEATED
    elif memory[UNITS] >= 3.0:
        found[KIND] = SCALED
    elif best <= RANGE_LOW and memory[OPEN] < len(ring):
        found[KIND] = SPIKE if value < params[LOWEST] or value > params[HIGHEST] else CONTEXT
    else:
        found[KIND] = MOVED if memory[OPEN] >= LONG_RUN * len(ring) else COLLECTIVE


@njit(**OPTIONS)
def direction(best, z):
    """Return 1 for what is too high, -1 for what is too low."""
    if best <= WINDOW_LOW:
        return 1.0 if best % 2 == 0 else -1.0
    return 1.0 if z > 0.0 else -1.0


@njit(**OPTIONS)
def learn(step, value, residual, wide, shut, hour, params, found, stats, norms, memory, daily):
    """Let the level and the profile of the day follow: by bounded steps, slowly while something is open, never a fault.

    A reading far out, stuck or in another unit teaches nothing.
    """
    memory[STEP] = step
    memory[LAST] = value
    memory[SEEN] += 1.0
    memory[MISSING] = 0.0
    memory[SILENT] = 0.0
    if shut:
        return
    memory[RESIDUAL] = residual
    if stats[STUCK] >= norms[STUCK] or found[KIND] == SCALED or abs(residual) > 6.0 * wide:
        return
    trust = 1.0 if found[RATIO] < 1.0 else THAW
    bounded = clip(residual, 2.0 * wide)
    gain, daily_gain = params[FAST], params[DAILY]
    if params[COLD] > 0.0:
        days = memory[LEARNED] / len(daily)
        gain = max(gain, 1.0 / (1.0 + memory[LEARNED]))
        daily_gain = max(daily_gain, 1.0 / (1.0 + days)) if days >= 1.0 else daily_gain
        trust = max(trust, 1.0 / (1.0 + days))
    memory[SHIFT] += trust * gain * bounded
    daily[hour] += trust * daily_gain * bounded
    memory[LEARNED] += 1.0


@njit(**OPTIONS)
def absent(place, model, state, found, stats):
    """Score a step at which nothing came."""
    params, profile, scale, closed, _, miss_cost, norms = model
    memory, daily, _ = state
    step, slot, hour = place
    memory[STEP] = step
    memory[SILENT] += 1.0
    memory[MISSING] += min(miss_cost[slot], params[MOST_MISSING])
    memory[RESIDUAL] *= params[PHI]
    stats[:] = 0.0
    stats[SILENCE] = memory[MISSING]
    static = forward(0.0, params)
    spread = scale[slot]
    if not closed[slot]:
        static = baseline(step, params) + memory[SHIFT] + daily[hour] + profile[slot]
    found[Z] = 0.0
    found[SIGN] = -1.0
    found[EXPECTED] = backward(static, params)
    found[LOW] = backward(static - BAND * spread, params)
    found[HIGH] = backward(static + BAND * spread, params)
    found[RATIO] = memory[MISSING] / norms[SILENCE]
    found[KIND] = ABSENT if found[RATIO] >= 1.0 else NORMAL
