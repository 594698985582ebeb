"""What a screen found."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Finding:
    """Rows that one rule wants left out: their numbers, ascending, and for each the number of its text."""

    rule: str
    rows: NDArray[np.int64]
    texts: tuple[str, ...]
    codes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def among(self, rows: NDArray[np.int64]) -> "Finding":
        """Return the finding in terms of the rows that `rows` was a selection of."""
        return Finding(self.rule, rows[self.rows], self.texts, self.codes)


def one_text(rule: str, mask: NDArray[np.bool_], text: str) -> Finding:
    """Return the rows of the mask, all for the same reason."""
    rows = np.flatnonzero(mask)
    return Finding(rule, rows, (text,), np.zeros(len(rows), dtype=np.int64))


def by_group(rule: str, mask: NDArray[np.bool_], group: NDArray[np.int64], texts: dict[int, str]) -> Finding:
    """Return the rows of the mask, each with the text of its group."""
    rows = np.flatnonzero(mask)
    numbers = np.array(sorted(texts), dtype=np.int64)
    codes = np.searchsorted(numbers, group[rows])
    return Finding(rule, rows, tuple(texts[int(number)] for number in numbers), codes)
