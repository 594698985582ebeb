"""Blocks of neighbouring rows: how long they must be for a column, and windows drawn of them."""

from collections.abc import Iterator

import numpy as np

from vigil.monitoring.port import Columns
from vigil.monitoring.seasons import Floats, Ints, SeasonMatch

_TIMES = 6
"""Length of a block over the time in which a column forgets itself."""

_DATES = 4
"""Dates on which a season must have been seen: the mean of an hour seen once holds all that was special in it."""

_STEP = 2
"""Lengths are powers of it, so that few groups of columns are drawn."""


def block_lengths(columns: Columns, match: SeasonMatch, most: int) -> dict[str, int]:
    """Return the length of the blocks for each column, 1 where its rows are independent."""
    cells = match.repeated(columns.time, _DATES)
    lengths = {}
    for name, values in columns.numbers.items():
        gone = np.isnan(values)
        lengths[name] = max(_length(_ranks(values), cells, most), _length(gone.astype(np.float64), cells, most))
    for name, entries in columns.categories.items():
        codes = {entry: k for k, entry in enumerate(sorted({str(entry) for entry in entries}))}
        coded = np.fromiter((codes[str(entry)] for entry in entries), np.int64, len(entries))
        shares = np.bincount(coded) / len(coded)
        largest = np.argsort(shares)[-3:]
        lengths[name] = max(_length((coded == code).astype(np.float64), cells, most) for code in largest)
    return lengths


def _ranks(values: Floats) -> Floats:
    """Return middle ranks of the present values, and the mean rank for missing ones."""
    ranks = np.full(len(values), np.nan)
    present = ~np.isnan(values)
    distinct, inverse, counts = np.unique(values[present], return_inverse=True, return_counts=True)
    if not len(distinct):
        return np.zeros(len(values))
    ranks[present] = (np.cumsum(counts) - counts / 2.0)[inverse]
    ranks[~present] = ranks[present].mean()
    return ranks


def _length(series: Floats, cells: Ints, most: int) -> int:
    """Return the length for one series; what its season explains is no memory."""
    counts = np.maximum(np.bincount(cells), 1)
    rest = series - (np.bincount(cells, weights=series) / counts)[cells]
    memory = _memory(rest)
    if memory <= 1.0:
        return 1
    power = int(np.ceil(np.log(_TIMES * memory) / np.log(_STEP)))
    return int(min(most, _STEP**power))


def _memory(series: Floats) -> float:
    """Return the sum of the autocorrelations until they vanish in the noise, 1 for independent rows."""
    count = len(series)
    centred = series - series.mean()
    power = np.abs(np.fft.rfft(centred, 2 * count)) ** 2
    sums = np.fft.irfft(power)[:count]
    if sums[0] <= 1e-12 * count:
        return 1.0
    correlations = sums / sums[0]
    noise = 2.0 * np.sqrt(np.log10(count) / count)
    small = np.flatnonzero(correlations < noise)
    until = int(small[0]) if len(small) else count
    return float(1.0 + 2.0 * correlations[1:until].sum())


def draw_windows(
    reference: int, window: int, length: int, count: int, generator: np.random.Generator
) -> Iterator[Ints]:
    """Yield `count` windows of `window` rows of a reference, each made of blocks of `length` neighbours."""
    blocks = -(-window // length)
    for _ in range(count):
        starts = generator.integers(0, reference - length + 1, blocks)
        rows = (starts[:, None] + np.arange(length)).ravel()[:window]
        yield np.sort(rows).astype(np.int64)
