"""Many readings in the order of their arrival: the gaps before each, then the reading itself."""

import numpy as np
from numba import njit

from vigil.fleet.kernels.online import (
    BAND,
    DUPLICATE,
    KIND,
    LAST,
    LATE,
    OPTIONS,
    RATIO,
    RESIDUAL,
    SEEN,
    SHIFT,
    SILENT,
    STATISTICS,
    STEP,
    absent,
    backward,
    baseline,
    forward,
    observe,
)
from vigil.fleet.kernels.replay import BIN, BINS

READING, GAP, JUMP, NOTHING = 0, 1, 2, 3
"""What a row of a plan is: a reading, a step without one that gets a finding, or the last of those that do not."""
NEVER = -(1 << 62)


@njit(**OPTIONS)
def plan(seat_of, steps, due, memory, most):
    """Return (row, kind, step) of everything that happens, in order; a row without a reading has the step NEVER.

    Before a row is read, its seat is brought up to the step `due`. A silence gets at most `most` findings.
    """
    last, silent, seen = memory[:, STEP].copy(), memory[:, SILENT].copy(), memory[:, SEEN].copy()
    count = 0
    for turn in range(2):
        rows, kinds, places = np.empty(count, np.int64), np.empty(count, np.int8), np.empty(count, np.int64)
        if turn == 1:
            last, silent, seen = memory[:, STEP].copy(), memory[:, SILENT].copy(), memory[:, SEEN].copy()
        place = 0
        for row in range(len(seat_of)):
            seat = seat_of[row]
            until = max(due[row], steps[row] - 1) if steps[row] != NEVER else due[row]
            gaps = int(until - last[seat]) if seen[seat] > 0.0 else 0
            for one in range(min(gaps, max(int(most - silent[seat]), 0))):
                if turn == 1:
                    rows[place], kinds[place], places[place] = row, GAP, int(last[seat]) + 1 + one
                place += 1
            if gaps > max(int(most - silent[seat]), 0):
                if turn == 1:
                    rows[place], kinds[place], places[place] = row, JUMP, until
                place += 1
            if gaps > 0:
                silent[seat] = min(silent[seat] + gaps, most)
                last[seat] = until
            if steps[row] != NEVER:
                if turn == 1:
                    rows[place], kinds[place], places[place] = row, READING, steps[row]
                place += 1
                if seen[seat] == 0.0 or steps[row] > last[seat]:
                    last[seat], silent[seat] = steps[row], 0.0
                seen[seat] += 1.0
        count = place
    return rows, kinds, places


@njit(**OPTIONS)
def score_planned(planned, seat_of, row_of, clock, values, model, state, found):
    """Score what was planned, in order, into `found`, (planned, OUTPUTS)."""
    rows, kinds, steps = planned
    params, profile, scale, closed, same_cost, miss_cost, norms = model
    memory, daily, ring = state
    slots, hours = clock
    stats = np.zeros(STATISTICS)
    for one in range(len(rows)):
        seat, row = seat_of[rows[one]], row_of[rows[one]]
        if kinds[one] == JUMP:
            memory[seat, STEP] = steps[one]
            memory[seat, RESIDUAL] = 0.0
            continue
        chosen = (params[row], profile[row], scale[row], closed[row], same_cost[row], miss_cost[row], norms[row])
        mine = (memory[seat], daily[seat], ring[seat])
        place = (steps[one], slots[one], hours[one])
        if kinds[one] == GAP:
            absent(place, chosen, mine, found[one], stats)
            continue
        value = float(np.float32(values[rows[one]]))
        if memory[seat, SEEN] > 0.0 and steps[one] <= memory[seat, STEP]:
            same = steps[one] == memory[seat, STEP] and value == memory[seat, LAST] and memory[seat, SILENT] == 0.0
            stale(value, place, chosen, mine, found[one], stats)
            found[one, KIND] = DUPLICATE if same else LATE
            continue
        observe(value, place, chosen, mine, found[one], stats)


@njit(**OPTIONS)
def foresee(row_of, steps, clock, model, state, bands):
    """Put (expected, low, high) of each step into `bands`, from what the seats know now; seats are numbered as rows."""
    params, profile, scale, closed = model
    memory, daily = state
    slots, hours = clock
    for one in range(len(row_of)):
        row, slot = row_of[one], slots[one]
        centre = forward(0.0, params[row])
        if not closed[row, slot]:
            centre = (
                baseline(steps[one], params[row]) + memory[row, SHIFT] + daily[row, hours[one]] + profile[row, slot]
            )
        for place, width in enumerate((0.0, -BAND, BAND)):
            bands[one, place] = backward(centre + width * scale[row, slot], params[row])


@njit(**OPTIONS)
def stale(value, place, chosen, mine, found, stats):
    """Say what would have been expected of a reading that comes too late to be learned from; it is never flagged."""
    memory, daily, ring = mine
    observe(value, place, chosen, (memory.copy(), daily.copy(), ring.copy()), found, stats)
    found[RATIO] = 0.0


@njit(**OPTIONS)
def surprise_of(found, rows, tails):
    """Return for each row the share of normal readings that surprise less, and the one at the threshold."""
    surprise, threshold = np.empty(len(rows)), np.empty(len(rows))
    for one in range(len(rows)):
        tail = tails[rows[one]]
        surprise[one] = 1.0 - np.exp(max(log_tail(found[one, RATIO], tail), -34.0))
        threshold[one] = 1.0 - np.exp(max(log_tail(1.0, tail), -34.0))
    return surprise, threshold


@njit(**OPTIONS)
def log_tail(ratio, tail):
    """Return the logarithm of the share of normal readings beyond a ratio, straight between knots and after."""
    place = max(ratio, 0.0) / BIN
    left = min(int(place), BINS - 2)
    return float(tail[left]) + (place - left) * (float(tail[left + 1]) - float(tail[left]))
