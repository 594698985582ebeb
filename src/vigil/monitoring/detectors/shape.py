"""What every detector refuses by name, and its settings: a wrong window is an error, never a quiet «no drift»."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vigil.errors import ContractError
from vigil.monitoring.port import Columns


@dataclass(frozen=True)
class Shape:
    """The columns that a reference has, by kind."""

    numbers: tuple[str, ...]
    categories: tuple[str, ...]
    minimum_rows: int
    """In a window and in a reference."""

    @property
    def names(self) -> tuple[str, ...]:
        """All columns, numbers first."""
        return (*self.numbers, *self.categories)

    def check(self, rows: Columns, what: str) -> None:
        """Raise ContractError naming the first column that is missing, unknown, of another type or length."""
        if len(rows) < self.minimum_rows:
            raise ContractError(f"the {what} has {len(rows)} rows: at least {self.minimum_rows} are needed")
        self._check_names(rows, what)
        for name, values in rows.numbers.items():
            if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub" or values.ndim != 1:
                raise ContractError(f"column {name} of the {what} is not one row of numbers: {_describe(values)}")
        for name, entries in rows.categories.items():
            wrong = next((entry for entry in entries if not (entry is None or isinstance(entry, str))), None)
            if wrong is not None:
                raise ContractError(f"column {name} of the {what} holds {wrong!r}: a category is a text or None")
        lengths = {name: len(column) for name, column in rows.numbers.items()}
        lengths |= {name: len(column) for name, column in rows.categories.items()}
        for name, length in lengths.items():
            if length != len(rows):
                raise ContractError(f"column {name} of the {what} has {length} entries for {len(rows)} times")

    def _check_names(self, rows: Columns, what: str) -> None:
        for name in self.numbers:
            if name in rows.categories:
                raise ContractError(f"column {name} of the {what} is a category: the reference has numbers")
        for name in self.categories:
            if name in rows.numbers:
                raise ContractError(f"column {name} of the {what} is a number: the reference has categories")
        given = {*rows.numbers, *rows.categories}
        if missing := [name for name in self.names if name not in given]:
            raise ContractError(f"the {what} lacks the column {missing[0]} ({len(missing)} of {len(self.names)} lack)")
        if unknown := sorted(given - set(self.names)):
            raise ContractError(f"the {what} has a column {unknown[0]} that the reference lacks: leave it out")


def shape_of(reference: Columns, minimum_rows: int) -> Shape:
    """Return the shape of a reference, or raise ContractError if it cannot serve as one."""
    shape = Shape(tuple(reference.numbers), tuple(reference.categories), minimum_rows)
    if not shape.names:
        raise ContractError("the reference has no columns: there is nothing to compare")
    if both := sorted(set(shape.numbers) & set(shape.categories)):
        raise ContractError(f"column {both[0]} of the reference is both a number and a category: rename one")
    shape.check(reference, "reference")
    return shape


def require_kind(reference: Columns, detector: str, kind: str) -> None:
    """Raise ContractError naming a column of a kind that the detector does not compare."""
    others: Sequence[str] = tuple(reference.categories if kind == "numbers" else reference.numbers)
    if others:
        raise ContractError(
            f"{detector} compares {kind} only, and {others[0]} is none: choose tabular, or leave it out"
        )


def is_missing(values: Sequence[str | None]) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """Return where a category is missing."""
    return np.fromiter((value is None for value in values), np.bool_, len(values))


def _describe(values: object) -> str:
    if isinstance(values, np.ndarray):
        return f"{values.dtype} of shape {values.shape}"
    return type(values).__name__
