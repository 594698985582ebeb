"""The compiled kernel: one code for the whole log, for a day of it, and for a single event.

State is int64 throughout, so sums are exact, commute, and survive a restart bit for bit. An all-zero state is an entity
without a past. The layout of the tables is written by `vigil.features.compiler`.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

MISSING = np.iinfo(np.int64).min
"""A fold without a value, and a measure that an event does not have."""

FAR = 1 << 62
"""Later than any time: first times are kept as their distance to it, so that zero means none."""

LANES = 128
"""Events that the virtual machine treats at once."""

AHEAD = 16
"""Events between asking the memory for an entry and using it."""

MASK_BITS = 62
"""Buckets of a ring for which a mask tells whether they hold anything; a longer ring is searched bucket by bucket."""

CACHE_LINE = 8
"""Entries of an int64 array that the memory delivers together."""

Int64s = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class Tables(NamedTuple):
    """Where everything lies in the state of an entity. Rows are written by the compiler and only read here."""

    blocks: Int64s
    """(first ring, end of rings, first single, end of singles, width of the state)"""
    rings: Int64s
    """(offset, grain, buckets, measures, first measure, windows, first window, kind of ring)"""
    ring_measures: Int64s
    """Column of each measure of each ring."""
    windows: Int64s
    """(length in buckets, first of its outputs)"""
    outputs: Int64s
    """Column of the aggregate for each (window, measure), or -1."""
    singles: Int64s
    """(fold, offset, measure column, aggregate column)"""


class Code(NamedTuple):
    """Programs of the virtual machine: registers are numbered as they are written."""

    instructions: npt.NDArray[np.int32]
    """(operation, left register or column, right register)"""
    constants: Floats
    """The value of a constant, the quanta per unit of a loaded aggregate; 0 elsewhere."""


class Work(NamedTuple):
    """What a run of events is computed in; a row is an event."""

    times: Int64s
    """Event times, microseconds."""
    emits: npt.NDArray[np.bool_]
    """Whether the event reads its entities' past."""
    measures: Int64s
    """(events, measures)"""
    aggregates: Int64s
    """(events, aggregates)"""


RING_SUM, RING_MAX, RING_RUN = range(3)

SINGLE_SUM, SINGLE_MAX, SINGLE_LAST, SINGLE_LAST_TIME, SINGLE_FIRST_TIME = range(5)

(
    LOAD_FIELD,
    LOAD_AGGREGATE,
    LOAD_CONSTANT,
    ADD,
    SUBTRACT,
    MULTIPLY,
    DIVIDE,
    GREATER,
    AT_LEAST,
    EQUAL,
    MINIMUM,
    MAXIMUM,
    SQRT,
    LOG,
    FLOOR,
    FALLBACK,
) = range(16)


class Ring(NamedTuple):
    """Where one ring lies in a state, in int64 positions: its head, the mask of the buckets that hold anything, the
    totals of its windows, its slots.
    """

    head: int
    mask: int
    totals: int
    slots: int
    end: int
    grain: int
    buckets: int
    width: int
    measures: int
    n_windows: int
    windows: int
    kind: int


@njit(cache=True, nogil=True, forceinline=True)
def _ring(tables, r):
    offset, grain, buckets, width, measures, count, windows, kind = tables.rings[r]
    totals = offset + 2
    slots = totals + count * width
    end = slots + buckets * width
    return Ring(offset, offset + 1, totals, slots, end, grain, buckets, width, measures, count, windows, kind)


@intrinsic
def _trailing_zeros(_, bits):
    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), generate


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _next_occupied(ring, occupied, age, end):
    """Return the least age, in buckets before the head, of a bucket from `age` on that holds anything, or `end`."""
    if ring.buckets > MASK_BITS:
        return age
    rest = occupied >> age
    return min(age + _trailing_zeros(rest), end) if rest else end


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _slot(ring, newest, age):
    """Return where the bucket lies that is `age` older than the head, whose slot has the number `newest`."""
    number = newest - age
    return ring.slots + (number + ring.buckets if number < 0 else number) * ring.width


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _advance(states, e, ring, lengths, bucket):
    """Move the ring's head to `bucket`: take what falls out of each window from its total, and clear what is reused."""
    head, occupied = states[e, ring.head], states[e, ring.mask]
    newest = head % ring.buckets
    steps = min(bucket - head, ring.buckets)
    for w in range(ring.n_windows):
        total = ring.totals + w * ring.width
        age = _next_occupied(ring, occupied, max(lengths[w] - steps, 0), lengths[w])
        while age < lengths[w]:
            slot = _slot(ring, newest, age)
            for m in range(ring.width):
                states[e, total + m] -= states[e, slot + m]
            age = _next_occupied(ring, occupied, age + 1, lengths[w])
    age = _next_occupied(ring, occupied, ring.buckets - steps, ring.buckets)
    while age < ring.buckets:
        slot = _slot(ring, newest, age)
        for m in range(ring.width):
            states[e, slot + m] = 0
        age = _next_occupied(ring, occupied, age + 1, ring.buckets)
    states[e, ring.head] = bucket
    if ring.buckets <= MASK_BITS:
        states[e, ring.mask] = (occupied << steps) & ((1 << ring.buckets) - 1)


