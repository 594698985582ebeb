from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vigil.clock import DAY, HOUR
from vigil.monitoring.cause import Fact, Findings, Signal, find_cause
from vigil.monitoring.cause.places import units_at_sites
from vigil.monitoring.cause.plot import draw_evidence
from vigil.monitoring.cause.shapes import find_unit, site_of, stuck_value
from vigil.monitoring.cause.versions import Agreement, compare
from vigil.monitoring.samples import SCORE_BINS, PairCounts
from vigil.monitoring.verdicts import Cause

RANDOM = np.random.default_rng(1)
BEFORE = np.exp(RANDOM.normal(3.5, 0.8, (2000, 2)))
AFTER = np.exp(RANDOM.normal(3.5, 0.8, (300, 2)))
SITES = [f"site-{k % 6}" for k in range(300)]
SINCE = 20_454 * DAY


def signal(kind: str, subject: str, aspect: str, **fields: object) -> Signal:
    plain = {"strength": 8.0, "is_alarm": True, "since": SINCE, "size": 0.5}
    return Signal(kind=kind, subject=subject, aspect=aspect, **(plain | fields))


def findings(*signals: Signal, after: np.ndarray = AFTER) -> Findings:
    scores = RANDOM.beta(1, 9, 300)
    return Findings(
        signals=[*signals, signal("input", "pace", "level", strength=0.1, is_alarm=False, size=0.0)],
        names=("amount", "pace"),
        before=BEFORE,
        after=after,
        sites=SITES,
        score_before=RANDOM.beta(1, 9, 2000),
        score_after=scores,
        usual_sites={f"site-{k}": 1 / 6 for k in range(6)},
        path=[(SINCE + k * HOUR, float(k)) for k in range(-5, 9)],
        first_seen=SINCE,
        at=SINCE + 9 * HOUR,
        rows=300,
    )


def pairs(split: int = 0, bins: int = 0, count: int = 500) -> PairCounts:
    differences = [0] * (2 * SCORE_BINS)
    differences[SCORE_BINS + bins] = count
    return PairCounts(pairs=count, only_candidate_flagged=split, score_differences=tuple(differences))


AGREE, DISAGREE = pairs(), pairs(split=60, bins=9)
SCORE = signal("score", "score", "level")
AMOUNT = signal("input", "amount", "level")


def scaled(factor: float, site: str | None = None, column: int = 0) -> np.ndarray:
    after = AFTER.copy()
    chosen = np.array([site is None or one == site for one in SITES])
    after[chosen, column] *= factor
    return after


def test_an_input_that_moves_smoothly_while_the_versions_agree_is_the_population() -> None:
    decision = find_cause(findings(AMOUNT, SCORE, after=scaled(1.3)), AGREE)
    assert decision.cause == Cause.POPULATION_MOVED
    assert decision.sites == ()
    assert "amount moved" in decision.summary


def test_the_same_input_times_a_hundred_is_broken_data() -> None:
    decision = find_cause(findings(AMOUNT, SCORE, after=scaled(100.0)), AGREE)
    assert decision.cause == Cause.DATA_BROKEN
    assert "multiplied by 100" in decision.summary
    assert decision.evidence[0].points_to == Cause.DATA_BROKEN


def test_a_unit_at_one_site_names_the_site() -> None:
    decision = find_cause(findings(AMOUNT, after=scaled(0.001, "site-4")))
    assert decision.cause == Cause.DATA_BROKEN
    assert decision.sites == ("site-4",)
    assert "divided by 1,000 at site-4" in decision.summary


def test_a_shift_at_one_site_alone_is_broken_data_and_in_all_sites_it_is_not() -> None:
    assert find_cause(findings(AMOUNT, after=scaled(5.0, "site-1"))).cause == Cause.DATA_BROKEN
    assert find_cause(findings(AMOUNT, after=scaled(5.0))).cause == Cause.POPULATION_MOVED


def test_scores_that_drift_while_inputs_do_not_are_the_model() -> None:
    assert find_cause(findings(SCORE), DISAGREE).cause == Cause.MODEL_WORSE
    assert find_cause(findings(SCORE)).cause == Cause.MODEL_WORSE


def test_scores_that_drift_with_an_input_that_has_no_alarm_yet_wait_for_its_alarm() -> None:
    quiet = replace(AMOUNT, is_alarm=False, strength=1.0)
    assert find_cause(findings(SCORE, quiet, after=scaled(1.5))).cause == Cause.UNDECIDED
    assert find_cause(findings(SCORE, AMOUNT, after=scaled(1.5))).cause == Cause.POPULATION_MOVED


