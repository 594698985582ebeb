"""Feeds that fell silent: gaps longer than any that is normal for the feed.

Time is counted in what usually arrives: an hour in which the metric's feeds are closed counts for next to nothing, so
that a night or a Sunday is no silence. On that scale the longest normal gap of a feed is learned from its own gaps.
"""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt

from vigil.clock import MINUTE, SECOND, from_micros
from vigil.contracts.events import FeedSilence
from vigil.contracts.keys import hash_bytes
from vigil.ingest.feeds import Feed, FeedLog
from vigil.ingest.mapping import Arrivals, ExpectedArrival

Floats = npt.NDArray[np.float64]
Minutes = npt.NDArray[np.int64]

_WEEK_HOURS = 168
_WEEK = _WEEK_HOURS * 60
_FLOOR = 0.02
_HIGH_QUANTILE = 0.99
_LEAST_ARRIVALS = 3.0
_LONGEST_ID = 128


class Rhythm:
    """A clock that runs as fast as events usually arrive: one unit a week.

    `counts` are the arrivals in each hour of the week, `seen` how often each of these hours was observed.
    """

    def __init__(self, counts: npt.NDArray[np.int64], seen: npt.NDArray[np.int64]) -> None:
        rates = counts / np.maximum(seen, 1)
        shares = rates / max(float(rates.sum()), 1e-300)
        self._speed = (1 - _FLOOR) * shares + _FLOOR / len(counts)
        self._speed /= self._speed.sum()
        self._until = np.concatenate([[0.0], np.cumsum(self._speed)])

    def at(self, minutes: Minutes) -> Floats:
        """Return the clock at local minutes since 1970."""
        weeks, within = np.divmod(minutes, _WEEK)
        hours, rest = np.divmod(within, 60)
        elapsed: Floats = weeks + self._until[hours] + self._speed[hours] * rest / 60
        return elapsed

    def when(self, reading: float) -> int:
        """Return the first local minute since 1970 at which the clock shows at least `reading`."""
        week, within = divmod(reading, 1.0)
        hour = min(int(np.searchsorted(self._until, within, side="right")) - 1, len(self._speed) - 1)
        rest = (within - self._until[hour]) / self._speed[hour] * 60
        return int(week) * _WEEK + hour * 60 + int(np.ceil(rest - 1e-6))


@dataclass(frozen=True)
class Silence:
    """Nothing came from `feed` between two moments, in microseconds; `overdue` is when that became abnormal."""

    feed: Feed
    last_seen: int | None
    overdue: int
    until: int
    expected_every: int
    offset_minutes: int

    @property
    def begin(self) -> int:
        """When it began, in microseconds."""
        return self.overdue - self.expected_every