@njit(cache=True, nogil=True, error_model="numpy")
def _scan(states, e, ring, length, m, bucket):
    """Return the sum or maximum of one measure over the `length` buckets up to `bucket`, which may lie in the past."""
    head = states[e, ring.head]
    total = 0
    for b in range(max(bucket - length + 1, head - ring.buckets + 1, 0), min(bucket, head) + 1):
        value = states[e, ring.slots + (b % ring.buckets) * ring.width + m]
        total = max(total, value) if ring.kind == RING_MAX else total + value
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _read_run(states, e, ring, length, columns, bucket, aggregates, i):
    """Write sum and age, in buckets, of the run since the last bucket that holds anything of the second measure."""
    head = states[e, ring.head]
    total, age = 0, MISSING
    b = min(bucket, head)
    while b > bucket - length and b > head - ring.buckets and b >= 0:
        slot = ring.slots + (b % ring.buckets) * ring.width
        if states[e, slot + 1] != 0:
            break
        if states[e, slot] != 0:
            total += states[e, slot]
            age = bucket - b
        b -= 1
    if columns[0] >= 0:
        aggregates[i, columns[0]] = total
    if columns[1] >= 0:
        aggregates[i, columns[1]] = age


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _read_ring(states, e, ring, lengths, columns, bucket, aggregates, i):
    """Write the windows as of `bucket`, which is the ring's head or an earlier one."""
    if ring.kind == RING_RUN:
        _read_run(states, e, ring, lengths[0], columns, bucket, aggregates, i)
        return
    if ring.kind == RING_MAX or bucket < states[e, ring.head]:
        for w in range(ring.n_windows):
            for m in range(ring.width):
                column = columns[w * ring.width + m]
                if column >= 0:
                    value = _scan(states, e, ring, lengths[w], m, bucket)
                    if ring.kind == RING_MAX:
                        value = value - 1 if value else MISSING
                    aggregates[i, column] = value
        return
    for k in range(len(columns)):
        if columns[k] >= 0:
            aggregates[i, columns[k]] = states[e, ring.totals + k]


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _add_to_ring(states, e, ring, lengths, bucket, measures, i, inputs):
    """Add one event's measures to its bucket and to the windows, seen from the head, that hold it."""
    head = states[e, ring.head]
    if ring.buckets <= MASK_BITS:
        states[e, ring.mask] |= 1 << (head - bucket)
    slot = ring.slots + (bucket % ring.buckets) * ring.width
    for m in range(ring.width):
        value = measures[i, inputs[m]]
        if value == MISSING:
            continue
        if ring.kind == RING_MAX:
            states[e, slot + m] = max(states[e, slot + m], value + 1)
            continue
        states[e, slot + m] += value
        for w in range(ring.n_windows):
            if bucket > head - lengths[w]:
                states[e, ring.totals + w * ring.width + m] += value


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _has_measure(measures, i, inputs, is_max):
    for column in inputs:
        value = measures[i, column]
        if value != MISSING and (value != 0 or is_max):
            return True
    return False


@intrinsic
def _prefetch(_, array, row, column):
    """Ask for an entry of a matrix without waiting for it; what lies outside is ignored."""

    def generate(context, builder, signature, arguments):
        matrix = make_array(signature.args[0])(context, builder, arguments[0])
        entry = cgutils.get_item_pointer(context, builder, signature.args[0], matrix, arguments[1:], wraparound=False)
        address, option = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [address, option, option, option])
        to_write, to_all_caches, data = option(1), option(3), option(1)
        ask = builder.module.declare_intrinsic("llvm.prefetch", [address], kind)
        builder.call(ask, [builder.bitcast(entry, address), to_write, to_all_caches, data])
        return context.get_dummy_value()

    return types.none(array, types.int64, types.int64), generate


