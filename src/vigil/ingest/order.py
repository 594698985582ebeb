"""The order of times: how far an event is behind the latest one before it."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from vigil.ingest.columns import Columns
from vigil.ingest.conversions import Mask, as_text

Micros = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int64]
_NEVER = np.iinfo(np.int64).min // 2


@dataclass
class Codes:
    """Numbers for texts, in the order in which they first appear."""

    texts: list[str] = field(default_factory=list)
    _known: dict[str, int] = field(default_factory=dict)

    def encode(self, keys: pa.Array) -> Numbers:
        """Return the number of each text of a dictionary column; null counts as empty."""
        numbers = self.encode_texts(keys.dictionary.to_pylist())
        if keys.null_count:
            numbers = np.append(numbers, self.number(""))
        indices: Numbers = pc.fill_null(keys.indices.cast(pa.int64()), len(numbers) - 1).to_numpy(zero_copy_only=False)
        return numbers[indices]

    def encode_texts(self, texts: list[str]) -> Numbers:
        """Return the number of each text."""
        known = self._known
        return np.array([known[text] if text in known else self.number(text) for text in texts], np.int64)

    def number(self, text: str) -> int:
        """Return the number of a text, a new one if it has none."""
        if text not in self._known:
            self._known[text] = len(self.texts)
            self.texts.append(text)
        return self._known[text]

    def find(self, text: str) -> int | None:
        """Return the number of a text if it has one."""
        return self._known.get(text)


@dataclass
class Watermarks:
    """The latest time so far, within each value of some columns (or of all rows, if there are none)."""

    order_by: tuple[str, ...]
    out_of_order: int = 0
    furthest_behind: int = 0
    _groups: Codes = field(default_factory=Codes)
    _latest: Micros = field(default_factory=lambda: np.empty(0, np.int64))

    def lag(self, columns: Columns, times: Micros, counted: Mask) -> Micros:
        """Return how far each event is behind the latest before it, else 0; events not `counted` move nothing."""
        trusted = np.where(counted, times, _NEVER)
        before = self._before(columns, trusted)
        lag = np.where(counted & (before > times), before - times, 0)
        self.out_of_order += int(np.count_nonzero(lag))
        self.furthest_behind = max(self.furthest_behind, int(lag.max(initial=0)))
        return lag

    def _before(self, columns: Columns, times: Micros) -> Micros:
        groups = self._group_numbers(columns)
        unseen = len(self._groups.texts) - len(self._latest)
        self._latest = np.append(self._latest, np.full(unseen, _NEVER))
        if not self.order_by:
            highest = np.maximum.accumulate(np.append(self._latest[:1], times))
            self._latest[:1] = highest[-1]
            return highest[:-1]
        running = pd.Series(times).groupby(groups).cummax()
        shifted: Micros = running.groupby(groups).shift(fill_value=_NEVER).to_numpy()
        before = np.maximum(shifted, self._latest[groups])
        np.maximum.at(self._latest, groups, times)
        return before

    def _group_numbers(self, columns: Columns) -> Numbers:
        if not self.order_by:
            self._groups.number("")
            return np.empty(0, np.int64)
        if len(self.order_by) == 1:
            return self._groups.encode(columns.key(self.order_by[0]))
        parts = [pc.fill_null(as_text(columns.get(name)), "") for name in self.order_by]
        return self._groups.encode(pc.binary_join_element_wise(*parts, "\x1f").dictionary_encode())
