"""A second look at the source for the raw rows of events that only the whole file could refuse."""

import math

import numpy as np
import numpy.typing as npt

from vigil.ingest.columns import Columns
from vigil.ingest.faults import CONFLICT as CONFLICT_RULE
from vigil.ingest.faults import DUPLICATE as DUPLICATE_RULE
from vigil.ingest.faults import ORPHAN
from vigil.ingest.faults import UNIT_JUMP as JUMP_RULE
from vigil.ingest.feeds import VALUE_FIELD
from vigil.ingest.ledger import CONFLICT, DEFERRED, DUPLICATE, ORPHANED, UNIT_JUMP, Ledger
from vigil.ingest.mapping import EventMapping, Mapping
from vigil.ingest.publish import FeedJump
from vigil.ingest.quarantine import Quarantine, Refused, original_values, raw_rows, sentences
from vigil.ingest.readers import RawBatch, Source

_RULES = {DUPLICATE: DUPLICATE_RULE, CONFLICT: CONFLICT_RULE, UNIT_JUMP: JUMP_RULE, ORPHANED: ORPHAN}


def quarantine_deferred(
    source: Source, mapping: Mapping, ledger: Ledger, jumps: list[FeedJump], quarantine: Quarantine
) -> None:
    """Write what the ledger refuses by a deferred rule into the quarantine; the file is read again if there is any."""
    pending = _rows_with_deferred(ledger)
    if not pending:
        return
    events = mapping.expanded
    for batch in source.batches():
        if not len(batch.numbers):
            continue
        first, last = int(batch.numbers[0]), int(batch.numbers[-1])
        if any(start <= last and end >= first for start, end in pending):
            fates = ledger.fates.reshape(-1, ledger.events)[batch.numbers - 1]
            quarantine.add(_refused(batch, mapping, fates, (events, ledger, jumps)))
        if batch.last_row >= pending[-1][1]:
            break


def _rows_with_deferred(ledger: Ledger) -> list[tuple[int, int]]:
    """Return first and last row with a deferred refusal, for each stretch of the ledger that has any."""
    found = []
    for start, fates in ledger.by_row():
        rows = np.flatnonzero((fates >= min(DEFERRED)).any(axis=1))
        if len(rows):
            found.append((start + int(rows[0]), start + int(rows[-1])))
    return found


def _refused(
    batch: RawBatch,
    mapping: Mapping,
    fates: npt.NDArray[np.uint8],
    context: tuple[tuple[EventMapping, ...], Ledger, list[FeedJump]],
) -> list[Refused]:
    events, ledger, jumps = context
    columns = Columns(batch, mapping.reader.decimal_point)
    found = []
    for index, event in enumerate(events):
        for fate, rule in _RULES.items():
            positions = np.flatnonzero(fates[:, index] == fate)
            if not len(positions):
                continue
            rows = batch.numbers[positions]
            origins = ledger.origins[(rows - 1) * ledger.events + index].tolist()
            field = VALUE_FIELD[event.kind] if fate == UNIT_JUMP else "event_id"
            column, values = original_values(event, field, columns, positions)
            reasons = sentences((field, column), values, [_problem(fate, event, origin, jumps) for origin in origins])
            found.append(Refused(event.label, field, rule, rows, values, reasons, raw_rows(columns, positions)))
    return found


def _problem(fate: int, event: EventMapping, origin: int, jumps: list[FeedJump]) -> str:
    if fate == ORPHANED:
        return f"the {event.requires} of this row was quarantined"
    if fate == DUPLICATE:
        return f"row {origin} is the same event"
    if fate == CONFLICT:
        return f"row {origin} has the same id and other contents: make the id unique, or correct one of the rows"
    return f"{jump_text(jumps[origin])}: if the unit changed for good, set scale in the mapping for the rows from here"


def jump_text(item: FeedJump) -> str:
    """Return the jump as a clause: which feed, and by how much."""
    ratio = item.jump.ratio
    size = f"{_rounded(ratio)} times larger" if ratio > 1 else f"{_rounded(1 / ratio)} times smaller"
    name = VALUE_FIELD[item.kind] if item.feed.metric == item.kind else item.feed.metric
    return f"the values of {name} of site {item.feed.site_id} are typically {size} than before"


def _rounded(ratio: float) -> str:
    digits = 1 - math.floor(math.log10(ratio))
    return f"{round(ratio, digits):,.{max(digits, 0)}f}"
