"""Fits calibration and combination on rows that the members have not seen.

Either on rows kept apart (`fit_ensemble`), or, where there are too few to keep any apart, on the members' training rows
cut into stretches of time (`fit_crosswise`): each stretch is scored by members fitted on the others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from vigil.ensemble.business import PREFIX, BusinessWeights
from vigil.ensemble.calibration import fit_tail
from vigil.ensemble.combination import Combination, Formula, Unlabelled, logistic
from vigil.ensemble.model import SUPERVISED, Ensemble, log_odds
from vigil.errors import ContractError
from vigil.members.base import FRAUD, UNKNOWN, Member, Scores, TooFewLabels, TrainingRows
from vigil.members.catalog import fit_member
from vigil.members.settings import MemberSettings


class EnsembleSettings(BaseModel):
    """How the ensemble is fitted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    least_frauds: int = Field(default=50, ge=2, description="labelled frauds from which the combination is learned")
    l2: float = Field(default=1.0, ge=0, description="pull of the stack's weights towards the supervised members alone")
    unlabelled: Unlabelled = Field(default="max", description="how surprises become one as long as labels are few")
    business: BusinessWeights = BusinessWeights()


@dataclass(frozen=True, eq=False)
class CrossFit:
    """An ensemble whose members have seen every row, and the members that had too few labels to be one of it."""

    ensemble: Ensemble
    abstained: tuple[TooFewLabels, ...]


def fit_ensemble(members: Sequence[Member], rows: TrainingRows, settings: EnsembleSettings) -> Ensemble:
    """Return the ensemble of fitted members, calibrated and combined on `rows`, which none of them was fitted on.

    With fewer than `least_frauds` labelled frauds it is made of the members that know no labels.
    """
    _check_names([member.name for member in members])
    return _combined(members, {member.name: member.score(rows.matrix) for member in members}, rows, settings)


def fit_crosswise(
    wanted: Sequence[MemberSettings], rows: TrainingRows, settings: EnsembleSettings, parts: int = 4
) -> CrossFit:
    """Return the ensemble of members fitted on all rows, calibrated and combined on scores from outside of the fit.

    The rows are cut into `parts` stretches of time of about equal length; each is scored by members fitted on the
    others. A member that abstains on any of these is no part of the ensemble.
    """
    _check_names([one.name for one in wanted])
    ordered = rows.prepared(())
    fitted = {one.name: fit_member(one, ordered) for one in wanted}
    abstained = {name: outcome for name, outcome in fitted.items() if isinstance(outcome, TooFewLabels)}
    raw = {name: np.empty(len(ordered)) for name in fitted}
    for part in _stretches(ordered.times, parts):
        others, scored = np.ones(len(ordered), np.bool_), ordered.take(part).matrix
        others[part] = False
        taught = ordered.take(others)
        for one in wanted:
            if one.name in abstained:
                continue
            outcome = fit_member(one, taught)
            if isinstance(outcome, TooFewLabels):
                abstained[one.name] = outcome
            else:
                raw[one.name][part] = outcome.score(scored)
    members = [member for member in fitted.values() if isinstance(member, Member) and member.name not in abstained]
    _check_names([member.name for member in members])
    scores = {member.name: raw[member.name] for member in members}
    return CrossFit(_combined(members, scores, ordered, settings), tuple(abstained.values()))


def _stretches(times: NDArray[np.int64], parts: int) -> list[slice]:
    """Return slices of rows in the order of time, with rows of the same time together; none of them is empty."""
    wanted = np.arange(1, parts) * len(times) // parts
    cuts = np.searchsorted(times, times[wanted])
    bounds = np.concatenate([[0], cuts, [len(times)]])
    if parts < 2 or (np.diff(bounds) <= 0).any():
        raise ContractError(f"{len(times)} rows do not make {parts} stretches of time: at least 2, none of them empty")
    return [slice(int(low), int(high)) for low, high in pairwise(bounds)]


def _combined(
    members: Sequence[Member], raw: Mapping[str, Scores], rows: TrainingRows, settings: EnsembleSettings
) -> Ensemble:
    """Return the ensemble that the members' raw scores of `rows` suggest."""
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
        formulas = [_unlabelled(settings.unlabelled, names) for names in _subsets(tuple(curves))]
    has_parts = any(name.startswith(PREFIX) for name in rows.matrix.names)
    return Ensemble(tuple(members), curves, Combination(tuple(formulas)), settings.business if has_parts else None)


def _check_names(names: Sequence[str]) -> None:
    if not names or len(set(names)) != len(names):
        raise ContractError(f"an ensemble needs members of different names, there are: {', '.join(names) or 'none'}")


def _subsets(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return every set of names that is not empty, the largest first."""
    return [chosen for size in range(len(names), 0, -1) for chosen in combinations(names, size)]


def _unlabelled(way: Unlabelled, names: tuple[str, ...]) -> Formula:
    weight = 1.0 if way == "max" else 1.0 / len(names)
    return Formula(way, names, (weight,) * len(names))


@dataclass(frozen=True, eq=False)
class _Lesson:
    """What a stack is learned from: the evidence of each member on the labelled rows, and their labels."""

    evidence: dict[str, Scores]
    supervised: frozenset[str]
    labels: NDArray[np.bool_]


def _stack(names: tuple[str, ...], lesson: _Lesson, l2: float) -> Formula:
    """Return the logistic regression of the labels on the evidence of `names`, with weights of at least 0.

    A penalty draws the weights of log-odds to 1 in sum, the others to 0: in doubt the stack is the supervised member,
    or the mean of several.
    """
    from scipy.optimize import minimize

    inputs = np.stack([lesson.evidence[name] for name in names], axis=1)
    share = 1.0 / max(1, len(lesson.supervised & set(names)))
    prior = np.array([share if name in lesson.supervised else 0.0 for name in names])
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
