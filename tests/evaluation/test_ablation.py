from collections.abc import Sequence

import numpy as np
import pytest

from tests.evaluation.samples import FEW, sample
from vigil.errors import ContractError
from vigil.evaluation.ablation import ablate_groups
from vigil.evaluation.rows import FloatArray

GROUPS = {"noise": ["c"], "signal": ["a", "b"]}


def _refit(names: Sequence[str]) -> FloatArray:
    """Scores of a model that knows nothing without the feature a."""
    rows = sample()
    return rows.scores if "a" in names else sample(9).scores


def test_the_group_that_carries_the_signal_is_worth_the_most() -> None:
    found = ablate_groups(sample(), GROUPS, _refit, FEW)
    assert [one.group for one in found] == ["signal", "noise"]
    assert found[0].gain.low > 0
    assert found[1].gain.difference == 0


def test_the_model_is_fitted_with_all_features_and_once_without_each_group() -> None:
    asked: list[tuple[str, ...]] = []

    def refit(names: Sequence[str]) -> FloatArray:
        asked.append(tuple(names))
        return _refit(names)

    ablate_groups(sample(), GROUPS, refit, FEW)
    assert asked == [("c", "a", "b"), ("a", "b"), ("c",)]


@pytest.mark.parametrize(("groups", "message"), [({}, "needs groups"), ({"all": ["a"]}, "at least two groups")])
def test_an_ablation_that_leaves_no_feature_is_refused(groups: dict[str, list[str]], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        ablate_groups(sample(), groups, lambda names: np.zeros(3200), FEW)
