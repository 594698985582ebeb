"""Where a model is wrong, in words: groups of false alarms and of missed frauds by a shallow decision tree."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field

from vigil.errors import ContractError, MissingExtra
from vigil.evaluation.behaviour import Matrix
from vigil.evaluation.operating import threshold_array
from vigil.evaluation.rows import BoolArray, FloatArray, IntArray, ScoredRows

_EXAMPLES = 3


class MistakeSettings(BaseModel):
    """How fine the groups are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    depth: int = Field(default=3, ge=1, le=6, description="conditions in a description, at most")
    groups: int = Field(default=5, ge=1, description="groups shown for each kind of mistake")
    minimum_mistakes: int = Field(default=10, ge=2, description="with fewer nothing is grouped")
    minimum_group: float = Field(default=0.05, gt=0, lt=1, description="share of the mistakes in the smallest group")


class MistakeGroup(BaseModel):
    """Rows that a description picks out, and how many of them are mistakes; `lift` is against all rows compared."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str
    rows: int
    mistakes: int
    rate: float
    lift: float
    share: float = Field(description="of all mistakes of this kind")
    amount: float | None = Field(description="sum over the mistakes, in currency units")
    examples: tuple[int, ...] = Field(description="row numbers of the mistakes furthest from the threshold")


class Mistakes(BaseModel):
    """The mistakes of one kind; `note` says why there are no groups."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["false_alarm", "missed"]
    count: int
    compared: int = Field(description="rows that the model judged and that could have been this mistake")
    groups: tuple[MistakeGroup, ...] = ()
    note: str = ""


def find_mistakes(
    rows: ScoredRows,
    features: Matrix,
    names: Sequence[str],
    threshold: ArrayLike,
    settings: MistakeSettings | None = None,
) -> tuple[Mistakes, Mistakes]:
    """Return the groups of false alarms among the negative rows, and of missed rows among the positive ones.

    `features` has shape (n, len(names)). A feature with the values 0 and 1 alone reads `night` or `not night`.
    """
    if features.shape != (len(rows), len(names)):
        raise ContractError(f"features have shape {features.shape}: {len(rows)} rows by {len(names)} names expected")
    chosen = settings or MistakeSettings()
    labels = rows.need_labels("an error analysis")
    margin = rows.scores - threshold_array(threshold, len(rows))
    found = []
    kinds: tuple[tuple[Literal["false_alarm", "missed"], BoolArray, BoolArray], ...] = (
        ("false_alarm", ~labels, margin >= 0),
        ("missed", labels, margin < 0),
    )
    for kind, judged, wrong in kinds:
        index = np.flatnonzero(judged)
        part = _Part(index, wrong[index], np.abs(margin[index]), None if rows.amounts is None else rows.amounts[index])
        groups, note = _groups(part, features[index], names, chosen)
        count = int(part.wrong.sum())
        found.append(Mistakes(kind=kind, count=count, compared=len(index), groups=tuple(groups), note=note))
    return found[0], found[1]


@dataclass(frozen=True, eq=False)
class _Part:
    """The rows of one label: their number, whether the model is wrong, how far from the threshold, the amount."""

    index: IntArray
    wrong: BoolArray
    distance: FloatArray
    amounts: FloatArray | None


def _groups(
    part: _Part, features: Matrix, names: Sequence[str], settings: MistakeSettings
) -> tuple[list[MistakeGroup], str]:
    count = int(part.wrong.sum())
    if count < settings.minimum_mistakes:
        return [], f"{count} mistakes, fewer than {settings.minimum_mistakes}: nothing to group"
    if part.wrong.all():
        return [], "every row is a mistake: no description can tell them from the others"
    tree = _tree(settings.depth, max(2, int(settings.minimum_group * count)))
    tree.fit(features, part.wrong)
    leaf = tree.apply(features)
    overall = count / len(part.wrong)
    binary = [bool(np.isin(features[:, column], (0, 1)).all()) for column in range(features.shape[1])]
    groups = [
        _group(part, leaf == node, _words(path, names, binary), overall) for node, path in _leaves(tree.tree_, 0, ())
    ]
    wanted = [group for group in groups if group.lift > 1 and group.share >= settings.minimum_group]
    if not wanted:
        return [], "no feature tells the mistakes from the other rows"
    return sorted(wanted, key=lambda group: (-group.mistakes, group.description))[: settings.groups], ""


def _tree(depth: int, least: int) -> Any:  # noqa: ANN401 - untyped package
    try:
        from sklearn.tree import DecisionTreeClassifier
    except ModuleNotFoundError as error:
        raise MissingExtra("scikit-learn", "train") from error
    return DecisionTreeClassifier(max_depth=depth, min_samples_leaf=least, class_weight="balanced", random_state=0)


def _group(part: _Part, inside: BoolArray, description: str, overall: float) -> MistakeGroup:
    wrong = np.flatnonzero(inside & part.wrong)
    furthest = wrong[np.argsort(-part.distance[wrong], kind="stable")][:_EXAMPLES]
    rate = len(wrong) / int(inside.sum())
    return MistakeGroup(
        description=description,
        rows=int(inside.sum()),
        mistakes=len(wrong),
        rate=rate,
        lift=rate / overall,
        share=len(wrong) / int(part.wrong.sum()),
        amount=None if part.amounts is None else float(part.amounts[wrong].sum()),
        examples=tuple(part.index[furthest].tolist()),
    )


_Step = tuple[int, bool, float]
"""Column, whether its value lies above, and the cut."""


def _leaves(
    tree: Any,  # noqa: ANN401 - scikit-learn has no types
    node: int,
    path: tuple[_Step, ...],
) -> Iterator[tuple[int, tuple[_Step, ...]]]:
    """Yield each leaf of a scikit-learn tree with the conditions that lead to it."""
    left, right = tree.children_left[node], tree.children_right[node]
    if left == right:
        yield node, path
        return
    column, cut = int(tree.feature[node]), float(tree.threshold[node])
    yield from _leaves(tree, left, (*path, (column, False, cut)))
    yield from _leaves(tree, right, (*path, (column, True, cut)))


def _words(path: tuple[_Step, ...], names: Sequence[str], binary: Sequence[bool]) -> str:
    """Return the conditions as words, those of one feature drawn together."""
    low: dict[int, float] = {}
    high: dict[int, float] = {}
    for column, above, cut in path:
        if above:
            low[column] = max(cut, low.get(column, -np.inf))
        else:
            high[column] = min(cut, high.get(column, np.inf))
    parts = []
    for column in dict.fromkeys(column for column, _, _ in path):
        name = names[column]
        if binary[column]:
            parts.append(name if column in low else f"not {name}")
        elif column in low and column in high:
            parts.append(f"{low[column]:.4g} < {name} ≤ {high[column]:.4g}")
        else:
            parts.append(f"{name} > {low[column]:.4g}" if column in low else f"{name} ≤ {high[column]:.4g}")
    return " and ".join(parts) or "every row"