class SilenceFinder:
    """Finds the silences of the feeds of one kind; the window ends at `until` (microseconds) or at the last event."""

    def __init__(self, log: FeedLog, rules: Arrivals, until: int | None) -> None:
        self._log = log
        self._rules = rules
        self._feeds = log.feeds
        last = log.last_minute or 0
        seen = _hours_between(log.first_minute or 0, last)
        self._rhythms = {metric: Rhythm(log.rhythm(metric), seen) for metric in {feed.metric for feed in self._feeds}}
        self._end = last if until is None else max(until // MINUTE, last)
        scheduled = [item for item in rules.expected if item.kind == log.kind]
        self._unseen = [item for item in scheduled if log.number(_feed_of(item)) is None]
        self._schedule = {log.number(_feed_of(item)): item.every for item in scheduled}

    def never_seen(self) -> list[Silence]:
        """Return the silences of the feeds that are expected and never reported."""
        if self._log.first_minute is None:
            return []
        begin, end = self._log.first_minute * MINUTE, self._end * MINUTE
        return [
            Silence(_feed_of(item), None, begin + item.every, end, item.every, 0)
            for item in self._unseen
            if end - begin > item.every
        ]

    def find(self, samples: npt.NDArray[np.void]) -> list[Silence]:
        """Return the silences of all feeds in `samples`, which are ordered by feed and minute."""
        gaps = self._gaps(samples)
        limits = self._gaps(self._log.comparable(samples)).longest_normal(self._rules)
        expected = self._schedule.keys() - {None}
        found = []
        for place in np.flatnonzero(gaps.lengths > limits[gaps.feed_of]).tolist():
            if int(samples["feed"][place]) not in expected:
                reading = float(gaps.readings[place] + limits[gaps.feed_of[place]])
                found.append(self._silence(samples, place, reading))
        for number in expected:
            found += self._against_schedule(samples[samples["feed"] == number], self._schedule[number])
        return found

    def _gaps(self, samples: npt.NDArray[np.void]) -> "_Gaps":
        readings = self._on_clock(samples["feed"], samples["minute"] + samples["offset"])
        at_the_end = self._on_clock(samples["feed"], self._end + samples["offset"].astype(np.int64))
        return _Gaps(samples, readings, at_the_end)

    def _on_clock(self, feeds: npt.NDArray[np.int32], minutes: Minutes) -> Floats:
        if len(self._rhythms) == 1:
            return next(iter(self._rhythms.values())).at(minutes)
        metrics = np.array([feed.metric for feed in self._feeds])[feeds]
        readings = np.empty(len(minutes))
        for metric in np.unique(metrics).tolist():
            own = metrics == metric
            readings[own] = self._rhythms[metric].at(minutes[own])
        return readings

    def _silence(self, samples: npt.NDArray[np.void], place: int, limit: float) -> Silence:
        feed = self._feeds[int(samples["feed"][place])]
        last, offset = int(samples["minute"][place]), int(samples["offset"][place])
        overdue = max(self._rhythms[feed.metric].when(limit) - offset, last + 1)
        is_last = place + 1 == len(samples) or samples["feed"][place + 1] != samples["feed"][place]
        until = max(self._end if is_last else int(samples["minute"][place + 1]), overdue)
        return Silence(feed, last * MINUTE, overdue * MINUTE, until * MINUTE, (overdue - last) * MINUTE, offset)

    def _against_schedule(self, samples: npt.NDArray[np.void], every: int) -> list[Silence]:
        ends = np.append(samples["minute"], self._end) * MINUTE
        found = []
        for place in np.flatnonzero(np.diff(ends) > every).tolist():
            feed, last = self._feeds[int(samples["feed"][place])], int(ends[place])
            offset = int(samples["offset"][place])
            found.append(Silence(feed, last, last + every, int(ends[place + 1]), every, offset))
        return found


def _hours_between(first: int, last: int) -> npt.NDArray[np.int64]:
    """Return how often each hour of the week began or went on between two minutes."""
    hours = last // 60 - first // 60 + 1
    every, rest = divmod(hours, _WEEK_HOURS)
    seen = np.full(_WEEK_HOURS, every)
    seen[(first // 60 + np.arange(rest)) % _WEEK_HOURS] += 1
    return seen


def _feed_of(item: ExpectedArrival) -> Feed:
    return Feed(item.site_id, item.metric or item.kind)


class _Gaps:
    """The gap after each sample, on the clock of the feed's rhythm; after a feed's last, to the end of the window."""

    def __init__(self, samples: npt.NDArray[np.void], readings: Floats, at_the_end: Floats) -> None:
        starts = np.append(True, np.diff(samples["feed"]) != 0)
        self.is_last = np.append(starts[1:], True)
        self.feed_of = np.cumsum(starts) - 1
        self.readings = readings
        self.lengths = np.where(self.is_last, at_the_end, np.append(readings[1:], 0.0)) - readings
        self._weeks = (samples["minute"] + samples["offset"]) // _WEEK
        self._counts = np.bincount(self.feed_of)

    def longest_normal(self, rules: Arrivals) -> Floats:
        """Return for each feed `factor` times the gap that is usual at the long end; infinity if too little is known.

        Usual is the larger of the 99 % quantile of all gaps and the median of the longest gaps of its weeks.
        """
        inner = ~self.is_last
        owner, lengths, weeks = self.feed_of[inner], self.lengths[inner], self._weeks[inner]
        limits = np.full(len(self._counts), np.inf)
        if not len(owner):
            return limits
        high = _quantile_by(owner, lengths, _HIGH_QUANTILE)
        new_week = np.flatnonzero(np.append(True, (np.diff(weeks) != 0) | (np.diff(owner) != 0)))
        longest, owner_of_week = np.maximum.reduceat(lengths, new_week), owner[new_week]
        usual = np.maximum(high, _quantile_by(owner_of_week, longest, 0.5))
        known = np.unique(owner)
        rate = self._counts[known] / np.bincount(owner_of_week)[known]
        enough = self._counts[known] >= rules.min_arrivals
        limits[known] = np.where(enough, np.maximum(rules.factor * usual, _LEAST_ARRIVALS / rate), np.inf)
        return limits


def _quantile_by(owner: npt.NDArray[np.int64], values: Floats, share: float) -> Floats:
    """Return the lower quantile of the values of each owner; owners are in ascending order."""
    ordered = values[np.lexsort((values, owner))]
    _, firsts, counts = np.unique(owner, return_index=True, return_counts=True)
    quantiles: Floats = ordered[firsts + (share * (counts - 1)).astype(np.int64)]
    return quantiles


def silence_event(silence: Silence) -> FeedSilence:
    """Return the silence as an event; `silent_seconds` run from the last arrival to the next or the window's end."""
    moment = from_micros(silence.overdue)
    name = f"{silence.feed.site_id}/{silence.feed.metric}/{moment:%Y-%m-%dT%H:%M:%SZ}"
    return FeedSilence(
        event_id=name if len(name) <= _LONGEST_ID else hash_bytes(name.encode()),
        event_time=moment,
        utc_offset_minutes=silence.offset_minutes,
        site_id=silence.feed.site_id,
        metric=silence.feed.metric,
        last_seen=None if silence.last_seen is None else from_micros(silence.last_seen),
        expected_every_seconds=silence.expected_every / SECOND,
        silent_seconds=(silence.until - silence.begin) / SECOND,
    )


def open_ended(silence: Silence, end: int) -> bool:
    """Return whether the feed was still silent when the window ended."""
    return timedelta(microseconds=end - silence.until) < timedelta(minutes=1)