@njit(cache=True, nogil=True, error_model="numpy")
def _fold_ring(rows, numbers, work, states, r, tables):
    """Run events through one ring; one that is older than the whole ring is of no window and left out."""
    ring = _ring(tables, r)
    times, emits, measures, aggregates = work
    lengths = tables.windows[ring.windows : ring.windows + ring.n_windows, 0].copy()
    first = tables.windows[ring.windows, 1]
    columns = tables.outputs[first : first + ring.n_windows * ring.width]
    inputs = tables.ring_measures[ring.measures : ring.measures + ring.width]
    latest = -1
    for k in range(len(rows)):
        i = rows[k]
        e = numbers[i]
        later = rows[min(k + AHEAD, len(rows) - 1)]
        _prefetch(measures, later, inputs[0])
        if numbers[later] > latest:
            latest = numbers[later]
            for position in range(ring.head, ring.end, CACHE_LINE):
                _prefetch(states, latest, position)
        if e < 0:
            if emits[i]:
                for column in columns:
                    if column >= 0:
                        aggregates[i, column] = MISSING
            continue
        adds = _has_measure(measures, i, inputs, ring.kind == RING_MAX)
        if not adds and not emits[i]:
            continue
        bucket = times[i] // ring.grain
        if bucket > states[e, ring.head]:
            _advance(states, e, ring, lengths, bucket)
        if emits[i]:
            _read_ring(states, e, ring, lengths, columns, bucket, aggregates, i)
        if adds and bucket > states[e, ring.head] - ring.buckets and bucket >= 0:
            _add_to_ring(states, e, ring, lengths, bucket, measures, i, inputs)


@njit(cache=True, nogil=True)
def _read_single(states, e, fold, offset):
    value = states[e, offset]
    if fold == SINGLE_SUM:
        return value
    if value == 0:
        return MISSING
    if fold == SINGLE_FIRST_TIME:
        return FAR - value
    if fold == SINGLE_LAST:
        return states[e, offset + 1]
    return value - 1


@njit(cache=True, nogil=True)
def _add_to_single(states, e, fold, offset, time, value):
    if fold == SINGLE_SUM:
        states[e, offset] += value
    elif fold == SINGLE_MAX:
        states[e, offset] = max(states[e, offset], value + 1)
    elif fold == SINGLE_LAST:
        if (time + 1, value) > (states[e, offset], states[e, offset + 1]):
            states[e, offset] = time + 1
            states[e, offset + 1] = value
    elif value != 0 and fold == SINGLE_LAST_TIME:
        states[e, offset] = max(states[e, offset], time + 1)
    elif value != 0 and fold == SINGLE_FIRST_TIME:
        states[e, offset] = max(states[e, offset], FAR - time)


@njit(cache=True, nogil=True)
def _fold_single(rows, numbers, work, states, s, tables):
    fold, offset, measure, column = tables.singles[s]
    times, emits, measures, aggregates = work
    for i in rows:
        e = numbers[i]
        if emits[i]:
            aggregates[i, column] = _read_single(states, e, fold, offset) if e >= 0 else MISSING
        value = measures[i, measure]
        if e >= 0 and value != MISSING:
            _add_to_single(states, e, fold, offset, times[i], value)


@njit(cache=True, nogil=True)
def _by_entity(numbers, count):
    """Return the positions of the events grouped by entity, in their order within each (a counting sort)."""
    places = np.zeros(count + 2, np.int64)
    for number in numbers:
        places[number + 2] += 1
    for k in range(1, count + 2):
        places[k] += places[k - 1]
    rows = np.empty(len(numbers), np.int64)
    for i in range(len(numbers)):
        rows[places[numbers[i] + 1]] = i
        places[numbers[i] + 1] += 1
    return rows


@njit(cache=True, nogil=True)
def fold_block(numbers, work, states, block, tables):
    """Run events, in their order, through the states of their entities: each reads the past, then joins it.

    `numbers` holds the entity of each event (the row of `states`), -1 for none, which reads as MISSING.
    """
    rows = _by_entity(numbers, len(states))
    for r in range(tables.blocks[block, 0], tables.blocks[block, 1]):
        _fold_ring(rows, numbers, work, states, r, tables)
    for s in range(tables.blocks[block, 2], tables.blocks[block, 3]):
        _fold_single(rows, numbers, work, states, s, tables)


@njit(cache=True, nogil=True)
def fold_event(  # takes the arrays of `Work` and `Tables` one by one: numba is slow to recognise a tuple of them
    blocks,
    present,
    states,
    times,
    emits,
    measures,
    aggregates,
    table_blocks,
    rings,
    ring_measures,
    windows,
    outputs,
    singles,
):
    """Run a single event through `blocks`: (row, entity, offset of its state in `states`).

    `present` holds 0 for each entity that the event has, else -1.
    """
    work = Work(times, emits, measures, aggregates)
    tables = Tables(table_blocks, rings, ring_measures, windows, outputs, singles)
    for k in range(len(blocks)):
        row, entity, offset = blocks[k]
        width = tables.blocks[row, 4]
        state = states[offset : offset + width].reshape((1, width))
        fold_block(present[entity : entity + 1], work, state, row, tables)


