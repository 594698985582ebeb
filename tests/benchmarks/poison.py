"""Poisoned training rows of several kinds: a fiftieth of them, put there by somebody who wants frauds to look usual."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vigil.clock import DAY
from vigil.members.base import FRAUD, LEGITIMATE, FeatureMatrix, Matrix, TrainingRows

SHARE = 0.02
Entities = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Poisoned:
    """Training rows in the order of time, their entities, and which of them are poison."""

    rows: TrainingRows
    entities: Entities
    is_poison: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Added:
    """Rows to inject, and where and when they pretend to have happened."""

    values: Matrix
    times: NDArray[np.int64]
    entities: Entities


Attack = Callable[[TrainingRows, Entities, np.random.Generator], Poisoned]


def untouched(rows: TrainingRows, entities: Entities) -> Poisoned:
    return Poisoned(rows, entities, np.zeros(len(rows), dtype=bool))


def tight_cluster(rows: TrainingRows, entities: Entities, random: np.random.Generator) -> Poisoned:
    """One fraud, again and again, with changes of a fiftieth."""
    centre = _frauds(rows)[[random.integers(len(_frauds(rows)))]]
    return _inject(rows, entities, _spread_out(rows, entities, _jittered(rows, centre, 0.02, random), random))


def wide_clusters(rows: TrainingRows, entities: Entities, random: np.random.Generator) -> Poisoned:
    """Five frauds, with changes of a third."""
    centres = random.choice(_frauds(rows), 5, replace=False)
    return _inject(rows, entities, _spread_out(rows, entities, _jittered(rows, centres, 0.33, random), random))


def boundary_rows(rows: TrainingRows, entities: Entities, random: np.random.Generator) -> Poisoned:
    """Scattered rows, each somewhere between an ordinary one and a fraud."""
    count = int(SHARE * len(rows))
    way = random.uniform(0.3, 0.7, size=(count, 1)).astype(np.float32)
    values = random.choice(_ordinary(rows), count) * (1 - way) + random.choice(_frauds(rows), count) * way
    return _inject(rows, entities, _spread_out(rows, entities, _valid(rows, values), random))


def copied_frauds(rows: TrainingRows, entities: Entities, random: np.random.Generator) -> Poisoned:
    """Ten frauds, copied."""
    values = random.choice(random.choice(_frauds(rows), 10, replace=False), int(SHARE * len(rows)))
    return _inject(rows, entities, _spread_out(rows, entities, values, random))


def copied_ordinary_rows(rows: TrainingRows, entities: Entities, random: np.random.Generator) -> Poisoned:
    """Ten ordinary rows, copied."""
    values = random.choice(random.choice(_ordinary(rows), 10, replace=False), int(SHARE * len(rows)))
    return _inject(rows, entities, _spread_out(rows, entities, values, random))


def burst_at_a_terminal(rows: TrainingRows, entities: Entities, random: np.random.Generator) -> Poisoned:
    """Rows like all kinds of frauds, at one terminal within a day."""
    values = _jittered(rows, _frauds(rows), 0.33, random)
    spread = _spread_out(rows, entities, values, random)
    start = random.choice(rows.times[len(rows) // 4 : -len(rows) // 4])
    terminal = np.full(len(values), random.choice(entities["terminal"]))
    times = start // DAY * DAY + random.integers(0, DAY, len(values))
    return _inject(rows, entities, Added(values, times, {**spread.entities, "terminal": terminal}))


def frauds_called_legitimate(rows: TrainingRows, entities: Entities, random: np.random.Generator) -> Poisoned:
    """Half of the frauds are labelled legitimate: less than a fiftieth of the rows, since there are not more frauds."""
    frauds = np.flatnonzero(rows.labels == FRAUD)
    count = min(len(frauds) // 2, int(SHARE * len(rows)))
    return _flip(rows, entities, random.choice(frauds, count, replace=False), LEGITIMATE)


def legitimate_called_frauds(rows: TrainingRows, entities: Entities, random: np.random.Generator) -> Poisoned:
    """A fiftieth of the rows are legitimate, and labelled fraud."""
    legitimate = np.flatnonzero(rows.labels == LEGITIMATE)
    return _flip(rows, entities, random.choice(legitimate, int(SHARE * len(rows)), replace=False), FRAUD)


INJECTIONS: Mapping[str, Attack] = {
    attack.__name__: attack
    for attack in (
        tight_cluster,
        wide_clusters,
        boundary_rows,
        copied_frauds,
        copied_ordinary_rows,
        burst_at_a_terminal,
    )
}
FLIPS: Mapping[str, Attack] = {
    attack.__name__: attack for attack in (frauds_called_legitimate, legitimate_called_frauds)
}


def _frauds(rows: TrainingRows) -> Matrix:
    return rows.matrix.values[rows.labels == FRAUD]


def _ordinary(rows: TrainingRows) -> Matrix:
    return rows.matrix.values[rows.labels == LEGITIMATE]


def _jittered(rows: TrainingRows, centres: Matrix, by: float, random: np.random.Generator) -> Matrix:
    """Return rows around the centres."""
    values = random.choice(centres, int(SHARE * len(rows)))
    return _valid(rows, values * np.exp(by * random.normal(size=values.shape)).astype(np.float32))


def _valid(rows: TrainingRows, values: Matrix) -> Matrix:
    """Return values that could be: counts and flags are whole, and nothing is beyond what there is."""
    known = rows.matrix.values
    whole = (known == np.round(known)).all(axis=0)
    return np.clip(np.where(whole, np.round(values), values), known.min(axis=0), known.max(axis=0))


def _spread_out(rows: TrainingRows, entities: Entities, values: Matrix, random: np.random.Generator) -> Added:
    """Return the values with times and entities drawn from those of the other rows."""
    drawn = random.integers(len(rows), size=len(values))
    times = rows.times[drawn] + random.integers(0, 1_000_000, len(values))
    return Added(values, times, {name: ids[random.permutation(drawn)] for name, ids in entities.items()})


def _inject(rows: TrainingRows, entities: Entities, added: Added) -> Poisoned:
    times = np.concatenate([rows.times, added.times])
    order = np.argsort(times, kind="stable")
    values = np.concatenate([rows.matrix.values, added.values])[order]
    labels = np.concatenate([rows.labels, np.full(len(added.values), LEGITIMATE, dtype=np.int8)])[order]
    joined = {name: np.concatenate([ids, added.entities[name]])[order] for name, ids in entities.items()}
    matrix = FeatureMatrix(np.ascontiguousarray(values), rows.matrix.names)
    return Poisoned(TrainingRows(matrix, times[order], labels), joined, order >= len(rows))


def _flip(rows: TrainingRows, entities: Entities, chosen: NDArray[np.int64], label: int) -> Poisoned:
    labels = rows.labels.copy()
    labels[chosen] = label
    is_poison = np.zeros(len(rows), dtype=bool)
    is_poison[chosen] = True
    return Poisoned(replace(rows, labels=labels), entities, is_poison)
