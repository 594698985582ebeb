"""Feeds: what one site reports of one metric (or of one kind of event), sampled at most once a minute."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vigil.clock import MINUTE
from vigil.ingest.order import Codes
from vigil.ingest.spill import Partitions

_SAMPLE = np.dtype(
    [("feed", np.int32), ("minute", np.int64), ("offset", np.int16), ("size", np.float32)],
)
VALUE_FIELD = {"transaction": "amount", "site_reading": "value", "stock_level": "on_hand"}
"""Of each kind the field whose typical size belongs to its unit."""

HISTORY = pa.schema(
    [
        pa.field("kind", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("feed", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("minute", pa.int64(), nullable=False),
        pa.field("offset", pa.int16(), nullable=False),
        pa.field("size", pa.float32(), nullable=False),
    ],
    metadata={"vigil.kind": "feed_history", "vigil.version": "1"},
)
"""Samples that a run leaves for the next one: of each feed the first of every hour of its last four weeks."""

_WEEK_HOURS = 168
_HISTORY_MINUTES = 4 * _WEEK_HOURS * 60
_SEPARATOR = "\x1f"


@dataclass(frozen=True)
class Feed:
    """One feed; `metric` is the kind of event where that has no metric."""

    site_id: str
    metric: str


class FeedLog:
    """Samples of all feeds of one kind: when something arrived, and the decimal logarithm of its absolute value.

    The first event of each minute of a feed in a batch is kept, so the size depends on the time covered, not on rows.
    """

    def __init__(self, folder: Path, kind: str) -> None:
        self.kind = kind
        self.known_until: int | None = None
        self.first_minute: int | None = None
        self.last_minute: int | None = None
        self._names = Codes()
        self._metrics = Codes()
        self._metric_of: list[int] = []
        self._rhythms: list[npt.NDArray[np.int64]] = []
        self._partitions = Partitions(folder, _SAMPLE)

    def add(self, events: pa.RecordBatch) -> None:
        """Sample a batch of events; those without a site belong to no feed."""
        if events.column("site_id").null_count:
            events = events.filter(events.column("site_id").is_valid())
        if not events.num_rows:
            return
        feeds = self._names.encode(_feed_names(events, self.kind))
        minutes = events.column("event_time").cast(pa.int64()).to_numpy() // MINUTE
        start = int(minutes.min())
        width = int(minutes.max()) - start + 1
        _, chosen = np.unique(feeds * width + (minutes - start), return_index=True)
        records = np.empty(len(chosen), _SAMPLE)
        records["feed"], records["minute"] = feeds[chosen], minutes[chosen]
        records["offset"] = events.column("utc_offset_minutes").to_numpy()[chosen]
        records["size"] = _size(events, self.kind)[chosen]
        self._partitions.append(records, records["feed"].astype(np.uint64))
        self._count_rhythm(self.comparable(records))
        self.first_minute = start if self.first_minute is None else min(start, self.first_minute)
        self.last_minute = max(int(minutes.max()), self.last_minute or start)

    def remember(self, history: pa.Table) -> None:
        """Add the samples of an earlier run, of all kinds; nothing that ended before the last of them is news."""
        own = history.filter(pc.equal(history["kind"].cast(pa.string()), self.kind)).combine_chunks()
        if not own.num_rows:
            return
        records = np.empty(own.num_rows, _SAMPLE)
        records["feed"] = self._names.encode(own["feed"].combine_chunks())
        for name in ("minute", "offset", "size"):
            records[name] = own[name].to_numpy()
        self.known_until = self.last_minute = int(records["minute"].max())
        self.first_minute = int(records["minute"].min())
        self._partitions.append(records, records["feed"].astype(np.uint64))
        self._count_rhythm(records)

    def comparable(self, samples: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
        """Return the samples as dense as those of the earlier run: one an hour, if there was one."""
        return samples if self.known_until is None else hourly(samples)

    def history(self, samples: npt.NDArray[np.void]) -> pa.Table:
        """Return what the next run should remember of `samples`, which are ordered by feed and minute."""
        kept = hourly(samples)
        _, feed_of = np.unique(kept["feed"], return_inverse=True)
        latest = np.full(feed_of.max(initial=0) + 1, np.iinfo(np.int64).min)
        np.maximum.at(latest, feed_of, kept["minute"])
        kept = kept[kept["minute"] > latest[feed_of] - _HISTORY_MINUTES]
        kinds = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(kept), np.int32)), pa.array([self.kind]))
        feeds, places = np.unique(kept["feed"], return_inverse=True)
        names = pa.array([self._names.texts[number] for number in feeds.tolist()], pa.string())
        columns = [kinds, pa.DictionaryArray.from_arrays(pa.array(places.astype(np.int32)), names)]
        return pa.Table.from_arrays(
            columns + [pa.array(kept[name].copy()) for name in ("minute", "offset", "size")], schema=HISTORY
        )

    def _count_rhythm(self, records: npt.NDArray[np.void]) -> None:
        """Count the arrivals of each metric in each hour of the local week."""
        unseen = self._names.texts[len(self._metric_of) :]
        self._metric_of += [self._metrics.number(name.partition(_SEPARATOR)[2]) for name in unseen]
        metrics = np.array(self._metric_of, np.int64)[records["feed"]]
        hours = (records["minute"] + records["offset"]) // 60 % _WEEK_HOURS
        count = len(self._metrics.texts)
        self._rhythms += [np.zeros(_WEEK_HOURS, np.int64) for _ in range(count - len(self._rhythms))]
        counts = np.bincount(metrics * _WEEK_HOURS + hours, minlength=count * _WEEK_HOURS).reshape(count, _WEEK_HOURS)
        for metric, added in enumerate(counts):
            self._rhythms[metric] += added

    @property
    def feeds(self) -> list[Feed]:
        """Every feed by its number."""
        return [Feed(*name.split(_SEPARATOR)) for name in self._names.texts]

    def number(self, feed: Feed) -> int | None:
        """Return the number of a feed, None if it was never seen."""
        return self._names.find(feed.site_id + _SEPARATOR + feed.metric)

    def rhythm(self, metric: str) -> npt.NDArray[np.int64]:
        """Return the arrivals of a metric in each of the 168 hours of the week, which begins on Thursday (as 1970)."""
        return self._rhythms[self._metrics.number(metric)]

    def read(self) -> Iterator[npt.NDArray[np.void]]:
        """Yield the samples of some feeds after the other, by feed and then by minute, without repetition."""
        for records in self._partitions.read():
            base = records["minute"].min()
            ordered = records[np.argsort((records["feed"].astype(np.int64) << 40) + (records["minute"] - base))]
            new = np.ones(len(ordered), np.bool_)
            new[1:] = (np.diff(ordered["feed"]) != 0) | (np.diff(ordered["minute"]) != 0)
            yield ordered[new]

    def close(self) -> None:
        """End the writing."""
        self._partitions.close()


def hourly(samples: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """Return the first sample of each hour of each feed; they are ordered by feed and minute."""
    new = np.ones(len(samples), np.bool_)
    new[1:] = (np.diff(samples["minute"] // 60) != 0) | (np.diff(samples["feed"]) != 0)
    return samples[new]


def _feed_names(events: pa.RecordBatch, kind: str) -> pa.Array:
    """Return site and metric of each event as one dictionary column."""
    sites = events.column("site_id")
    metrics = events.column("metric") if "metric" in events.schema.names else None
    if metrics is None or len(metrics.dictionary) == 1:
        metric = kind if metrics is None else metrics.dictionary[0].as_py()
        names = pc.binary_join_element_wise(pc.fill_null(sites.dictionary, ""), _SEPARATOR + metric, "")
        return pa.DictionaryArray.from_arrays(sites.indices, names)
    width = len(metrics.dictionary)
    pairs = sites.indices.to_numpy().astype(np.int64) * width + metrics.indices.to_numpy()
    chosen, indices = np.unique(pairs, return_inverse=True)
    site_of = sites.dictionary.take(pa.array(chosen // width))
    metric_of = metrics.dictionary.take(pa.array(chosen % width))
    return pa.DictionaryArray.from_arrays(indices, pc.binary_join_element_wise(site_of, metric_of, _SEPARATOR))


def _size(events: pa.RecordBatch, kind: str) -> npt.NDArray[np.float64]:
    """Return the decimal logarithm of the absolute value, NaN for zero and where there is no value."""
    if kind not in VALUE_FIELD:
        return np.full(events.num_rows, np.nan)
    return sizes(events.column(VALUE_FIELD[kind]).to_numpy(zero_copy_only=False))


def sizes(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the decimal logarithms of the absolute values; NaN for zero."""
    positive = np.abs(values)
    logarithms: npt.NDArray[np.float64] = np.log10(np.where(positive > 0, positive, np.nan))
    return logarithms