def test_scores_that_drift_while_inputs_do_not_and_versions_agree_cannot_be_told() -> None:
    decision = find_cause(findings(SCORE), AGREE)
    assert decision.cause == Cause.UNDECIDED
    assert "a person has to look" in decision.summary


def test_inputs_that_drift_while_versions_disagree_cannot_be_told() -> None:
    assert find_cause(findings(AMOUNT, SCORE, after=scaled(1.4)), DISAGREE).cause == Cause.UNDECIDED


def test_scores_without_any_inputs_to_look_at_cannot_be_told() -> None:
    bare = replace(findings(SCORE), names=(), before=np.zeros((0, 0)), after=np.zeros((0, 0)))
    assert find_cause(bare).cause == Cause.UNDECIDED
    assert find_cause(bare, DISAGREE).cause == Cause.MODEL_WORSE


def test_precision_that_falls_is_the_model_unless_inputs_moved() -> None:
    fallen = signal("precision", "flagged decisions", "down", size=0.3, usual=0.6)
    assert find_cause(findings(fallen)).cause == Cause.MODEL_WORSE
    assert find_cause(findings(fallen, AMOUNT, after=scaled(1.4)), AGREE).cause == Cause.POPULATION_MOVED


def test_nulls_are_broken_data_and_fewer_nulls_than_usual_are_not() -> None:
    more = signal("missingness", "pace", "missing", size=0.3, usual=0.01)
    fewer = signal("missingness", "pace", "missing", size=0.0, usual=0.4)
    assert find_cause(findings(more)).cause == Cause.DATA_BROKEN
    assert find_cause(findings(fewer)).cause == Cause.UNDECIDED


def test_nulls_at_one_site_name_it() -> None:
    after = AFTER.copy()
    after[[site == "site-2" for site in SITES], 1] = np.nan
    decision = find_cause(findings(signal("missingness", "pace", "missing", size=0.17), after=after))
    assert decision.sites == ("site-2",)
    assert "missing in 16.7% of rows" in decision.summary


def test_a_stuck_value_is_broken_data() -> None:
    after = AFTER.copy()
    after[:, 0] = 7.5
    decision = find_cause(findings(signal("input", "amount", "width"), after=after), AGREE)
    assert decision.cause == Cause.DATA_BROKEN
    assert "stuck at 7.5" in decision.summary


def test_a_silent_site_and_a_fact_of_ingest_are_broken_data() -> None:
    silent = signal("site", "site-5", "silent", size=0.0, usual=0.16, site="site-5")
    assert find_cause(findings(silent)).sites == ("site-5",)
    fact = Fact(kind="unit", subject="weight", statement="weight is in grams since Monday", site="site-1")
    told = find_cause(findings(AMOUNT, after=scaled(1.3)), AGREE, [fact])
    assert told.cause == Cause.DATA_BROKEN
    assert told.sites == ("site-1",)
    harmless = fact.model_copy(update={"kind": "late"})
    assert find_cause(findings(AMOUNT, after=scaled(1.3)), AGREE, [harmless]).cause == Cause.POPULATION_MOVED


def test_few_unknown_categories_are_the_population_and_many_are_broken_data() -> None:
    for size, cause in ((0.03, Cause.POPULATION_MOVED), (0.6, Cause.DATA_BROKEN)):
        assert find_cause(findings(signal("category", "channel", "unknown", size=size)), AGREE).cause == cause


@pytest.mark.parametrize("factor", [100.0, 0.01, 1000.0, 12.0, 24.0, 2.2046, 1 / 2.2046])
def test_a_unit_is_known_by_its_factor(factor: float) -> None:
    random = np.random.default_rng(3)
    before, after = np.exp(random.normal(2, 0.7, 3000)), np.exp(random.normal(2, 0.7, 600)) * factor
    unit = find_unit("weight", before, after)
    assert unit is not None
    assert unit.factor == pytest.approx(factor)


@pytest.mark.parametrize("factor", [1.0, 1.2, 1.5, 1.9, 3.0, 5.0, 40.0])
def test_other_factors_are_no_unit(factor: float) -> None:
    random = np.random.default_rng(3)
    before, after = np.exp(random.normal(2, 0.7, 3000)), np.exp(random.normal(2, 0.7, 600)) * factor
    assert find_unit("weight", before, after) is None


def test_another_shape_is_no_unit() -> None:
    random = np.random.default_rng(3)
    before, after = np.exp(random.normal(2, 0.5, 3000)), np.exp(random.normal(2, 2.0, 600)) * 100
    assert find_unit("weight", before, after) is None


