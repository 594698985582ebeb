"""What happened at the tills, as plain arrays: the truth, before any feed breaks on its way to us."""

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from vigil.simulate.streams import Ids

NONE = -1
"""No customer, no product, no incident."""


@dataclass
class Ledger:
    """One entry per sale or refund, in no order; the last five columns are numbers of incidents, or NONE."""

    uid: Ids
    time: npt.NDArray[np.int64]
    site: npt.NDArray[np.int32]
    terminal: npt.NDArray[np.int32]
    """Counted over the whole chain."""
    customer: npt.NDArray[np.int32]
    card: npt.NDArray[np.int8]
    """Which of the customer's cards."""
    product: npt.NDArray[np.int32]
    quantity: npt.NDArray[np.int32]
    cents: npt.NDArray[np.int64]
    origin: npt.NDArray[np.int32]
    """Of a refund: position of the sale that it gives back; NONE for a sale."""
    fraud: npt.NDArray[np.int32]
    """Made by a fraud."""
    drift: npt.NDArray[np.int32]
    """Changed by a drift."""
    prevented: npt.NDArray[np.int32]
    """Never happened: it is not in stock, readings or any output."""
    withheld: npt.NDArray[np.int32]
    """Happened, but never arrived."""
    broken: npt.NDArray[np.int32]
    """Arrived with a wrong amount."""

    def __len__(self) -> int:
        return len(self.uid)

    @property
    def happened(self) -> npt.NDArray[np.bool_]:
        """Whether each entry took place."""
        return np.equal(self.prevented, NONE)

    @property
    def is_sale(self) -> npt.NDArray[np.bool_]:
        """Whether each entry is a sale, not a refund."""
        return np.equal(self.origin, NONE)

    @classmethod
    def of(cls, **columns: Any) -> Self:  # noqa: ANN401 - arrays of several types
        """Return a ledger of the given columns; those that are left out are NONE in each entry."""
        rows = len(columns["uid"])
        types = {"uid": np.uint64, "time": np.int64, "cents": np.int64, "card": np.int8}
        complete = {
            field.name: np.asarray(columns.get(field.name, NONE)).astype(types.get(field.name, np.int32))
            for field in fields(cls)
        }
        return cls(**{name: _as_long(column, rows) for name, column in complete.items()})

    @classmethod
    def concatenate(cls, parts: list["Ledger"]) -> "Ledger":
        """Return the entries of all parts in turn; `origin` is left as it is."""
        columns = ([getattr(part, field.name) for part in parts] for field in fields(cls))
        return cls(*(np.concatenate(arrays) for arrays in columns))


def join_sites(ledgers: list[Ledger]) -> Ledger:
    """Return the ledger of the chain: each refund of a site's ledger keeps pointing at its sale."""
    first = np.cumsum([0] + [len(ledger) for ledger in ledgers])
    joined = Ledger.concatenate(ledgers)
    offset = np.repeat(first[:-1], np.diff(first))
    joined.origin = np.where(joined.origin == NONE, NONE, joined.origin + offset).astype(np.int32)
    return joined


def _as_long(column: npt.NDArray[Any], rows: int) -> npt.NDArray[Any]:
    return np.full(rows, column) if column.ndim == 0 else column
