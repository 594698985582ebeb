"""The contract of every member: what it is fitted on, what it sees and what it returns."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from vigil.errors import ContractError
from vigil.members.files import Files, read_arrays, read_json, write_arrays, write_json

Matrix = NDArray[np.float32]
Scores = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]
Facts = dict[str, Any]

FRAUD, LEGITIMATE, UNKNOWN = 1, 0, -1
"""The labels of a training row."""

HEADER, ARRAYS = "member.json", "arrays.npz"
_FORMAT = 1


@dataclass(frozen=True, eq=False)
class FeatureMatrix:
    """Finite feature values, one row per event: float32, C-contiguous, (rows, features), and the features' names."""

    values: Matrix
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_shape(self.values, self.names)
        if not np.isfinite(self.values).all():
            row, column = np.argwhere(~np.isfinite(self.values))[0]
            raise ContractError(
                f"feature {self.names[column]} of row {row} is {self.values[row, column]}: members take finite values "
                "only, so replace it by the feature's default"
            )

    def __len__(self) -> int:
        return len(self.values)

    def select(self, names: tuple[str, ...]) -> Matrix:
        """Return the columns of `names` in that order, (rows, names); the values themselves if nothing differs."""
        if names == self.names:
            return self.values
        taken: Matrix = np.take(self.values, _positions(self.names, names), axis=1)
        return taken


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """What members are fitted on: a matrix and, for each row, its event time, its label and (optionally) its weight.

    `times` are int64 microseconds since 1970; `labels` are int8: 1 fraud, 0 legitimate, -1 unknown. `weights` are what
    a mistake on the row costs, relative to others. `groups` names sets of features that settings may ask for.
    """

    matrix: FeatureMatrix
    times: NDArray[np.int64]
    labels: NDArray[np.int8]
    weights: NDArray[np.float32] | None = None
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_column("times", self.times, np.int64, len(self.matrix))
        _check_column("labels", self.labels, np.int8, len(self.matrix))
        if (wrong := np.flatnonzero((self.labels < UNKNOWN) | (self.labels > FRAUD))).size:
            found = self.labels[wrong[0]]
            raise ContractError(f"label of row {wrong[0]} is {found}: 1 is fraud, 0 legitimate, -1 unknown")
        if self.weights is not None:
            _check_column("weights", self.weights, np.float32, len(self.matrix))
            if (wrong := np.flatnonzero(~(np.isfinite(self.weights) & (self.weights > 0)))).size:
                raise ContractError(f"weight of row {wrong[0]} is {self.weights[wrong[0]]}: weights are positive")

    def __len__(self) -> int:
        return len(self.matrix)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_] | slice) -> "TrainingRows":
        """Return the rows that an index, a mask or a slice selects."""
        return TrainingRows(
            matrix=FeatureMatrix(np.ascontiguousarray(self.matrix.values[rows]), self.matrix.names),
            times=self.times[rows],
            labels=self.labels[rows],
            weights=None if self.weights is None else self.weights[rows],
            groups=self.groups,
        )

    @property
    def normal(self) -> Matrix:
        """The values of the rows that are not known as fraud."""
        fraud = self.labels == FRAUD
        kept: Matrix = self.matrix.values[~fraud] if fraud.any() else self.matrix.values
        return kept

    def prepared(self, features: tuple[str, ...]) -> "TrainingRows":
        """Return the rows in the order of time with the columns of `features`, each the name of a feature or a group.

        No name at all means every feature. Rows of the same time keep their order.
        """
        names = _resolve(features, self.matrix.names, self.groups)
        matrix = FeatureMatrix(self.matrix.select(names), names)
        rows = TrainingRows(matrix, self.times, self.labels, self.weights, self.groups)
        if (np.diff(self.times) >= 0).all():
            return rows
        return rows.take(np.argsort(self.times, kind="stable"))


@dataclass(frozen=True)
class TooFewLabels:
    """The outcome of a fit that had too few labels to be trusted: the member abstains, and says why."""

    name: str
    found: int
    needed: int
    reason: str


@dataclass(frozen=True, eq=False)
class Stored:
    """What a member of some kind is restored from."""

    feature_names: tuple[str, ...]
    state: Facts
    arrays: Arrays
    files: Files


