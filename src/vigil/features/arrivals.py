"""Events as they arrive, turned into the arrays that the kernel wants: in log order, each once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vigil.contracts.events import Event, Transaction, check_table
from vigil.errors import ContractError
from vigil.features import kernel
from vigil.features.compiler import Program
from vigil.features.fields import FIELDS, KINDS, TRANSACTION, SingleRow, Slice
from vigil.features.language import Entity
from vigil.features.log import EventLog, KeyIndex, entity_key
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


def prepare(program: Program, events: Sequence[Event] | pa.Table) -> Prepared:
    """Return the events, or the rows of a table of transactions, as the kernel wants them.

    Raises ContractError for a kind of event that no feature uses, and for a table that is not one of transactions.
    """
    return _prepare_table(program, events) if isinstance(events, pa.Table) else _prepare_events(program, events)


def event_key(kind: str, event_id: str) -> str:
    """Return the id under which a store remembers an event."""
    return f"{kind}:{event_id}"


def refuse_unused(kinds: Iterable[str]) -> None:
    """Raise ContractError for the first kind of event that no feature uses."""
    for kind in kinds:
        if kind not in KINDS:
            raise ContractError(f"no feature uses a {kind}: one of {', '.join(KINDS)}")


def _prepare_events(program: Program, events: Sequence[Event]) -> Prepared:
    refuse_unused(event.kind for event in events)
    ids = [event_key(event.kind, event.event_id) for event in events]
    given = [SingleRow(event) for event in events]
    kinds = [KINDS.index(event.kind) for event in events]
    order = sorted(range(len(events)), key=lambda k: (given[k].time(), kinds[k], ids[k]))
    kept, places, repeats = _first_of_each(order, ids)
    rows = [given[k] for k in kept]
    fields = [[value(row) for row in rows] for value in (FIELDS[name] for name in program.fields)]
    numbered = {entity.name: _number(entity, rows) for entity in entities_of(program)}
    return Prepared(
        times=np.array([row.time() for row in rows], dtype=np.int64),
        asks=np.array([kinds[k] == TRANSACTION for k in kept], dtype=np.bool_),
        fields=np.array(fields, dtype=np.float64).reshape(len(program.fields), len(rows)),
        ids=[ids[k] for k in kept],
        numbers={name: numbers for name, (numbers, _) in numbered.items()},
        keys={name: keys for name, (_, keys) in numbered.items()},
        places=places,
        repeats=repeats,
    )


def _number(entity: Entity, rows: Sequence[SingleRow]) -> tuple[npt.NDArray[np.int32], list[str]]:
    """Return the number of each row's entity, -1 for none, and the store's keys by number."""
    seen: dict[str, int] = {}
    numbers = np.full(len(rows), -1, dtype=np.int32)
    for k, row in enumerate(rows):
        key = entity_key(row.keys(entity.columns))
        if key is not None:
            numbers[k] = seen.setdefault(key, len(seen))
    return numbers, [store_key(entity, key) for key in seen]


def _prepare_table(program: Program, table: pa.Table) -> Prepared:
    checked = check_table(Transaction, table).combine_chunks().unify_dictionaries()
    ids = [event_key(Transaction.kind, name) for name in checked["event_id"].to_pylist()]
    times = checked["event_time"].cast(pa.int64()).to_numpy()
    kept, places, repeats = _first_of_each(_order(times, ids), ids)
    if not np.array_equal(kept, np.arange(len(ids))):
        checked, times = checked.take(pa.array(kept)), times[kept]
    rows = Slice(TRANSACTION, checked, np.ascontiguousarray(times))
    log = EventLog((rows,), np.arange(len(times)), rows.times)
    indexes = {entity.name: KeyIndex() for entity in entities_of(program)}
    numbers = {entity.name: log.entity_numbers(entity.columns, indexes[entity.name]) for entity in entities_of(program)}
    return Prepared(
        times=rows.times,
        asks=np.ones(len(times), dtype=np.bool_),
        fields=log.chunk(0, len(log)).fields(program.fields),
        ids=[ids[k] for k in kept],
        numbers=numbers,
        keys={entity.name: _keys(entity, indexes[entity.name]) for entity in entities_of(program)},
        places=places,
        repeats=repeats,
    )


def _keys(entity: Entity, index: KeyIndex) -> list[str]:
    return [store_key(entity, key) for key in index.keys.to_pylist()]


def _order(times: Int64s, ids: list[str]) -> list[int]:
    """Return the positions by time, then id; of rows that are alike in both the first comes first."""
    if np.all(times[1:] > times[:-1]):
        return list(range(len(ids)))
    return sorted(range(len(ids)), key=list(zip(times.tolist(), ids, strict=True)).__getitem__)


def _first_of_each(order: Sequence[int], ids: list[str]) -> tuple[list[int], Int64s, npt.NDArray[np.bool_]]:
    """Return the positions in log order without repeated ids, where each position went, and which are repetitions."""
    seen: dict[str, int] = {}
    kept: list[int] = []
    places, repeats = np.empty(len(order), np.int64), np.zeros(len(order), np.bool_)
    for position in order:
        place = seen.setdefault(ids[position], len(kept))
        if place == len(kept):
            kept.append(position)
        else:
            repeats[position] = True
        places[position] = place
    return kept, places, repeats
