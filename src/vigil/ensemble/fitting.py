"""Fits calibration and combination on rows that the members have not seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.optimize import minimize

from vigil.ensemble.business import PREFIX, BusinessWeights
from vigil.ensemble.calibration import fit_tail
from vigil.ensemble.combination import Combination, Formula, logistic
from vigil.ensemble.model import SUPERVISED, Ensemble, log_odds
from vigil.errors import ContractError
from vigil.members.base import FRAUD, UNKNOWN, Member, Scores, TrainingRows


class EnsembleSettings(BaseModel):
    """How the ensemble is fitted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    least_frauds: int = Field(default=50, ge=2, description="labelled frauds from which the combination is learned")
    l2: float = Field(default=1.0, ge=0, description="pull of the stack's weights towards the supervised member alone")
    business: BusinessWeights = BusinessWeights()


def fit_ensemble(members: Sequence[Member], rows: TrainingRows, settings: EnsembleSettings) -> Ensemble:
    """Return the ensemble of fitted members, calibrated and combined on `rows`, which none of them was fitted on.

    With fewer than `least_frauds` labelled frauds it is the mean of the members that know no labels.
    """
    _check_members(members)
    raw = {member.name: member.score(rows.matrix) for member in members}
    curves = {m.name: fit_tail(raw[m.name][rows.labels != FRAUD]) for m in members if m.kind not in SUPERVISED}
    if int((rows.labels == FRAUD).sum()) >= settings.least_frauds:
        known = rows.labels != UNKNOWN
        evidence = {name: curves[name].surprise(s) if name in curves else log_odds(s) for name, s in raw.items()}
        lesson = _Lesson(
            evidence={name: values[known] for name, values in evidence.items()},
            supervised=frozenset(set(raw) - set(curves)),
            labels=rows.labels[known] == FRAUD,
        )
        formulas = [_stack(names, lesson, settings.l2) for names in _subsets(tuple(raw))]
    else:
        members = [member for member in members if member.name in curves]
        formulas = [_mean(names) for names in _subsets(tuple(curves))]
    has_parts = any(name.startswith(PREFIX) for name in rows.matrix.names)
    return Ensemble(tuple(members), curves, Combination(tuple(formulas)), settings.business if has_parts else None)


def _check_members(members: Sequence[Member]) -> None:
    names = [member.name for member in members]
    if not names or len(set(names)) != len(names):
        raise ContractError(f"an ensemble needs members of different names, there are: {', '.join(names) or 'none'}")


def _subsets(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return every set of names that is not empty, the largest first."""
    return [chosen for size in range(len(names), 0, -1) for chosen in combinations(names, size)]


def _mean(names: tuple[str, ...]) -> Formula:
    return Formula("mean", names, (1.0 / len(names),) * len(names))


@dataclass(frozen=True, eq=False)
class _Lesson:
    """What a stack is learned from: the evidence of each member on the labelled rows, and their labels."""

    evidence: dict[str, Scores]
    supervised: frozenset[str]
    labels: NDArray[np.bool_]


def _stack(names: tuple[str, ...], lesson: _Lesson, l2: float) -> Formula:
    """Return the logistic regression of the labels on the evidence of `names`, with weights of at least 0.

    A penalty draws the weight of log-odds to 1 and the others to 0: in doubt the stack is the supervised member.
    """
    inputs = np.stack([lesson.evidence[name] for name in names], axis=1)
    prior = np.array([1.0 if name in lesson.supervised else 0.0 for name in names])
    labels = lesson.labels

    def loss(parameters: Scores) -> tuple[float, Scores]:
        margin = inputs @ parameters[1:] + parameters[0]
        gap = parameters[1:] - prior
        value = np.logaddexp(0, margin).sum() - margin[labels].sum() + 0.5 * l2 * (gap @ gap)
        slope = logistic(margin) - labels
        return float(value), np.concatenate([[slope.sum()], inputs.T @ slope + l2 * gap])

    bounds = [(None, None), *((0.0, None) for _ in names)]
    start = np.concatenate([[0.0], prior])
    found = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B", options={"maxiter": 500})
    return Formula("stack", names, tuple(map(float, found.x[1:])), float(found.x[0]))