def test_a_value_that_was_frequent_before_is_not_stuck() -> None:
    before = np.where(np.arange(500) % 10 < 7, 0.0, 3.0)
    assert stuck_value(before, np.zeros(100)) is None
    assert stuck_value(np.arange(500.0), np.full(100, 3.0)) == 3.0


def test_a_change_in_two_sites_is_not_one_sites() -> None:
    scores = np.array([2.0 if site in ("site-1", "site-2") else 0.0 for site in SITES])
    assert site_of(scores, SITES) is None
    assert site_of(np.array([2.0 if site == "site-1" else 0.0 for site in SITES]), SITES) == "site-1"


def test_too_few_pairs_say_nothing_about_versions() -> None:
    assert compare(None).agreement == Agreement.UNKNOWN
    assert compare(pairs(split=40, count=60)).agreement == Agreement.UNKNOWN
    assert compare(AGREE).agreement == Agreement.AGREE
    assert compare(DISAGREE).agreement == Agreement.DISAGREE


def test_every_piece_of_evidence_is_a_sentence_and_the_strongest_comes_first() -> None:
    weak = signal("input", "pace", "width", strength=5.0)
    decision = find_cause(findings(AMOUNT, weak, SCORE, after=scaled(1.3)), AGREE)
    assert all(one.statement and "None" not in one.statement for one in decision.evidence)
    assert decision.evidence[0].subject == "amount"
    assert decision.evidence[-1].kind == "disagreement"


def test_the_picture_is_the_same_for_the_same_findings(tmp_path: Path) -> None:
    found = findings(AMOUNT, SCORE, after=scaled(1.3))
    first = draw_evidence(found, "amounts moved", tmp_path / "a" / "one.png")
    second = draw_evidence(found, "amounts moved", tmp_path / "two.png")
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes().startswith(b"\x89PNG")


def with_latest(found: Findings, factor: float, site: str, rows: int = 10) -> Findings:
    """Return findings in which the latest rows of a site have amounts times a factor."""
    latest = AFTER.copy()
    here = [k for k, one in enumerate(SITES) if one == site][-rows:]
    latest[here, 0] *= factor
    return replace(found, latest=latest, latest_sites=SITES, raw=("amount",))


@pytest.mark.parametrize("factor", [100.0, 0.01, 1000.0])
def test_a_unit_at_one_site_is_told_though_only_the_score_is_in_alarm(factor: float) -> None:
    decision = find_cause(with_latest(findings(SCORE), factor, "site-3"))
    assert decision.cause == Cause.DATA_BROKEN
    assert decision.sites == ("site-3",)


@pytest.mark.parametrize(("factor", "rows"), [(1.0, 50), (2.0, 50), (5.0, 50), (100.0, 5)])
def test_dearer_sales_at_one_site_and_a_few_odd_rows_are_no_unit(factor: float, rows: int) -> None:
    assert find_cause(with_latest(findings(SCORE), factor, "site-3", rows)).cause != Cause.DATA_BROKEN


def test_a_site_of_dear_goods_has_the_unit_that_it_always_had() -> None:
    found = with_latest(findings(SCORE), 15.0, "site-3", 50)
    assert find_cause(found).cause == Cause.DATA_BROKEN
    usual = replace(found, site_levels={"site-3": np.array([2.8, 0.0])})
    assert find_cause(usual).cause != Cause.DATA_BROKEN


def test_what_a_feature_counts_has_no_unit_that_a_site_could_change() -> None:
    assert units_at_sites(with_latest(findings(SCORE), 100.0, "site-3"))
    assert not units_at_sites(replace(with_latest(findings(SCORE), 100.0, "site-3"), raw=()))


def test_an_input_that_moves_in_two_of_many_sites_is_never_the_population() -> None:
    after = AFTER.copy()
    after[[site in ("site-1", "site-2") for site in SITES], 0] *= 3.0
    assert find_cause(findings(AMOUNT, SCORE, after=after), AGREE).cause == Cause.UNDECIDED
    assert find_cause(findings(AMOUNT, SCORE, after=scaled(1.5)), AGREE).cause == Cause.POPULATION_MOVED


def test_a_score_that_drifts_in_two_of_many_sites_is_not_blamed_on_the_model() -> None:
    found = findings(SCORE)
    here = np.array([site in ("site-1", "site-2") for site in SITES])
    assert find_cause(replace(found, score_after=np.where(here, 0.9, found.score_after))).cause == Cause.UNDECIDED
    assert find_cause(replace(found, score_after=found.score_after + 0.2)).cause == Cause.MODEL_WORSE
