"""Decisions of one model in intervals of wall-clock time: closed ones are kept for a while, and survive a restart.

A closed slot is in the file before anybody is told of it, so that no slot is ever told twice with other counts.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson

from vigil.monitoring.samples import PairCounts, Slot
from vigil.monitoring.service.payloads import Judgement, Row
from vigil.monitoring.service.settings import ServiceSettings
from vigil.monitoring.service.tally import Mark, Tally

Closed = tuple[int, bytes]
"""Number of a slot, and the slot as JSON."""


class SlotBook:
    """The slots of one model."""

    def __init__(self, path: Path, settings: ServiceSettings) -> None:
        self._path, self._seconds = path, settings.slot_seconds
        self._capacity = max(int(settings.slot_hours * 3600 / settings.slot_seconds), 1)
        self._recent_capacity, self._awaited_capacity = settings.recent_decisions, settings.awaited_verdicts
        self.closed: deque[Closed] = deque(_read(path), maxlen=self._capacity)
        self._rewrite()
        self.last = self.closed[-1][0] if self.closed else -1
        """Number of the last slot that was closed; those up to `until` that are missing had no decision."""
        self.until = self.last
        self._open: Tally | None = None
        self._compared_slots = int(settings.compared_seconds / settings.slot_seconds)
        self._with_pairs: deque[Slot] = deque()
        self._pairs_are_new = False
        self._recent: OrderedDict[str, dict[str, Mark]] = OrderedDict()
        self._awaited: OrderedDict[str, dict[str, bool]] = OrderedDict()

    def decided(self, rows: Iterable[tuple[Row, Mark]], at: float) -> None:
        """Count decisions, and compare them with those of other revisions on the same events."""
        tally = self._tally(at)
        for row, mark in rows:
            tally.decided(mark)
            known = self._recent.pop(row.event_id, {})
            for revision, other in known.items():
                if revision != mark.revision:
                    tally.compared(mark, other)
            known[mark.revision] = mark
            self._recent[row.event_id] = known
            self._await(row.event_id, known)
        _bound(self._recent, self._recent_capacity)
        _bound(self._awaited, self._awaited_capacity)

    def judged(self, judgements: Sequence[Judgement], at: float) -> None:
        """Count verdicts on flagged decisions; the first one of an event counts."""
        tally = self._tally(at)
        for judgement in judgements:
            if flags := self._awaited.pop(judgement.event_id, None):
                tally.judged(flags, judgement.is_fraud)

    def close_until(self, now: float) -> None:
        """Close the open slot if it is over."""
        number = int(now // self._seconds)
        if self._open is not None and self._open.number < number:
            self._close(self._open)
            self._open = None
        self.until = max(self.until, number - 1)

    def pairs_if_new(self) -> dict[str, PairCounts] | None:
        """Return the pairs of the last slots by `ONE|OTHER` in sum; None if no slot was closed since the last call."""
        if not self._pairs_are_new:
            return None
        self._pairs_are_new = False
        together = Tally(0)
        for slot in self._with_pairs:
            together.add(slot)
        return dict(together.slot(self._seconds).pairs)

    def state(self) -> dict[str, object]:
        """Return what is not in the file of closed slots."""
        left = None if self._open is None else self._open.slot(self._seconds).model_dump(mode="json")
        return {"open": left, "awaited": dict(self._awaited)}

    def restore(self, state: dict[str, object]) -> None:
        """Go on from a state; an interval that was closed after it was written is not counted again."""
        awaited = state["awaited"]
        self._awaited = OrderedDict(awaited) if isinstance(awaited, dict) else OrderedDict()
        if state["open"] is not None:
            left = Slot.model_validate(state["open"])
            if left.number > self.last and left.seconds == self._seconds:
                self._open = Tally(left.number)
                self._open.add(left)

    def _await(self, event_id: str, known: dict[str, Mark]) -> None:
        if event_id in self._awaited or any(mark.flagged for mark in known.values()):
            flags = self._awaited.setdefault(event_id, {})
            flags.update({revision: mark.flagged for revision, mark in known.items()})

    def _tally(self, at: float) -> Tally:
        """Return the open slot of that moment; a clock that was put back changes nothing that is closed."""
        number = max(int(at // self._seconds), self.until + 1, self._open.number if self._open else 0)
        if self._open is not None and self._open.number < number:
            self._close(self._open)
            self._open = None
        if self._open is None:
            self._open = Tally(number)
        return self._open

    def _close(self, tally: Tally) -> None:
        slot = tally.slot(self._seconds)
        content = slot.model_dump_json(exclude_defaults=True).encode()
        self._note_pairs(slot)
        with self._path.open("ab") as file:
            file.write(content + b"\n")
        self.closed.append((tally.number, content))
        self.last = tally.number
        self.until = max(self.until, tally.number)
        self._lines += 1
        if self._lines > 2 * self._capacity:
            self._rewrite()

    def _note_pairs(self, slot: Slot) -> None:
        oldest = slot.number - self._compared_slots
        while self._with_pairs and self._with_pairs[0].number < oldest:
            self._with_pairs.popleft()
        if slot.pairs:
            self._with_pairs.append(slot.model_copy(update={"arms": {}}))
        self._pairs_are_new = True

    def _rewrite(self) -> None:
        """Leave only what is kept in the file, and no line that a crash cut off."""
        draft = self._path.with_suffix(".tmp")
        draft.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(b"".join(line + b"\n" for _, line in self.closed))
        draft.replace(self._path)
        self._lines = len(self.closed)


def slots_after(closed: Sequence[Closed], number: int, limit: int) -> bytes:
    """Return the closed slots with a higher number, oldest first, as a JSON list."""
    chosen = [content for found, content in closed if found > number]
    return b"[" + b",".join(chosen[:limit]) + b"]"


def _read(path: Path) -> list[Closed]:
    """Return the slots in a file; a line that a crash cut off is left out."""
    if not path.exists():
        return []
    found = []
    for line in path.read_bytes().split(b"\n"):
        try:
            found.append((int(orjson.loads(line)["number"]), line))
        except (orjson.JSONDecodeError, KeyError, TypeError):
            continue
    return found


def _bound(memory: OrderedDict[str, dict[str, Any]], capacity: int) -> None:
    while len(memory) > capacity:
        memory.popitem(last=False)
