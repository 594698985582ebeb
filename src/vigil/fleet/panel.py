"""What goes into a fleet: readings as columns, and what is known of the sites."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vigil.errors import ContractError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Series(NamedTuple):
    """One metric of one site."""

    site: str
    metric: str


class Window(NamedTuple):
    """A known incident: what `series` reported from `start` until before `end` (microseconds) is not normal."""

    series: Series
    start: int
    end: int


@dataclass(frozen=True)
class SiteFacts:
    """What is known of a site besides its readings; all of it may be left out."""

    time_zone: str = "UTC"
    cluster: str | None = None
    """The group of alike sites; learned from the profiles where None."""
    holidays: tuple[date, ...] = ()
    """Local days that are not like their weekday."""
    hours: tuple[tuple[int, int] | None, ...] | None = None
    """Opening hours of Monday to Sunday and of a holiday: (from, until) or None for closed. Learned where None."""
    since: int = 0
    """Microseconds; what was reported before is not learned from, such as before a renovation."""

    def __post_init__(self) -> None:
        if self.hours is not None and len(self.hours) != 8:
            raise ContractError(f"opening hours of {len(self.hours)} days: give Monday to Sunday and holidays, 8")


@dataclass(frozen=True, eq=False)
class Readings:
    """Columns of readings in the order of their arrival; `index` says which of `series` each row belongs to.

    `seen` is when each row arrived, in microseconds; without it a row arrives when it is given.
    """

    series: tuple[Series, ...]
    index: NDArray[np.int32]
    times: Ints
    values: Floats
    seen: Ints | None = None

    def __post_init__(self) -> None:
        lengths = {len(self.index), len(self.times), len(self.values)}
        if len(lengths) > 1 or (self.seen is not None and len(self.seen) not in lengths):
            raise ContractError("the columns of the readings differ in length")
        if len(self.index) and not 0 <= int(self.index.min()) <= int(self.index.max()) < len(self.series):
            raise ContractError(f"a reading belongs to none of the {len(self.series)} series")
        if not np.isfinite(self.values).all():
            row = int(np.flatnonzero(~np.isfinite(self.values))[0])
            raise ContractError(f"value of row {row} is {self.values[row]}: leave out what was not measured")

    def __len__(self) -> int:
        return len(self.index)

    def take(self, rows: NDArray[np.generic]) -> "Readings":
        """Return the chosen rows, by number or mask."""
        seen = None if self.seen is None else self.seen[rows]
        return Readings(self.series, self.index[rows], self.times[rows], self.values[rows], seen)

    @classmethod
    def of(cls, rows: Sequence[tuple[Series, int, float]]) -> "Readings":
        """Return readings from (series, time, value), one by one."""
        series = tuple(dict.fromkeys(row[0] for row in rows))
        number = {key: position for position, key in enumerate(series)}
        index = np.array([number[row[0]] for row in rows], dtype=np.int32)
        times = np.array([row[1] for row in rows], dtype=np.int64)
        return cls(series, index, times, np.array([row[2] for row in rows], dtype=np.float64))


@dataclass(frozen=True, eq=False)
class Panel:
    """Readings to learn from, facts of their sites by name, and windows that are known not to be normal."""

    readings: Readings
    sites: Mapping[str, SiteFacts] = field(default_factory=lambda: MappingProxyType({}))
    masks: tuple[Window, ...] = ()

    @property
    def series(self) -> tuple[Series, ...]:
        """The series in the order of the fleet."""
        return self.readings.series


def readings_of(table: pa.Table) -> Readings:
    """Return the readings of a table with site_id, metric, event_time and value, or raise ContractError.

    Other columns (such as those of a `site_reading` event) are ignored; a table without `metric` has one, "value".
    Rows are put into the order of their time.
    """
    missing = [name for name in ("site_id", "event_time", "value") if name not in table.column_names]
    if missing:
        raise ContractError(f"the readings lack {', '.join(missing)}: they have {', '.join(table.column_names)}")
    table = table.filter(pc.is_finite(table["value"].cast(pa.float64())))
    times = table["event_time"].cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()
    sites, site = _codes(table["site_id"])
    metrics, metric = _codes(table["metric"]) if "metric" in table.column_names else (["value"], np.zeros(len(table)))
    code = site.astype(np.int64) * len(metrics) + metric.astype(np.int64)
    used, index = np.unique(code, return_inverse=True)
    series = tuple(Series(sites[int(one) // len(metrics)], metrics[int(one) % len(metrics)]) for one in used)
    order = np.argsort(times, kind="stable")
    values = table["value"].cast(pa.float64()).to_numpy()
    return Readings(series, index.astype(np.int32)[order], times[order], values[order])


def _codes(column: pa.ChunkedArray) -> tuple[list[str], NDArray[np.int64]]:
    """Return the distinct texts in the order of the alphabet, and the number of each row's."""
    encoded = column.cast(pa.string()).combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    names = encoded.dictionary.to_pylist()
    order = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(len(names), dtype=np.int64)
    rank[order] = np.arange(len(names))
    return [names[number] for number in order], rank[encoded.indices.to_numpy(zero_copy_only=False)]
