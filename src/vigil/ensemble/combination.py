"""How the members' evidence becomes one score, for every set of members that may be left.

Evidence is a surprise for a member that knows no labels, and log-odds for one that does. Without enough labels the
score is the level of the greatest surprise, or of the mean one: members that look at different things are seldom
surprised by the same row, and a mean lets those that saw nothing outvote the one that did. With labels it is a stack: a
logistic regression whose weights are never negative, so no member's alarm makes a row look safer. A missing member is a
stated degraded mode, prepared beforehand.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from vigil.errors import ContractError
from vigil.members.base import Scores

Unlabelled = Literal["max", "mean"]
"""Greatest surprise, or mean of surprises."""

Way = Literal[Unlabelled, "stack"]
"""Without labels, or logistic regression on evidence."""


@dataclass(frozen=True)
class Formula:
    """How one set of members is combined: weights in the order of their names."""

    way: Way
    members: tuple[str, ...]
    weights: tuple[float, ...]
    intercept: float = 0.0

    def combine(self, evidence: Scores) -> Scores:
        """Return the score of each row in [0, 1] from its evidence, (rows, members)."""
        total = evidence[:, 0] * self.weights[0]
        for column, weight in enumerate(self.weights[1:], start=1):
            weighted = evidence[:, column] * weight
            total = np.maximum(total, weighted) if self.way == "max" else total + weighted
        total += self.intercept
        return logistic(total) if self.way == "stack" else np.asarray(-np.expm1(-total))


def logistic(margin: NDArray[np.float64]) -> Scores:
    """Return 1 / (1 + exp(-margin)), without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * margin)))


@dataclass(frozen=True)
class Combination:
    """The formulas by the set of members that are there; the first is the one of all members."""

    formulas: tuple[Formula, ...]

    @property
    def full(self) -> Formula:
        """The formula of all members."""
        return self.formulas[0]

    def of(self, members: tuple[str, ...]) -> Formula:
        """Return the formula of the members that are left, or raise ContractError if none was prepared."""
        for formula in self.formulas:
            if set(formula.members) == set(members):
                return formula
        raise ContractError(
            f"no degraded mode is known for {', '.join(members) or 'no member at all'}: "
            f"this ensemble has {', '.join(self.full.members)}"
        )

    def mode(self, members: tuple[str, ...]) -> str:
        """Return "full", or which members are missing, in words."""
        missing = [name for name in self.full.members if name not in members]
        return f"without {' and '.join(missing)}" if missing else "full"

    def to_json(self) -> list[dict[str, Any]]:
        """Return the formulas as JSON."""
        return [
            {"way": f.way, "members": list(f.members), "weights": list(f.weights), "intercept": f.intercept}
            for f in self.formulas
        ]


def restore_combination(stored: list[dict[str, Any]]) -> Combination:
    """Return the combination whose `to_json` this is, or raise ContractError."""
    try:
        formulas = tuple(
            Formula(item["way"], tuple(item["members"]), tuple(map(float, item["weights"])), float(item["intercept"]))
            for item in stored
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ContractError(f"the ensemble's formulas are damaged ({error!r}): restore the bundle") from error
    sound = formulas and all(
        f.way in get_args(Way) and len(f.weights) == len(f.members) > 0 and min(f.weights) >= 0 for f in formulas
    )
    if not sound:
        raise ContractError("the ensemble's formulas are damaged: each needs one weight of at least 0 for each member")
    return Combination(formulas)
