"""The rows that everything here is measured on: scores beside labels, times, amounts, entities and segments."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vigil.clock import DAY
from vigil.contracts.keys import ContentHash
from vigil.errors import ContractError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
AnyArray = NDArray[Any]


def _column(name: str, values: ArrayLike, kind: type[np.generic], length: int) -> AnyArray:
    column = np.asarray(values)
    if column.ndim != 1 or len(column) != length:
        raise ContractError(f"{name} has shape {column.shape}, scores have ({length},): give one value for each row")
    converted = column.astype(kind)
    if np.issubdtype(kind, np.floating) and not np.isfinite(converted).all():
        row = int(np.flatnonzero(~np.isfinite(converted))[0])
        raise ContractError(f"{name} of row {row} is {column[row]}: every {name.rstrip('s')} has to be a finite number")
    return converted


def _labels(values: ArrayLike, length: int) -> BoolArray:
    column = _column("labels", values, np.float64, length)
    if wrong := np.flatnonzero((column != 0) & (column != 1)).tolist():
        raise ContractError(f"label of row {wrong[0]} is {column[wrong[0]]:g}: 0 or 1; leave unlabelled rows out")
    return column.astype(np.bool_)


@dataclass(frozen=True, eq=False)
class ScoredRows:
    """Scores (higher is more anomalous) of n rows with what is known of them; every array has shape (n,).

    Times are microseconds since 1970 in UTC, labels 1 (anomalous) or 0, amounts currency units. What is None was not
    given: a metric that needs it says so.
    """

    scores: FloatArray
    event_time: IntArray
    labels: BoolArray | None = None
    amounts: FloatArray | None = None
    entities: AnyArray | None = None
    segments: Mapping[str, AnyArray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        scores = np.asarray(self.scores)
        if scores.ndim != 1:
            raise ContractError(f"scores have shape {scores.shape}: one number for each row")
        length = len(scores)
        set_field = object.__setattr__
        set_field(self, "scores", _column("scores", scores, np.float64, length))
        set_field(self, "event_time", _column("event_time", self.event_time, np.int64, length))
        if self.labels is not None:
            set_field(self, "labels", _labels(self.labels, length))
        if self.amounts is not None:
            set_field(self, "amounts", _column("amounts", self.amounts, np.float64, length))
        for name, values in {"entities": self.entities, **self.segments}.items():
            if values is not None and np.shape(values) != (length,):
                raise ContractError(f"{name} has shape {np.shape(values)}, scores have ({length},)")

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def days(self) -> IntArray:
        """Days since 1970 in UTC."""
        return self.event_time // DAY

    def need_labels(self, purpose: str) -> BoolArray:
        """Return the labels, or raise ContractError saying what they are needed for."""
        if self.labels is None:
            raise ContractError(f"{purpose} needs labels: give them with the scores")
        return self.labels

    def need_amounts(self, purpose: str) -> FloatArray:
        """Return the amounts, or raise ContractError saying what they are needed for."""
        if self.amounts is None:
            raise ContractError(f"{purpose} needs amounts: give them with the scores")
        return self.amounts

    def need_entities(self, purpose: str) -> AnyArray:
        """Return the entity ids, or raise ContractError saying what they are needed for."""
        if self.entities is None:
            raise ContractError(f"{purpose} needs entity ids, such as the card's or the customer's")
        return self.entities

    def segment(self, name: str) -> AnyArray:
        """Return the key of each row in a segmentation, or raise ContractError naming those that there are."""
        if name not in self.segments:
            known = ", ".join(sorted(self.segments)) or "none"
            raise ContractError(f"the rows have no segment {name!r} (known: {known})")
        return self.segments[name]

    def take(self, rows: AnyArray) -> "ScoredRows":
        """Return the rows of a mask or of an index array, in that order."""
        return ScoredRows(
            scores=self.scores[rows],
            event_time=self.event_time[rows],
            labels=None if self.labels is None else self.labels[rows],
            amounts=None if self.amounts is None else self.amounts[rows],
            entities=None if self.entities is None else self.entities[rows],
            segments={name: np.asarray(keys)[rows] for name, keys in self.segments.items()},
        )

    def with_scores(self, scores: ArrayLike) -> "ScoredRows":
        """Return the same rows as another scorer sees them."""
        return replace(self, scores=_column("scores", scores, np.float64, len(self)))

    @property
    def rows_hash(self) -> ContentHash:
        """Hash over everything but the scores: equal for two scorers that were measured on the same rows."""
        digest = hashlib.sha256(f"rows:{len(self)};".encode())
        for column in (self.event_time, self.labels, self.amounts):
            digest.update(b"-" if column is None else np.ascontiguousarray(column).tobytes())
        if self.entities is not None:
            digest.update("\x1f".join(map(str, self.entities.tolist())).encode())
        return ContentHash("sha256:" + digest.hexdigest())


def codes(keys: AnyArray) -> tuple[AnyArray, IntArray]:
    """Return the sorted distinct keys and, for each row, the index of its own."""
    distinct, index = np.unique(np.asarray(keys), return_inverse=True)
    return distinct, index.astype(np.int64)
