"""Block bootstrap: whole entities or whole days are drawn, never single rows, since rows of one entity go together."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from vigil.errors import MissingExtra
from vigil.evaluation.rows import FloatArray, IntArray, ScoredRows, codes
from vigil.evaluation.settings import MetricSettings

try:
    from scipy.sparse import coo_matrix, csr_matrix
except ModuleNotFoundError as error:
    raise MissingExtra("scipy", "train") from error

Statistics = Callable[[FloatArray], dict[str, FloatArray]]
"""Weights of the blocks, shape (resamples, blocks), to values by metric, shape (resamples,). NaN is undefined."""

Counts: TypeAlias = csr_matrix
"""How often something occurs in each block: a sparse matrix of shape (things, blocks)."""

_CHUNK = 100
_CELLS = 4_000_000
_MAX_UNDEFINED = 0.05


@dataclass(frozen=True, eq=False)
class Blocks:
    """The block that each row belongs to: `code` has shape (n,) and values from 0 to `count` - 1."""

    code: IntArray
    count: int

    def sums(self, values: FloatArray) -> FloatArray:
        """Return the sum of a value over the rows of each block."""
        return np.bincount(self.code, weights=values, minlength=self.count).astype(np.float64)


def blocks_of(rows: ScoredRows, settings: MetricSettings) -> Blocks:
    """Return the rows' blocks: their entities or their days, as the settings say."""
    keys = rows.days if settings.block == "day" else rows.need_entities("the bootstrap by entity (or set block: day)")
    distinct, code = codes(keys)
    return Blocks(code, len(distinct))


def draws(blocks: int, settings: MetricSettings) -> Iterator[FloatArray]:
    """Yield how often each block was drawn, in chunks of shape (at most 100, blocks): the same for the same seed."""
    generator = np.random.default_rng(settings.seed)
    size = max(1, min(_CHUNK, _CELLS // max(1, blocks)))
    for start in range(0, settings.resamples, size):
        count = min(size, settings.resamples - start)
        drawn = generator.integers(0, blocks, size=(count, blocks))
        flat = drawn + np.arange(count)[:, None] * blocks
        yield np.bincount(flat.ravel(), minlength=count * blocks).reshape(count, blocks).astype(np.float64)


def resampled(statistics: Statistics, blocks: int, settings: MetricSettings) -> dict[str, FloatArray]:
    """Return the value of each metric in each resample, shape (resamples,)."""
    chunks = [statistics(weights) for weights in draws(blocks, settings)]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def interval(values: FloatArray, confidence: float) -> tuple[float, float] | None:
    """Return the percentile interval, or None where more than 5 % of the resamples leave the metric undefined."""
    defined = values[np.isfinite(values)]
    if len(defined) < (1 - _MAX_UNDEFINED) * len(values) or not len(defined):
        return None
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Return the quotient, NaN where the denominator is not positive."""
    undefined = np.full(np.broadcast(numerator, denominator).shape, np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator > 0)


def count_cells(row: IntArray, column: IntArray, shape: tuple[int, int]) -> Counts:
    """Return how often each pair of row and column occurs, as a sparse matrix of that shape."""
    counts: Counts = coo_matrix((np.ones(len(row)), (row, column)), shape=shape).tocsr()
    return counts
