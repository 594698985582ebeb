"""One event of a mapping, made of a batch of rows and checked as far as a row can tell about itself."""

from dataclasses import dataclass
from datetime import datetime
from itertools import repeat

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vigil.contracts.events import arrow_schema
from vigil.ingest.columns import Columns
from vigil.ingest.conversions import Mask, as_number, as_text, to_mask
from vigil.ingest.expressions import evaluate
from vigil.ingest.faults import LATE, ORPHAN, Fault
from vigil.ingest.ledger import ABSENT, ACCEPTED, REJECTED, Fates
from vigil.ingest.mapping import Condition, EventMapping, Mapping
from vigil.ingest.order import Watermarks
from vigil.ingest.quarantine import Refused, original_values, raw_rows, sentences
from vigil.ingest.rules import value_rules
from vigil.ingest.times import evaluate_time
from vigil.ingest.units import duration_text


@dataclass(frozen=True)
class Made:
    """The columns of an event in the order of its schema, one entry a row; the fate of each row; what was refused."""

    values: list[pa.Array]
    fates: Fates
    refused: list[Refused]


class EventMaker:
    """Makes one event of a mapping; `requires` is the place of the event that must be accepted first."""

    def __init__(self, event: EventMapping, mapping: Mapping, requires: int | None, now: datetime) -> None:
        self.event = event
        self.schema = arrow_schema(event.model)
        self.watermarks = Watermarks(mapping.limits.order_by)
        self._mapping = mapping
        self._requires = requires
        self._rules = value_rules(event, mapping.limits, now)

    def make(self, columns: Columns, eligible: Mask, earlier: Fates) -> Made:
        """Return the events of the `eligible` rows; `earlier` are the fates so far, of shape (rows, events)."""
        present = eligible & self._present(columns)
        values, faults = self._evaluate(columns)
        faults += self._rules.faults(values)
        faults += self._orphans(earlier)
        faults += self._late(columns, values["event_time"], present & ~_any(faults, len(columns)))
        refused, bad = self._refuse(columns, faults, present)
        absent = {item.name: pa.nulls(len(columns), item.type) for item in self.schema if item.name not in values}
        ordered = [(values | absent)[item.name] for item in self.schema]
        fates = np.where(present, np.where(bad, REJECTED, ACCEPTED), ABSENT).astype(np.uint8)
        return Made(ordered, fates, refused)

    def _present(self, columns: Columns) -> Mask:
        present = np.ones(len(columns), np.bool_)
        for condition in self.event.where:
            present &= meets(condition, columns)
        if self.event.absent_if_null is not None:
            present &= to_mask(columns.batch.table.column(self.event.absent_if_null).is_valid())
        return present

    def _evaluate(self, columns: Columns) -> tuple[dict[str, pa.Array], list[Fault]]:
        times = evaluate_time(self.event.time, self._mapping.time_zone, columns)
        values: dict[str, pa.Array] = {"event_time": times.moments, "utc_offset_minutes": times.offsets}
        faults = list(times.faults)
        for name, source in self.event.sources.items():
            found = evaluate(name, source, self.schema.field(name).type, columns)
            values[name] = pc.coalesce(found.values, values[name]) if name in values else found.values
            faults += found.faults
        return values, faults

    def _orphans(self, earlier: Fates) -> list[Fault]:
        if self._requires is None:
            return []
        missing = earlier[:, self._requires] != ACCEPTED
        return [Fault("event_id", ORPHAN, missing, f"the {self.event.requires} of this row was quarantined")]

    def _late(self, columns: Columns, times: pa.Array, counted: Mask) -> list[Fault]:
        lag = self.watermarks.lag(columns, pc.fill_null(times.cast(pa.int64()), 0).to_numpy(), counted)
        allowed = self._mapping.limits.lateness
        if allowed is None or int(lag.max(initial=0)) <= allowed:
            return []
        problem = (
            f"more than {duration_text(allowed)} older than a row before it: sort the file, or raise limits.lateness"
        )
        return [Fault("event_time", LATE, lag > allowed, problem)]

    def _refuse(self, columns: Columns, faults: list[Fault], present: Mask) -> tuple[list[Refused], Mask]:
        """Return each refused event under the first rule that it broke, and which rows were refused."""
        refused, bad = [], np.zeros(len(columns), np.bool_)
        for fault in faults:
            positions = np.flatnonzero(fault.rows & present & ~bad)
            if len(positions):
                bad[positions] = True
                refused.append(self._refused(columns, fault, positions))
        return refused, bad

    def _refused(self, columns: Columns, fault: Fault, positions: npt.NDArray[np.int64]) -> Refused:
        column, values = original_values(self.event, fault.field, columns, positions)
        reasons = sentences((fault.field, column), values, repeat(fault.sentence))
        rows, raw = columns.batch.numbers[positions], raw_rows(columns, positions)
        return Refused(self.event.label, fault.field, fault.rule, rows, values, reasons, raw)


def _any(faults: list[Fault], count: int) -> Mask:
    bad = np.zeros(count, np.bool_)
    for fault in faults:
        bad |= fault.rows
    return bad


def meets(condition: Condition, columns: Columns) -> Mask:
    """Return which rows meet a condition of the mapping."""
    values = columns.get(condition.column)
    met = np.ones(len(columns), np.bool_)
    if condition.one_of is not None:
        met &= to_mask(pc.is_in(as_text(values), pa.array(condition.one_of)))
    if condition.is_null is not None:
        met &= to_mask(values.is_null()) == condition.is_null
    if condition.above is not None:
        met &= to_mask(pc.greater(as_number(values, columns.decimal_point)[0], condition.above))
    if condition.below is not None:
        met &= to_mask(pc.less(as_number(values, columns.decimal_point)[0], condition.below))
    return met
