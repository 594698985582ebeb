"""What each group of features is worth: the model fitted again without it, compared on the same rows."""

from collections.abc import Callable, Mapping, Sequence

from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict

from vigil.errors import ContractError
from vigil.evaluation.comparison import Comparison, Scorer, compare
from vigil.evaluation.rows import ScoredRows
from vigil.evaluation.settings import MetricSettings

Refit = Callable[[Sequence[str]], ArrayLike]
"""Names of the features to fit with, in the schema's order, to the scores of the test rows, shape (n,)."""


class Ablation(BaseModel):
    """A group of features: what the model loses without it (`gain`, positive where the group helps)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    group: str
    features: tuple[str, ...]
    gain: Comparison


def ablate_groups(
    rows: ScoredRows,
    groups: Mapping[str, Sequence[str]],
    refit: Refit,
    settings: MetricSettings,
    metric: str = "average_precision",
) -> list[Ablation]:
    """Return the gain of each group, largest first; the model is fitted once with all and once without each group."""
    if not groups:
        raise ContractError("an ablation needs groups of features")
    everything = tuple(dict.fromkeys(name for features in groups.values() for name in features))
    full = Scorer("all features", refit(everything))
    found = []
    for group, features in groups.items():
        kept = tuple(name for name in everything if name not in set(features))
        if not kept:
            raise ContractError(f"without the group {group} no feature is left: an ablation needs at least two groups")
        without = Scorer(f"without {group}", refit(kept))
        gain = compare(rows, full, without, metric, settings)
        found.append(Ablation(group=group, features=tuple(features), gain=gain))
    return sorted(found, key=lambda one: (-(one.gain.difference or 0.0), one.group))
