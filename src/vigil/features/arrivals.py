"""Events as they arrive, turned into the arrays that the kernel wants: in log order, each once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vigil.clock import to_micros
from vigil.contracts.events import Event, Transaction, arrow_schema, check_table
from vigil.errors import ContractError
from vigil.features import kernel
from vigil.features.compiler import Program
from vigil.features.fields import KINDS, TRANSACTION, Slice
from vigil.features.log import EventLog, KeyIndex
from vigil.features.states import entities_of, store_key

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Prepared:
    """Events as arrays, in log order, each once."""

    times: Int64s
    asks: npt.NDArray[np.bool_]
    """Whether the event is a transaction."""
    fields: kernel.Floats
    """The program's fields, of shape (fields, events)."""
    ids: list[str]
    """The key of each event in the store."""
    numbers: dict[str, npt.NDArray[np.int32]]
    """For each entity the position of its key in `keys`, -1 where the event does not name it."""
    keys: dict[str, list[str]]
    """The store's keys of each entity."""
    places: Int64s
    """For each event as it was given, its place in the arrays above."""
    repeats: npt.NDArray[np.bool_]
    """For each event as it was given, whether an earlier one has its id."""


@dataclass(frozen=True)
class _Part:
    """Events of one kind, as they were given."""

    kind: int
    table: pa.Table
    positions: Int64s


def prepare(program: Program, events: Sequence[Event] | pa.Table) -> Prepared:
    """Return the events, or the rows of a table of transactions, as the kernel wants them.

    Raises ContractError for a kind of event that no feature uses, and for a table that is not one of transactions.
    """
    parts = _parts_of_table(events) if isinstance(events, pa.Table) else _parts_of_events(events)
    count = sum(len(part.positions) for part in parts)
    times, kinds, ids = np.empty(count, np.int64), np.empty(count, np.int8), [""] * count
    for part in parts:
        times[part.positions] = part.table["event_time"].cast(pa.int64()).to_numpy()
        kinds[part.positions] = part.kind
        for position, name in zip(part.positions.tolist(), part.table["event_id"].to_pylist(), strict=True):
            ids[position] = f"{KINDS[part.kind]}:{name}"
    order = _log_order(times, kinds, ids)
    kept, places, repeats = _first_of_each(order, ids)
    log = _log(parts, kept, times, kinds)
    indexes = {entity.name: KeyIndex() for entity in entities_of(program)}
    return Prepared(
        times=times[kept],
        asks=kinds[kept] == TRANSACTION,
        fields=log.chunk(0, len(log)).fields(program.fields),
        ids=[ids[position] for position in kept],
        numbers={
            entity.name: log.entity_numbers(entity.columns, indexes[entity.name]) for entity in entities_of(program)
        },
        keys={
            entity.name: [store_key(entity, key) for key in indexes[entity.name].keys.to_pylist()]
            for entity in entities_of(program)
        },
        places=places,
        repeats=repeats,
    )


def _parts_of_table(table: pa.Table) -> list[_Part]:
    checked = check_table(Transaction, table).combine_chunks().unify_dictionaries()
    return [_Part(TRANSACTION, checked, np.arange(checked.num_rows))]


def _parts_of_events(events: Sequence[Event]) -> list[_Part]:
    positions: dict[str, list[int]] = {}
    for position, event in enumerate(events):
        positions.setdefault(event.kind, []).append(position)
    if unknown := sorted(set(positions) - set(KINDS)):
        raise ContractError(f"no feature uses a {unknown[0]}: one of {', '.join(KINDS)}")
    return [_part_of_kind(KINDS.index(kind), [events[k] for k in rows], rows) for kind, rows in positions.items()]


def _part_of_kind(kind: int, events: Sequence[Event], positions: list[int]) -> _Part:
    columns = []
    rows = [event.__dict__ for event in events]
    schema = arrow_schema(type(events[0]))
    for column in schema:
        values = [row[column.name] for row in rows]
        if column.name == "event_time":
            columns.append(pa.array([to_micros(value) for value in values], pa.int64()).cast(column.type))
        elif pa.types.is_dictionary(column.type):
            columns.append(pa.array(values, pa.string()).dictionary_encode())
        else:
            columns.append(pa.array(values, column.type))
    return _Part(kind, pa.table(columns, schema=schema), np.array(positions))


def _log_order(times: Int64s, kinds: npt.NDArray[np.int8], ids: list[str]) -> Int64s:
    """Return the positions by time, then kind, then id; of events that are alike in all three the first comes first."""
    order = np.lexsort((kinds, times))
    tied = (times[order[1:]] == times[order[:-1]]) & (kinds[order[1:]] == kinds[order[:-1]])
    if not tied.any():
        return np.asarray(order)
    return np.array(sorted(range(len(ids)), key=lambda k: (times[k], kinds[k], ids[k])), dtype=np.int64)


def _first_of_each(order: Int64s, ids: list[str]) -> tuple[Int64s, Int64s, npt.NDArray[np.bool_]]:
    """Return the positions in log order without repeated ids, where each position went, and which are repetitions."""
    seen: dict[str, int] = {}
    kept: list[int] = []
    places, repeats = np.empty(len(order), np.int64), np.zeros(len(order), np.bool_)
    for position in order.tolist():
        place = seen.setdefault(ids[position], len(kept))
        if place == len(kept):
            kept.append(position)
        else:
            repeats[position] = True
        places[position] = place
    return np.array(kept, dtype=np.int64), places, repeats


def _log(parts: Sequence[_Part], kept: Int64s, times: Int64s, kinds: npt.NDArray[np.int8]) -> EventLog:
    """Return the log of the events at the positions `kept`, which are in log order."""
    slices, places = [], np.empty(len(kept), np.int64)
    first = 0
    for part in sorted(parts, key=lambda part: part.kind):
        mine = np.flatnonzero(kinds[kept] == part.kind)
        rows = np.searchsorted(part.positions, kept[mine])
        is_whole = np.array_equal(rows, np.arange(part.table.num_rows))
        table = part.table if is_whole else part.table.take(pa.array(rows)).combine_chunks()
        slices.append(Slice(part.kind, table, times[kept[mine]]))
        places[mine] = first + np.arange(len(mine))
        first += len(mine)
    return EventLog(tuple(slices), places, times[kept])