@dataclass(frozen=True, eq=False)
class Member(ABC):
    """A fitted model. Higher scores are more anomalous, always; a row's score does not depend on the rows beside it."""

    name: str
    """Unique within an ensemble; the kind unless the settings say otherwise."""
    feature_names: tuple[str, ...]
    """The features that it needs, whatever else a matrix holds and in whatever order."""
    threshold: float
    """The raw score above which the member by itself would call a row anomalous."""
    facts: Facts
    """What is known of the fit, as JSON: rows used, rounds, losses."""

    kind: ClassVar[str]

    def score(self, matrix: FeatureMatrix) -> Scores:
        """Return the raw score of each row, (rows,): finite, higher is more anomalous, not yet comparable to others."""
        return self._score(matrix.select(self.feature_names))

    def explain(self, matrix: FeatureMatrix) -> Scores:
        """Return what each feature adds to each row's anomaly, (rows, features) in the order of `feature_names`."""
        return self._explain(matrix.select(self.feature_names))

    def to_files(self) -> Files:
        """Return the member as files by name: JSON, npz without pickle, XGBoost's JSON. The same member, same bytes."""
        header = {
            "format": _FORMAT,
            "kind": self.kind,
            "name": self.name,
            "features": list(self.feature_names),
            "threshold": self.threshold,
            "facts": self.facts,
            "state": self._state(),
        }
        return {HEADER: write_json(header), ARRAYS: write_arrays(self._arrays()), **self._other_files()}

    @classmethod
    def from_files(cls, files: Files) -> Self:
        """Return the member that `to_files` wrote, or raise ContractError naming the file that does not fit."""
        header = read_header(files)
        if header["kind"] != cls.kind:
            raise ContractError(f"{HEADER} holds a member of kind {header['kind']}, not {cls.kind}")
        arrays = read_arrays(files, ARRAYS)
        common = {
            "name": header["name"],
            "feature_names": tuple(header["features"]),
            "threshold": float(header["threshold"]),
            "facts": header["facts"],
        }
        try:
            return cls(**common, **cls._restore(Stored(common["feature_names"], header["state"], arrays, files)))
        except (KeyError, TypeError, ValueError) as error:
            raise ContractError(
                f"member {header['name']} is damaged ({error!r}): restore it or fit it again"
            ) from error

    @abstractmethod
    def _score(self, values: Matrix) -> Scores: ...

    @abstractmethod
    def _explain(self, values: Matrix) -> Scores: ...

    def _state(self) -> Facts:
        return {}

    def _arrays(self) -> Arrays:
        return {}

    def _other_files(self) -> Files:
        return {}

    @classmethod
    @abstractmethod
    def _restore(cls, stored: Stored) -> dict[str, Any]:
        """Return the fields that the subclass adds to those of every member; ValueError for what does not fit."""


def read_header(files: Files) -> Facts:
    """Return the header of a member's files after checking that this version can read them."""
    header = read_json(files, HEADER)
    missing = {"format", "kind", "name", "features", "threshold", "facts", "state"} - set(header)
    if missing:
        raise ContractError(f"{HEADER} lacks {min(missing)}: these are not the files of a member")
    if header["format"] != _FORMAT:
        raise ContractError(f"{HEADER} has format {header['format']}, this version of Vigil reads {_FORMAT}")
    return header


def in_threads(work: Callable[[FeatureMatrix], Scores], matrix: FeatureMatrix, threads: int) -> Scores:
    """Return `work(matrix)`, a member's `score` or `explain`, computed by several threads: the same bits, sooner."""
    bounds = np.linspace(0, len(matrix), min(threads, len(matrix)) + 1).astype(int)
    parts = [FeatureMatrix(matrix.values[low:high], matrix.names) for low, high in pairwise(bounds)]
    with ThreadPoolExecutor(max_workers=threads) as pool:
        return np.concatenate(list(pool.map(work, parts)))


def need_rows(found: int, least: int, name: str) -> None:
    """Raise ContractError if there are fewer than `least` rows to fit the member `name` on."""
    if found < least:
        raise ContractError(f"member {name} needs at least {least} training rows not known as fraud, there are {found}")


def _check_shape(values: Matrix, names: tuple[str, ...]) -> None:
    if values.dtype != np.float32 or values.ndim != 2 or not values.flags.c_contiguous:
        raise ContractError(
            f"feature values are {values.dtype} with {values.ndim} dimensions: "
            "pass np.ascontiguousarray(values, dtype=np.float32) of (rows, features)"
        )
    rows, columns = values.shape
    if columns != len(names):
        raise ContractError(f"the rows have {columns} values, but there are {len(names)} features: {_some(names)}")
    if not rows or not columns:
        raise ContractError(f"there is nothing to score: {rows} rows of {columns} features")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ContractError(f"feature {twice} is there twice: each column needs a name of its own")


def _check_column(field_name: str, column: NDArray[Any], dtype: type[np.generic], rows: int) -> None:
    if column.dtype != dtype or column.shape != (rows,):
        raise ContractError(
            f"{field_name} are {column.dtype} of shape {column.shape}, expected {np.dtype(dtype)} of shape ({rows},)"
        )


def _resolve(
    wanted: tuple[str, ...], available: tuple[str, ...], groups: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...]:
    names = [name for item in wanted or available for name in groups.get(item, (item,))]
    unique = tuple(dict.fromkeys(names))
    if unknown := [name for name in unique if name not in available]:
        raise ContractError(
            f"{unknown[0]} is neither a feature nor a group: features {_some(available)}; groups {_some(tuple(groups))}"
        )
    return unique


@lru_cache(maxsize=256)
def _positions(available: tuple[str, ...], wanted: tuple[str, ...]) -> NDArray[np.intp]:
    place = {name: position for position, name in enumerate(available)}
    if missing := [name for name in wanted if name not in place]:
        raise ContractError(f"feature {missing[0]} is missing from every row: the matrix has {_some(available)}")
    return np.array([place[name] for name in wanted], dtype=np.intp)


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") if names else "none"
