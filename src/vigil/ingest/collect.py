"""The first pass over a file: its rows become events on disk, and each row's fate is written down."""

from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vigil.contracts.events import arrow_schema, event_model
from vigil.ingest.columns import Columns
from vigil.ingest.conversions import Mask
from vigil.ingest.duplicates import IdIndex
from vigil.ingest.faults import EXCLUDED, UNMAPPED, UNREADABLE
from vigil.ingest.feeds import VALUE_FIELD, FeedLog
from vigil.ingest.ledger import ABSENT, ACCEPTED, REJECTED, Fates, Ledger
from vigil.ingest.ledger import EXCLUDED as FATE_EXCLUDED
from vigil.ingest.make import EventMaker, Made, meets
from vigil.ingest.mapping import Mapping
from vigil.ingest.quarantine import Quarantine, Refused, raw_rows
from vigil.ingest.readers import RawBatch
from vigil.ingest.spill import Runs


class Collection:
    """Everything that the first pass leaves in the scratch folder: runs, ids and feeds by kind, and the ledger."""

    def __init__(self, mapping: Mapping, folder: Path, quarantine: Quarantine, now: datetime) -> None:
        self.mapping = mapping
        self.quarantine = quarantine
        labels = [event.label for event in mapping.expanded]
        self._makers = [
            EventMaker(event, mapping, None if event.requires is None else labels.index(event.requires), now)
            for event in mapping.expanded
        ]
        kinds = dict.fromkeys(event.kind for event in mapping.expanded)
        self._schemas = {kind: arrow_schema(event_model(kind)) for kind in kinds}
        self.runs = {kind: Runs(folder / "runs" / kind, self._schemas[kind]) for kind in kinds}
        self.ids = {kind: IdIndex(folder / "ids" / kind) for kind in kinds}
        watched = [kind for kind in kinds if _is_watched(kind, mapping)]
        self.feeds = {kind: FeedLog(folder / "feeds" / kind, kind) for kind in watched}
        self.ledger = Ledger(folder / "ledger", len(self._makers))

    def add(self, batch: RawBatch) -> None:
        """Make and check the events of a batch."""
        columns = Columns(batch, self.mapping.reader.decimal_point)
        excluded, refused = self._exclude(columns)
        fates = np.full((len(columns), len(self._makers)), FATE_EXCLUDED, np.uint8)
        for place, maker in enumerate(self._makers):
            made = maker.make(columns, ~excluded, fates)
            fates[~excluded, place] = made.fates[~excluded]
            refused += made.refused
            self._keep(maker.event.kind, made, (batch.numbers - 1) * len(self._makers) + place)
        unmapped = np.all(fates == ABSENT, axis=1)
        fates[unmapped] = REJECTED
        refused += [_unmapped(columns, np.flatnonzero(unmapped)), _unreadable(batch)]
        self.quarantine.add(refused)
        self.ledger.append(_with_unreadable(batch, fates))

    def remember(self, history: pa.Table) -> None:
        """Judge the feeds together with what an earlier run knew of them; comes before any batch."""
        for log in self.feeds.values():
            log.remember(history)

    def close(self) -> None:
        """End the first pass."""
        self.ledger.close()
        for runs in self.runs.values():
            runs.close()
        for log in self.feeds.values():
            log.close()

    @property
    def order(self) -> dict[str, tuple[int, int]]:
        """By event: how many were out of order, and by how many microseconds the furthest."""
        marks = {maker.event.label: maker.watermarks for maker in self._makers}
        return {label: (mark.out_of_order, mark.furthest_behind) for label, mark in marks.items()}

    def _exclude(self, columns: Columns) -> tuple[Mask, list[Refused]]:
        excluded = np.zeros(len(columns), np.bool_)
        refused = []
        for rule in self.mapping.exclude:
            positions = np.flatnonzero(meets(rule, columns) & ~excluded)
            excluded[positions] = True
            values = columns.original_text(rule.column, pa.array(positions))
            reasons = [f"left out by the mapping: {rule.reason}"] * len(positions)
            rows = columns.batch.numbers[positions]
            refused.append(Refused(None, rule.column, EXCLUDED, rows, values, reasons, raw_rows(columns, positions)))
        return excluded, refused

    def _keep(self, kind: str, made: Made, sequence: npt.NDArray[np.int64]) -> None:
        events = pa.RecordBatch.from_arrays(made.values, schema=_nullable(self._schemas[kind]))
        accepted = made.fates == ACCEPTED
        if not accepted.all():
            events, sequence = events.filter(pa.array(accepted)), sequence[accepted]
        if not len(sequence):
            return
        self.runs[kind].append(events.columns, sequence)
        self.ids[kind].add(events, sequence)
        if kind in self.feeds:
            self.feeds[kind].add(events)


def _nullable(schema: pa.Schema) -> pa.Schema:
    return pa.schema([item.with_nullable(True) for item in schema])


def _is_watched(kind: str, mapping: Mapping) -> bool:
    has_rhythm = mapping.arrivals is not None and kind in mapping.arrivals.kinds
    has_scale = mapping.scale_check is not None and kind in VALUE_FIELD
    return (has_rhythm or has_scale) and "site_id" in arrow_schema(event_model(kind)).names


def _unmapped(columns: Columns, positions: npt.NDArray[np.int64]) -> Refused:
    reasons = ["no event of the mapping takes this row: add one, or an `exclude` that says why it is left out"]
    rows, count = columns.batch.numbers[positions], len(positions)
    return Refused(None, None, UNMAPPED, rows, [None] * count, reasons * count, raw_rows(columns, positions))


def _unreadable(batch: RawBatch) -> Refused:
    items = batch.unreadable
    rows = np.array([item.row for item in items], np.int64)
    texts = [item.text for item in items]
    reasons = [f"the row cannot be read: {item.why}" for item in items]
    return Refused(None, None, UNREADABLE, rows, list(texts), reasons, pa.array(texts, pa.string()))


def _with_unreadable(batch: RawBatch, fates: Fates) -> Fates:
    """Return the fates of the whole stretch, rows that could not be read in their places."""
    if not batch.unreadable:
        return fates
    broken = np.array([item.row for item in batch.unreadable])
    everything = np.concatenate([fates, np.full((len(broken), fates.shape[1]), REJECTED, np.uint8)])
    return np.asarray(everything[np.argsort(np.concatenate([batch.numbers, broken]), kind="stable")])
