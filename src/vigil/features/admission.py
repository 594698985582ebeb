"""Which new events join the log: each id once, and none from before the settled time."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vigil.features.fields import KINDS

Tables = dict[str, pa.Table]


@dataclass(frozen=True)
class Admission:
    """New events, sorted out."""

    events: Tables
    """Old and new events by kind, each once."""
    accepted: int
    duplicates: int
    """Events that were there already, with the same contents."""
    late: Tables
    """Events before the settled time, by kind."""
    conflicting: Tables
    """Events that repeat an id with other contents, by kind; the first one stays."""


def admit(known: Mapping[str, pa.Table], fresh: Mapping[str, pa.Table], settled: int) -> Admission:
    """Return `known` joined by those of `fresh` that are new and not before `settled` (microseconds).

    Kinds that no feature uses are left out.
    """
    admission = Admission(dict(known), 0, 0, {}, {})
    for kind in (name for name in KINDS if name in fresh):
        admission = _admit_kind(admission, kind, fresh[kind], settled)
    return admission


def _admit_kind(so_far: Admission, kind: str, fresh: pa.Table, settled: int) -> Admission:
    is_late = fresh["event_time"].cast(pa.int64()).to_numpy() < settled
    late, fresh = _select(fresh, is_late), _select(fresh, ~is_late)
    known = so_far.events.get(kind, fresh.slice(0, 0))
    both = pa.concat_tables([known, fresh]).unify_dictionaries()
    first = _first_of_same_id(both["event_id"])
    repeated = np.flatnonzero(first < np.arange(len(first)))
    same = _same_rows(both.take(pa.array(repeated)), both.take(pa.array(first[repeated])))
    kept = np.ones(len(first), dtype=bool)
    kept[repeated] = False
    conflicting = both.take(pa.array(repeated[~same]))
    return Admission(
        events={**so_far.events, kind: _select(both, kept)},
        accepted=so_far.accepted + int(kept.sum()) - known.num_rows,
        duplicates=so_far.duplicates + int(same.sum()),
        late={**so_far.late, kind: late} if late.num_rows else so_far.late,
        conflicting={**so_far.conflicting, kind: conflicting} if conflicting.num_rows else so_far.conflicting,
    )


def _select(table: pa.Table, mask: npt.NDArray[np.bool_]) -> pa.Table:
    return table if mask.all() else table.filter(pa.array(mask))


def _first_of_same_id(ids: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Return for each row the position of the first row with its id."""
    codes = ids.combine_chunks().dictionary_encode().indices.to_numpy()
    _, first = np.unique(codes, return_index=True)
    return np.asarray(first[codes])


def _same_rows(left: pa.Table, right: pa.Table) -> npt.NDArray[np.bool_]:
    same = np.ones(left.num_rows, dtype=bool)
    for name in left.column_names:
        a, b = (_plain(table[name]) for table in (left, right))
        equal = pc.fill_null(pc.equal(a, b), False)
        both_null = pc.and_(pc.is_null(a), pc.is_null(b))
        same &= pc.or_(equal, both_null).to_numpy()
    return same


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
