"""What the accepted events look like, gathered while they are written: counts, ranges, distributions."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vigil.clock import DAY, from_micros
from vigil.ingest.order import Codes
from vigil.ingest.spill import times_of

BINS_PER_DECADE = 10
_DECADES = 13
_MIDDLE = _DECADES * BINS_PER_DECADE
MANY = 100_000
"""Distinct keys are counted exactly up to here."""
MOST_METRICS = 24
"""Metrics with a distribution of their own; the rest share one."""
OTHER = "other metrics"


@dataclass
class NumberFacts:
    """The values of one number; `histogram` counts sign(x) log10(1 + |x|) in tenths, from -13 to 13."""

    count: int = 0
    nulls: int = 0
    lowest: float = float("inf")
    highest: float = float("-inf")
    total: float = 0.0
    histogram: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(2 * _MIDDLE + 1, np.int64))

    def add(self, values: pa.Array) -> None:
        """Count some more."""
        self.nulls += values.null_count
        numbers = values.drop_null().to_numpy(zero_copy_only=False)
        if not len(numbers):
            return
        self.count += len(numbers)
        self.lowest = min(self.lowest, float(numbers.min()))
        self.highest = max(self.highest, float(numbers.max()))
        self.total += float(numbers.sum())
        places = np.rint(np.sign(numbers) * np.log10(1 + np.abs(numbers)) * BINS_PER_DECADE).astype(np.int64)
        self.histogram += np.bincount(np.clip(places + _MIDDLE, 0, 2 * _MIDDLE), minlength=2 * _MIDDLE + 1)

    def bars(self) -> list[tuple[float, int]]:
        """Return the bins that hold something, each by the value in its middle."""
        places = np.flatnonzero(self.histogram)
        logs = (places - _MIDDLE) / BINS_PER_DECADE
        middles = np.sign(logs) * (10 ** np.abs(logs) - 1)
        counts = self.histogram[places].tolist()
        return [(float(f"{middle:.4g}"), count) for middle, count in zip(middles.tolist(), counts, strict=True)]


@dataclass
class KeyFacts:
    """The values of one key."""

    nulls: int = 0
    seen: set[str] = field(default_factory=set)

    def add(self, column: pa.Array) -> None:
        """Count some more."""
        self.nulls += column.null_count
        if len(self.seen) < MANY:
            self.seen.update(column.dictionary.take(pc.unique(column.indices).drop_null()).to_pylist())


@dataclass
class KindFacts:
    """The accepted events of one kind."""

    kind: str
    count: int = 0
    first: int | None = None
    last: int | None = None
    days: Counter[int] = field(default_factory=Counter)
    _sites: Codes = field(default_factory=Codes)
    _site_counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    numbers: dict[tuple[str, str], NumberFacts] = field(default_factory=dict)
    keys: dict[str, KeyFacts] = field(default_factory=dict)

    def add(self, events: pa.Table) -> None:
        """Count some more, in order of time."""
        times = times_of(events)
        self.count += events.num_rows
        self.first = int(times[0]) if self.first is None else self.first
        self.last = int(times[-1])
        days, counts = np.unique(times // DAY, return_counts=True)
        self.days.update(dict(zip(days.tolist(), counts.tolist(), strict=True)))
        for item in events.schema:
            column = events[item.name].combine_chunks()
            if pa.types.is_dictionary(item.type):
                self.keys.setdefault(item.name, KeyFacts()).add(column)
            elif pa.types.is_floating(item.type):
                self._add_number(item.name, column, events)
        if "site_id" in events.schema.names:
            self._count_sites(events["site_id"].combine_chunks())

    def _add_number(self, name: str, values: pa.Array, events: pa.Table) -> None:
        if "metric" not in events.schema.names:
            self.numbers.setdefault((name, ""), NumberFacts()).add(values)
            return
        metrics = events["metric"].combine_chunks()
        codes = metrics.indices.to_numpy(zero_copy_only=False)
        for code in np.unique(codes).tolist():
            metric = metrics.dictionary[code].as_py()
            is_new = (name, metric) not in self.numbers and len(self.numbers) >= MOST_METRICS
            key = (name, OTHER if is_new else metric)
            self.numbers.setdefault(key, NumberFacts()).add(values.filter(pa.array(codes == code)))

    def day_texts(self) -> dict[str, int]:
        """Return the events of each day in UTC that has any, in order."""
        return {f"{from_micros(day * DAY):%Y-%m-%d}": self.days[day] for day in sorted(self.days)}

    def _count_sites(self, column: pa.Array) -> None:
        places = self._sites.encode_texts(column.dictionary.to_pylist())
        missing = len(self._sites.texts) - len(self._site_counts)
        self._site_counts = np.append(self._site_counts, np.zeros(missing, np.int64))
        known = column.indices.drop_null().to_numpy(zero_copy_only=False)
        self._site_counts[places] += np.bincount(known, minlength=len(places))

    def largest_sites(self, count: int) -> dict[str, int]:
        """Return the sites with most events, and how many each has."""
        order = np.argsort(-self._site_counts, kind="stable")[:count]
        return {self._sites.texts[place]: int(self._site_counts[place]) for place in order.tolist()}
