"""Order statistics of small buffers, without allocation."""

import numpy as np
from numba import njit

from vigil.fleet.kernels.online import OPTIONS


@njit(**OPTIONS)
def median(buffer, count):
    """Return the median of the first `count` entries, which are put into another order; 0 of none."""
    if count == 0:
        return 0.0
    half = count // 2
    upper = select(buffer, count, half)
    if count % 2 == 1:
        return upper
    lower = buffer[0]
    for one in range(1, half):
        lower = max(lower, buffer[one])
    return 0.5 * (lower + upper)


@njit(**OPTIONS)
def select(buffer, count, rank):
    """Return the entry of that rank; those before it are not larger, those after it not smaller."""
    low, high = 0, count - 1
    while low < high:
        pivot = buffer[(low + high) // 2]
        left, right = low, high
        while left <= right:
            while buffer[left] < pivot:
                left += 1
            while buffer[right] > pivot:
                right -= 1
            if left <= right:
                buffer[left], buffer[right] = buffer[right], buffer[left]
                left += 1
                right -= 1
        if rank <= right:
            high = right
        elif rank >= left:
            low = left
        else:
            break
    return buffer[rank]


@njit(**OPTIONS)
def quantile(buffer, count, share):
    """Return the entry at `share` of the first `count` in order; 0 of none."""
    if count == 0:
        return 0.0
    return select(buffer, count, min(count - 1, int(share * (count - 1) + 0.5)))


@njit(**OPTIONS)
def deviation(buffer, count, centre):
    """Return the median distance from `centre` as a standard deviation; the buffer is overwritten."""
    for one in range(count):
        buffer[one] = abs(buffer[one] - centre)
    return 1.4826 * median(buffer, count)


@njit(**OPTIONS)
def spread_of(buffer, count):
    """Return the spread around zero as a standard deviation, the buffer is overwritten.

    Where most entries are equal their median says nothing: then half of what the mean distance says, without the
    largest twentieth.
    """
    around = deviation(buffer, count, 0.0)
    if count == 0:
        return around
    high = quantile(buffer, count, 0.95)
    total = 0.0
    for one in range(count):
        total += min(buffer[one], high)
    return max(around, 0.5 * 1.2533 * total / count)


@njit(**OPTIONS)
def of_slots(values, slots, slot_count):
    """Return the rows of each slot: a list of row numbers in order, and where each slot begins in it.

    Rows whose value is NaN are left out.
    """
    starts = np.zeros(slot_count + 1, dtype=np.int64)
    for row in range(len(values)):
        if not np.isnan(values[row]):
            starts[slots[row] + 1] += 1
    for slot in range(slot_count):
        starts[slot + 1] += starts[slot]
    place = starts[:-1].copy()
    rows = np.empty(starts[-1], dtype=np.int64)
    for row in range(len(values)):
        if not np.isnan(values[row]):
            rows[place[slots[row]]] = row
            place[slots[row]] += 1
    return rows, starts
