"""Decisions on their way into windows: ordered by event time, held until nothing earlier is expected."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vigil.clock import HOUR, SECOND
from vigil.errors import ContractError
from vigil.monitoring.samples import ScoredBatch
from vigil.monitoring.watch.packing import pack, unpack
from vigil.monitoring.watch.settings import WatchSettings

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rows:
    """n decisions as the watch needs them."""

    ids: list[str]
    time: NDArray[np.int64]
    sites: list[str]
    values: FloatArray
    """(n, features); no columns where the answers carried no vectors."""
    score: FloatArray
    flagged: NDArray[np.bool_]
    members: Mapping[str, FloatArray]
    fields: Mapping[str, Sequence[Any]]

    def __len__(self) -> int:
        return len(self.time)

    def take(self, chosen: NDArray[np.int64]) -> "Rows":
        """Return the rows of an index array, in that order."""
        return Rows(
            ids=[self.ids[k] for k in chosen],
            time=self.time[chosen],
            sites=[self.sites[k] for k in chosen],
            values=self.values[chosen],
            score=self.score[chosen],
            flagged=self.flagged[chosen],
            members={name: level[chosen] for name, level in self.members.items()},
            fields={name: [entries[k] for k in chosen] for name, entries in self.fields.items()},
        )

    def slice(self, start: int, stop: int) -> "Rows":
        """Return the rows from `start` up to `stop`."""
        return self.take(np.arange(start, stop))

    def snapshot(self) -> dict[str, Any]:
        """Return the rows as a JSON document."""
        return {
            "ids": self.ids,
            "sites": self.sites,
            **{name: pack(getattr(self, name)) for name in _ARRAYS},
            "members": {name: pack(level) for name, level in self.members.items()},
            "fields": {name: list(entries) for name, entries in self.fields.items()},
        }

    @classmethod
    def restored(cls, state: dict[str, Any]) -> "Rows":
        """Return the rows of a snapshot."""
        return cls(
            ids=list(state["ids"]),
            sites=list(state["sites"]),
            **{name: unpack(state[name]) for name in _ARRAYS},
            members={name: unpack(level) for name, level in state["members"].items()},
            fields=state["fields"],
        )


_ARRAYS = ("time", "values", "score", "flagged")


def read_batch(batch: ScoredBatch, features: tuple[str, ...]) -> Rows:
    """Return a batch's rows; vectors of other features than the reference's are refused."""
    if batch.names and batch.names != features:
        odd = sorted(set(batch.names) ^ set(features))
        raise ContractError(
            f"decisions of {batch.served.revision} carry other features than the reference of its bundle "
            f"({', '.join(odd[:3]) or 'in another order'}): watch them against their own bundle"
        )
    width = len(features) if batch.names else 0
    return Rows(
        ids=list(batch.event_ids),
        time=np.asarray(batch.event_time, dtype=np.int64),
        sites=list(batch.sites),
        values=np.asarray(batch.values, dtype=np.float64).reshape(len(batch), -1)[:, :width],
        score=np.asarray(batch.score, dtype=np.float64),
        flagged=np.asarray(batch.flagged, dtype=np.bool_),
        members={name: np.asarray(level, np.float64) for name, level in batch.levels.items()},
        fields={name: [_plain(entry) for entry in entries] for name, entries in batch.fields.items()},
    )


def _plain(entry: object) -> object:
    """Return a raw entry as a JSON scalar; NaN is a missing value as well."""
    if isinstance(entry, float | np.floating):
        return float(entry) if np.isfinite(entry) else None
    if isinstance(entry, bool | np.bool_):
        return bool(entry)
    if isinstance(entry, int | np.integer):
        return int(entry)
    return None if entry is None else str(entry)


def join(parts: Sequence[Rows]) -> Rows:
    """Return the rows of all parts; a member, field or vector that a part lacks is missing there."""
    members = sorted({name for part in parts for name in part.members})
    fields = sorted({name for part in parts for name in part.fields})
    width = max(part.values.shape[1] for part in parts)
    return Rows(
        ids=[one for part in parts for one in part.ids],
        time=np.concatenate([part.time for part in parts]),
        sites=[site for part in parts for site in part.sites],
        values=np.concatenate([_wide(part.values, width) for part in parts]),
        score=np.concatenate([part.score for part in parts]),
        flagged=np.concatenate([part.flagged for part in parts]),
        members={
            name: np.concatenate([part.members.get(name, np.full(len(part), np.nan)) for part in parts])
            for name in members
        },
        fields={name: [e for part in parts for e in part.fields.get(name, [None] * len(part))] for name in fields},
    )


def _wide(values: FloatArray, width: int) -> FloatArray:
    return values if values.shape[1] == width else np.full((len(values), width), np.nan)


class Queue:
    """Rows that wait for their window."""

    def __init__(self, settings: WatchSettings) -> None:
        self._settings = settings
        self.waiting: Rows | None = None
        self.newest = 0
        self.closed = 0
        """Event time of the last row that is in a window."""
        self.late = 0

    def add(self, rows: Rows) -> None:
        """Take rows in any order. One that is later than allowed counts as late, and is judged with the next window."""
        if not len(rows):
            return
        self.late += int((rows.time < self.closed).sum())
        self.newest = max(self.newest, int(rows.time.max()))
        joined = rows if self.waiting is None else join([self.waiting, rows])
        self.waiting = joined.take(np.lexsort((np.array(joined.ids), joined.time)).astype(np.int64))

    def advance(self, now: int) -> None:
        """Know that it is `now`, though no decision says so."""
        self.newest = max(self.newest, now)

    def windows(self) -> list[Rows]:
        """Return the windows that are complete, in order, and forget them."""
        found: list[Rows] = []
        while (size := self._next_size()) and self.waiting is not None:
            window = self.waiting.slice(0, size)
            rest = self.waiting.slice(size, len(self.waiting))
            self.waiting = rest if len(rest) else None
            self.closed = max(self.closed, int(window.time[-1]))
            found.append(window)
        return found

    def _next_size(self) -> int:
        """Return the number of rows of the next complete window, 0 if it is not complete."""
        if self.waiting is None:
            return 0
        settings, time = self._settings, self.waiting.time
        settled = self.newest - int(settings.lateness_seconds * SECOND)
        ready = int(np.searchsorted(time, settled, side="right"))
        end = int(time[0]) + int(settings.window_hours * HOUR)
        within = min(int(np.searchsorted(time, end, side="right")), ready)
        if min(within, ready) >= settings.window_rows:
            return settings.window_rows
        if settled <= end:
            return 0
        return max(within, settings.minimum_rows) if ready >= settings.minimum_rows else 0

    def snapshot(self) -> dict[str, Any]:
        """Return the state as a JSON document."""
        waiting = None if self.waiting is None else self.waiting.snapshot()
        return {"waiting": waiting, "newest": self.newest, "closed": self.closed, "late": self.late}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        self.waiting = None if state["waiting"] is None else Rows.restored(state["waiting"])
        self.newest, self.closed, self.late = state["newest"], state["closed"], state["late"]
