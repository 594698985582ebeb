"""The second pass: what the whole file tells about a row, and the sorted event files."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from vigil.clock import MINUTE
from vigil.contracts.events import Event, FeedSilence, arrow_schema, event_model, to_table
from vigil.ingest.arrivals import Silence, SilenceFinder, silence_event
from vigil.ingest.collect import Collection
from vigil.ingest.facts import KindFacts
from vigil.ingest.feeds import HISTORY, VALUE_FIELD, Feed, FeedLog, sizes
from vigil.ingest.ledger import ACCEPTED, ORPHANED, UNIT_JUMP, Ledger
from vigil.ingest.mapping import Mapping
from vigil.ingest.merge import merged
from vigil.ingest.scale import Jump, find_jumps, without_jumps
from vigil.ingest.spill import SEQUENCE, times_of

HISTORY_FILE = "history.parquet"
GROUP_ROWS = 1 << 17
"""Rows of a row group."""


@dataclass(frozen=True)
class FeedJump:
    """A change of scale, with the feed that it happened to."""

    kind: str
    feed: Feed
    jump: Jump


@dataclass
class Published:
    """What the second pass found; `window_end` is in microseconds, None if it is the last event."""

    facts: dict[str, KindFacts] = field(default_factory=dict)
    jumps: list[FeedJump] = field(default_factory=list)
    silences: list[Silence] = field(default_factory=list)
    window_end: int | None = None


def publish(collection: Collection, folder: Path, until: int | None) -> Published:
    """Write one Parquet file a kind below `folder`, ordered by time and then by place in the source."""
    folder.mkdir()
    history = folder.parent / HISTORY_FILE
    ledger = collection.ledger
    for index in collection.ids.values():
        index.mark_duplicates(ledger)
    published = Published(window_end=until)
    _examine_feeds(collection, published, history)
    for kind, runs in collection.runs.items():
        _mark_orphans(collection)
        facts = KindFacts(kind)
        jumps = [(place, item) for place, item in enumerate(published.jumps) if item.kind == kind]
        chunks = (_settle(chunk, jumps, ledger) for chunk in _rechunk(merged(runs)))
        _write(folder / f"{kind}.parquet", kind, chunks, facts)
        published.facts[kind] = facts
    _mark_orphans(collection)
    silences: list[Event] = [silence_event(silence) for silence in published.silences]
    _write(folder / "feed_silence.parquet", "feed_silence", iter([to_table(FeedSilence, silences)]), None)
    return published


def _examine_feeds(collection: Collection, published: Published, history: Path) -> None:
    """Find jumps and silences that are not known from an earlier run, and write what the next run should know."""
    with pq.ParquetWriter(history, HISTORY, compression="zstd") as writer:
        for log in collection.feeds.values():
            for kept in _examine(log, collection.mapping, published):
                writer.write_table(kept)
    published.jumps.sort(key=lambda item: (item.jump.start, item.kind, item.feed.site_id, item.feed.metric))
    published.silences.sort(key=lambda item: (item.overdue, item.feed.site_id, item.feed.metric))


def _examine(log: FeedLog, mapping: Mapping, published: Published) -> Iterator[pa.Table]:
    """Add the jumps and silences of the feeds of a kind to `published`, and yield what the next run should know."""
    arrivals = mapping.arrivals if mapping.arrivals is not None and log.kind in mapping.arrivals.kinds else None
    finder = None if arrivals is None else SilenceFinder(log, arrivals, published.window_end)
    known, feeds = (log.known_until or 0) * MINUTE, log.feeds
    silences = [] if finder is None else finder.never_seen()
    for samples in log.read():
        jumps = []
        if mapping.scale_check is not None and log.kind in VALUE_FIELD:
            jumps = find_jumps(samples, mapping.scale_check)
            published.jumps += [FeedJump(log.kind, feeds[jump.feed], jump) for jump in jumps if jump.end > known]
        if finder is not None:
            silences += finder.find(samples)
        yield log.history(without_jumps(samples, jumps))
    published.silences += [silence for silence in silences if silence.until > known]


def _mark_orphans(collection: Collection) -> None:
    """Refuse events whose required event was refused since it was read."""
    events = collection.mapping.expanded
    labels = [event.label for event in events]
    for index, event in enumerate(events):
        if event.requires is None:
            continue
        for _, fates in collection.ledger.by_row():
            gone = (fates[:, labels.index(event.requires)] != ACCEPTED) & (fates[:, index] == ACCEPTED)
            fates[gone, index] = ORPHANED


def _rechunk(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Yield the same rows in tables of exactly GROUP_ROWS, the last one excepted."""
    waiting: list[pa.Table] = []
    rows = 0
    for table in tables:
        waiting.append(table)
        rows += table.num_rows
        while rows >= GROUP_ROWS:
            joined = pa.concat_tables(waiting)
            yield _joined(joined.slice(0, GROUP_ROWS))
            waiting, rows = [joined.slice(GROUP_ROWS)], rows - GROUP_ROWS
    if rows:
        yield _joined(pa.concat_tables(waiting))


def _joined(table: pa.Table) -> pa.Table:
    return table.unify_dictionaries().combine_chunks()


def _settle(events: pa.Table, jumps: list[tuple[int, FeedJump]], ledger: Ledger) -> pa.Table:
    """Return the events that stay accepted, after writing into the ledger which of them jumped."""
    sequence = events[SEQUENCE].to_numpy()
    for place, item in jumps:
        hit = _jumped(events, item)
        if hit is not None:
            hit &= ledger.fates[sequence] == ACCEPTED
            ledger.fates[sequence[hit]] = UNIT_JUMP
            ledger.origins[sequence[hit]] = place
    accepted = ledger.fates[sequence] == ACCEPTED
    kept = events if accepted.all() else events.filter(pa.array(accepted))
    return kept.drop_columns([SEQUENCE])


def _jumped(events: pa.Table, item: FeedJump) -> npt.NDArray[np.bool_] | None:
    times = times_of(events)
    first, last = np.searchsorted(times, item.jump.start, side="right"), np.searchsorted(times, item.jump.end)
    if first >= last:
        return None
    part = events.slice(first, last - first)
    hit = _is(part, "site_id", item.feed.site_id)
    if "metric" in events.schema.names:
        hit &= _is(part, "metric", item.feed.metric)
    found = np.zeros(len(times), np.bool_)
    found[first:last] = hit & item.jump.covers(sizes(part[VALUE_FIELD[item.kind]].to_numpy()))
    return found


def _is(events: pa.Table, name: str, text: str) -> npt.NDArray[np.bool_]:
    column = events[name].combine_chunks()
    code = column.dictionary.index(text).as_py()
    matches: npt.NDArray[np.bool_] = column.indices.fill_null(-1).to_numpy(zero_copy_only=False) == code
    return matches if code >= 0 else np.zeros(len(matches), np.bool_)


def _write(path: Path, kind: str, chunks: Iterator[pa.Table], facts: KindFacts | None) -> None:
    schema = arrow_schema(event_model(kind))
    texts = [item.name for item in schema if pa.types.is_string(item.type)]
    keys = [item.name for item in schema if pa.types.is_dictionary(item.type)]
    encodings = dict.fromkeys(texts, "DELTA_BYTE_ARRAY") | {"event_time": "DELTA_BINARY_PACKED"}
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=keys, column_encoding=encodings) as writer:
        for chunk in chunks:
            if not chunk.num_rows:
                continue
            writer.write_table(chunk.cast(schema), row_group_size=GROUP_ROWS)
            if facts is not None:
                facts.add(chunk)