@njit(cache=True, nogil=True)
def fold_events(  # takes the arrays one by one, as `fold_event` does
    blocks,
    numbers,
    states,
    times,
    emits,
    measures,
    aggregates,
    table_blocks,
    rings,
    ring_measures,
    windows,
    outputs,
    singles,
):
    """Run events through `blocks`: (row, entity, offset of its states in `states`, how many entities these are of).

    `numbers` holds for each entity and event the row of its state among these, -1 for none.
    """
    work = Work(times, emits, measures, aggregates)
    tables = Tables(table_blocks, rings, ring_measures, windows, outputs, singles)
    for k in range(len(blocks)):
        row, entity, offset, count = blocks[k]
        width = tables.blocks[row, 4]
        rows = states[offset : offset + count * width].reshape((count, width))
        fold_block(numbers[entity], work, rows, row, tables)


@njit(cache=True, nogil=True)
def _combine(operation, left, right):
    """Return the result for one event; NaN is a missing value and stays one."""
    if operation == FALLBACK:
        return right if np.isnan(left) else left
    if np.isnan(left) or np.isnan(right):
        return np.nan
    if operation == GREATER:
        return 1.0 if left > right else 0.0
    if operation == AT_LEAST:
        return 1.0 if left >= right else 0.0
    if operation == EQUAL:
        return 1.0 if left == right else 0.0
    if operation == MINIMUM:
        return min(left, right)
    if operation == MAXIMUM:
        return max(left, right)
    if operation == SQRT:
        return np.sqrt(max(left, 0.0))
    if operation == LOG:
        return np.log(left) if left > 0 else np.nan
    return np.floor(left)


@njit(cache=True, nogil=True, error_model="numpy")
def _arithmetic(operation, left, right, target, count):
    if operation == ADD:
        for j in range(count):
            target[j] = left[j] + right[j]
    elif operation == SUBTRACT:
        for j in range(count):
            target[j] = left[j] - right[j]
    elif operation == MULTIPLY:
        for j in range(count):
            target[j] = left[j] * right[j]
    elif operation == DIVIDE:
        for j in range(count):
            target[j] = left[j] / right[j] if right[j] != 0 else np.nan
    else:
        for j in range(count):
            target[j] = _combine(operation, left[j], right[j])


@njit(cache=True, nogil=True)
def _run(instructions, constants, fields, aggregates, rows, registers):
    """Execute the program for the events `rows`; each instruction writes the register of its number."""
    count = len(rows)
    for k in range(len(instructions)):
        operation, left, right = instructions[k]
        target = registers[k]
        if operation == LOAD_FIELD:
            for j in range(count):
                target[j] = fields[left, rows[j]]
        elif operation == LOAD_AGGREGATE:
            for j in range(count):
                value = aggregates[rows[j], left]
                target[j] = np.nan if value == MISSING else value / constants[k]
        elif operation == LOAD_CONSTANT:
            target[:count] = constants[k]
        else:
            _arithmetic(operation, registers[left], registers[right], target, count)


@njit(cache=True, nogil=True)
def run_measures(instructions, constants, results, per_unit, fields, aggregates, measures):
    """Write whole quanta of the program's `results` (register, column) into `measures`; NaN becomes MISSING."""
    events = np.arange(len(measures))
    registers = np.empty((len(instructions), min(LANES, len(events))))
    for start in range(0, len(events), LANES):
        rows = events[start : start + LANES]
        _run(instructions, constants, fields, aggregates, rows, registers)
        for k in range(len(results)):
            register, column = results[k]
            for j in range(len(rows)):
                value = np.floor(registers[register, j] * per_unit[k] + 0.5)
                measures[start + j, column] = np.int64(value) if abs(value) < FAR else MISSING


@njit(cache=True, nogil=True)
def run_features(instructions, constants, results, defaults, fields, aggregates, events, features):
    """Write the program's `results` for the rows `events` into the rows of `features`; NaN becomes the default."""
    registers = np.empty((len(instructions), min(LANES, len(events))))
    for start in range(0, len(events), LANES):
        rows = events[start : start + LANES]
        _run(instructions, constants, fields, aggregates, rows, registers)
        for j in range(len(rows)):
            for k in range(len(results)):
                value = np.float32(registers[results[k], j])
                features[start + j, k] = value if np.isfinite(value) else defaults[k]
