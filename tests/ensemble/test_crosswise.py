"""The ensemble whose members have seen every row, calibrated on scores from outside of the fit."""

import numpy as np
import pytest

from tests.ensemble.samples import fitted, make_rows
from vigil.ensemble.calibration import fit_tail
from vigil.ensemble.fitting import EnsembleSettings, fit_crosswise
from vigil.errors import ContractError
from vigil.members.base import TrainingRows
from vigil.members.catalog import parse_settings
from vigil.members.settings import MemberSettings

FEATURES = ["amount", "pace", "noise"]


def wanted(*kinds: str, **settings: object) -> list[MemberSettings]:
    quick: dict[str, dict[str, object]] = {
        "isolation_forest": {"trees": 20},
        "boosted": {"rounds": 20, "max_depth": 3, **settings},
    }
    return [parse_settings({"kind": kind, "features": FEATURES, **quick.get(kind, {})}) for kind in kinds]


def test_members_are_those_fitted_on_all_rows() -> None:
    rows = make_rows(3_000, 1)
    crossed = fit_crosswise(wanted("isolation_forest", "boosted"), rows, EnsembleSettings())
    whole = fitted("boosted", rows, rounds=20, max_depth=3)
    assert crossed.ensemble.member("boosted").to_files() == whole.to_files()


def test_each_stretch_of_time_is_scored_by_members_fitted_on_the_others() -> None:
    rows = make_rows(1_000, 2, labelled=False)
    crossed = fit_crosswise(wanted("z_score"), rows, EnsembleSettings(), parts=2)
    first, second = rows.take(slice(0, 500)), rows.take(slice(500, None))
    outside = [fitted("z_score", taught).score(scored.matrix) for scored, taught in ((first, second), (second, first))]
    expected = fit_tail(np.concatenate(outside)).to_array()
    assert np.array_equal(crossed.ensemble.curves["z_score"].to_array(), expected)


def test_a_member_that_learned_its_rows_by_heart_gets_no_weight_for_it() -> None:
    rows = make_rows(3_000, 3)
    random = np.random.default_rng(0)
    labels = (random.random(len(rows)) < 0.1).astype(np.int8)
    nothing_to_learn = TrainingRows(rows.matrix, rows.times, labels)
    deep = wanted("boosted", max_depth=12, rounds=200, learning_rate=0.5)
    crossed = fit_crosswise(deep, nothing_to_learn, EnsembleSettings(l2=0.0))
    assert crossed.ensemble.combination.full.weights[0] < 0.2


def test_the_order_of_the_rows_does_not_matter() -> None:
    rows = make_rows(1_000, 4)
    shuffled = rows.take(np.random.default_rng(0).permutation(len(rows)))
    one, other = (fit_crosswise(wanted("isolation_forest"), given, EnsembleSettings()) for given in (rows, shuffled))
    assert one.ensemble.to_files() == other.ensemble.to_files()


def test_a_member_with_too_few_labels_is_named_and_left_out() -> None:
    rows = make_rows(2_000, 5)
    crossed = fit_crosswise(wanted("z_score", "boosted", least_frauds=1_000), rows, EnsembleSettings())
    assert [outcome.name for outcome in crossed.abstained] == ["boosted"]
    assert [member.name for member in crossed.ensemble.members] == ["z_score"]


def test_a_member_that_abstains_on_the_rest_of_the_rows_alone_is_left_out_too() -> None:
    rows = make_rows(2_000, 6)
    frauds = int((rows.labels == 1).sum())
    crossed = fit_crosswise(wanted("z_score", "boosted", least_frauds=frauds), rows, EnsembleSettings())
    assert [outcome.name for outcome in crossed.abstained] == ["boosted"]


def test_without_any_member_that_does_not_abstain_there_is_no_ensemble() -> None:
    with pytest.raises(ContractError, match="there are: none"):
        fit_crosswise(wanted("boosted", least_frauds=1_000), make_rows(500, 7), EnsembleSettings())


@pytest.mark.parametrize("parts", [1, 1_001])
def test_rows_that_cannot_be_cut_are_refused(parts: int) -> None:
    with pytest.raises(ContractError, match=f"1000 rows do not make {parts} stretches of time"):
        fit_crosswise(wanted("z_score"), make_rows(1_000, 8), EnsembleSettings(), parts)


def test_rows_of_one_moment_cannot_be_cut() -> None:
    rows = make_rows(1_000, 9)
    at_once = TrainingRows(rows.matrix, np.zeros(len(rows), np.int64), rows.labels)
    with pytest.raises(ContractError, match="none of them empty"):
        fit_crosswise(wanted("z_score"), at_once, EnsembleSettings())
