from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.simulate.conftest import brief, frame
from vigil.contracts.events import MAX_AMOUNT
from vigil.errors import ContractError
from vigil.simulate import Simulated, preset, simulate
from vigil.simulate.incident_config import KINDS
from vigil.simulate.truth import IncidentTruth


def alone(**incident: Any) -> tuple[Simulated, IncidentTruth]:
    simulated = brief(incident)
    (truth,) = simulated.incidents
    return simulated, truth


def labelled(simulated: Simulated) -> pd.DataFrame:
    verdicts = frame(simulated, "verdict").set_index("transaction_id")
    return frame(simulated, "transaction").set_index("event_id").join(verdicts[["is_fraud", "category"]])


def during(events: pd.DataFrame, truth: IncidentTruth) -> pd.DataFrame:
    return events[(events.event_time >= truth.start) & (events.event_time < truth.end)]


def in_both(before: Simulated, after: Simulated, kind: str) -> pd.DataFrame:
    left, right = (frame(simulated, kind).set_index("event_id") for simulated in (before, after))
    return left.join(right, rsuffix="_after", how="inner")


def days_of(truth: IncidentTruth) -> float:
    return (pd.Timestamp(truth.end) - pd.Timestamp(truth.start)) / pd.Timedelta(days=1)


def test_large_amounts_are_the_stated_share_and_size() -> None:
    simulated, truth = alone(kind="large_amounts", share=0.01, minimum=200.0)
    events = labelled(simulated)
    frauds = events[events.is_fraud]
    by_card = events[events.customer_id.notna() & (events.amount > 0)]
    assert len(frauds) == truth.affected["changed"]
    assert len(frauds) / len(by_card) == pytest.approx(0.01, rel=0.25)
    assert frauds.amount.min() >= 200
    assert frauds.customer_id.notna().all()
    assert set(frauds.category) == {"large_amounts"}


def test_a_compromised_till_is_fraud_for_28_days_in_amounts_like_any_other(quiet: Simulated) -> None:
    simulated, truth = alone(kind="compromised_terminal", terminal="S0003-T01")
    events = labelled(simulated)
    by_card = during(events[(events.terminal_id == "S0003-T01") & events.customer_id.notna()], truth)
    sales = by_card[by_card.amount > 0]
    assert days_of(truth) == pytest.approx(28, abs=0.05)
    assert sales.is_fraud.mean() == pytest.approx(0.5, abs=0.08)
    assert events.is_fraud.sum() == sales.is_fraud.sum() == truth.affected["labelled"]
    both = in_both(quiet, simulated, "transaction")
    assert (both.amount == both.amount_after).all()


def test_a_compromised_customer_buys_several_times_as_much_for_14_days(quiet: Simulated) -> None:
    simulated, truth = alone(kind="compromised_customer", share=1.0, multiplier=5)
    both = in_both(quiet, simulated, "transaction")
    changed = both[both.amount != both.amount_after]
    assert days_of(truth) == pytest.approx(14, abs=0.05)
    assert set(changed.customer_id) == {truth.entity_id}
    assert len(changed) == truth.affected["changed"] >= 1
    np.testing.assert_allclose(changed.amount_after, 5 * changed.amount)
    assert len(during(changed, truth)) == len(changed)
    assert set(labelled(simulated).query("is_fraud").index) == set(changed.index)


@pytest.mark.parametrize(("through", "column"), [("card", "card_id"), ("terminal", "terminal_id"), ("site", "site_id")])
def test_a_flood_is_thousands_of_tiny_amounts_through_one_entity(through: str, column: str) -> None:
    simulated, truth = alone(kind="micro_flood", through=through, transactions=2_500)
    frauds = labelled(simulated).query("is_fraud")
    assert len(frauds) == truth.affected["added"] == 2_500
    assert (truth.entity, set(frauds[column])) == (through, {truth.entity_id})
    assert frauds.amount.between(0.10, 3.00).all()
    assert frauds.event_time.max() - frauds.event_time.min() <= pd.Timedelta(hours=12)
    assert set(frauds.site_id) == {truth.site_id}
    assert frauds.product_id.isna().all()


def test_a_flood_through_many_cards_uses_many_cards() -> None:
    simulated, _ = alone(kind="micro_flood", through="terminal")
    assert labelled(simulated).query("is_fraud").card_id.nunique() > 100


@pytest.mark.parametrize("feeds", [["transaction"], ["site_reading"], ["transaction", "site_reading"]])
def test_what_a_silent_feed_sends_does_not_arrive_and_the_rest_does(quiet: Simulated, feeds: list[str]) -> None:
    simulated, truth = alone(kind="silent_feed", feeds=feeds, site="S0003", start_day=21, hours=48)
    missing = 0
    for kind in ("transaction", "site_reading"):
        before = frame(quiet, kind)
        expected = during(before[before.site_id == "S0003"], truth).event_id if kind in feeds else []
        gone = set(before.event_id) - set(frame(simulated, kind).event_id)
        assert gone == set(expected)
        missing += len(gone)
    assert missing == truth.affected["withheld"] > 40


def test_what_does_not_arrive_happened_all_the_same(quiet: Simulated) -> None:
    simulated, _ = alone(kind="silent_feed", feeds=["transaction"], site="S0003", start_day=21)
    for kind in ("site_reading", "stock_level", "stock_movement", "restock"):
        assert simulated.tables[kind].equals(quiet.tables[kind])


def test_one_metric_can_fall_silent_alone(quiet: Simulated) -> None:
    simulated, truth = alone(kind="silent_feed", feeds=["site_reading"], metric="visitors", hours=48)
    before, after = frame(quiet, "site_reading"), frame(simulated, "site_reading")
    gone = before[~before.event_id.isin(after.event_id)]
    assert (set(gone.metric), len(gone), truth.metric) == ({"visitors"}, 48, "visitors")


def test_a_dip_takes_the_stated_share_of_one_sites_sales(quiet: Simulated) -> None:
    simulated, truth = alone(kind="sales_dip", site="S0004", days=14, depth=0.6)
    before = frame(quiet, "transaction").query("amount > 0")
    expected = during(before[before.site_id == "S0004"], truth)
    gone = before[~before.event_id.isin(frame(simulated, "transaction").event_id)]
    assert len(gone) / len(expected) == pytest.approx(0.6, abs=0.06)
    assert set(gone.event_id) <= set(expected.event_id)


@pytest.mark.parametrize(("footfall", "ratio"), [(True, 0.4), (False, 1.0)])
def test_a_dip_keeps_visitors_away_only_where_it_says_so(quiet: Simulated, footfall: bool, ratio: float) -> None:
    simulated, truth = alone(kind="sales_dip", site="S0004", days=14, depth=0.6, footfall=footfall)
    both = in_both(quiet, simulated, "site_reading").query("metric == 'visitors' and site_id == 'S0004'")
    within = during(both, truth)
    assert within.value_after.sum() / within.value.sum() == pytest.approx(ratio, abs=0.05)


def test_a_drift_raises_amounts_gradually_and_for_good(quiet: Simulated) -> None:
    simulated, truth = alone(kind="population_drift", start_day=15, over_days=20, amount_factor=1.3, mix_share=0.0)
    both = in_both(quiet, simulated, "transaction").query("amount > 0")
    ratio = both.amount_after / both.amount
    day = (both.event_time - pd.Timestamp(truth.start)) / pd.Timedelta(days=1)
    assert (ratio[day < 0] == 1).all()
    assert ratio[(day > 9) & (day < 11)].mean() == pytest.approx(1.15, abs=0.01)
    assert ratio[day > 20].mean() == pytest.approx(1.3, abs=0.01)


def test_a_drift_moves_purchases_to_dearer_goods(quiet: Simulated) -> None:
    simulated, _ = alone(kind="population_drift", start_day=10, over_days=10, amount_factor=1.0, mix_share=0.4)
    both = in_both(quiet, simulated, "transaction").query("amount > 0")
    moved = both[both.product_id != both.product_id_after]
    late = both.local > both.local.min() + pd.Timedelta(days=21)
    assert moved.index.isin(both.index[late]).sum() / late.sum() == pytest.approx(0.4, abs=0.04)
    assert (moved.product_id_after > "P0020").all()


def test_a_drift_is_not_fraud() -> None:
    simulated, truth = alone(kind="population_drift")
    events = labelled(simulated)
    assert not events.is_fraud.any()
    assert (events.category == "population_drift").sum() == truth.affected["changed"] > 1_000


def test_a_broken_unit_multiplies_the_amounts_of_one_site_and_nothing_else(quiet: Simulated) -> None:
    simulated, truth = alone(kind="broken_unit", site="S0001", days=5)
    both = in_both(quiet, simulated, "transaction")
    changed = both[both.amount != both.amount_after]
    assert len(changed) == truth.affected["changed"] == len(during(both[both.site_id == "S0001"], truth))
    np.testing.assert_allclose(changed.amount_after, 100 * changed.amount)
    assert simulated.tables["site_reading"].equals(quiet.tables["site_reading"])
    assert simulated.tables["stock_level"].equals(quiet.tables["stock_level"])


def test_a_broken_unit_stays_within_the_largest_amount_of_the_contract() -> None:
    simulated = brief(
        {"kind": "broken_unit", "factor": 1_000}, {"kind": "large_amounts", "minimum": 9_000, "share": 1.0}
    )
    assert frame(simulated, "transaction").amount.max() == MAX_AMOUNT


def test_a_broken_unit_of_a_reading_leaves_the_transactions_alone(quiet: Simulated) -> None:
    simulated, truth = alone(kind="broken_unit", feed="site_reading", site="S0001", days=5)
    both = in_both(quiet, simulated, "site_reading")
    changed = both[both.value != both.value_after]
    assert set(zip(changed.site_id, changed.metric, changed.unit_after, strict=True)) == {("S0001", "sales", "EUR")}
    np.testing.assert_allclose(changed.value_after, 100 * changed.value)
    assert len(changed) == truth.affected["changed"]
    assert simulated.tables["transaction"].equals(quiet.tables["transaction"])


def test_a_thiefs_purchase_is_not_brought_back() -> None:
    simulated = brief({"kind": "compromised_terminal", "share": 1.0}, demand={"refund_share": 0.5})
    effects = simulated.incidents[0].affected
    assert effects["prevented"] > 0.3 * effects["labelled"]


def test_a_prevented_sale_is_not_brought_back() -> None:
    simulated, truth = alone(kind="sales_dip", depth=1.0, site="S0002", start_day=20)
    events = frame(simulated, "transaction")
    assert len(during(events[(events.site_id == "S0002") & (events.amount > 0)], truth)) == 0
    prevented = simulated.affected.to_pandas()
    assert not events.event_id.isin(prevented.event_id).any()


def test_the_truth_counts_what_the_table_of_affected_events_lists(small: Simulated) -> None:
    listed = small.affected.to_pandas().astype(str).groupby(["incident", "effect"]).size()
    counted = {(row.name, effect): count for row in small.incidents for effect, count in row.affected.items()}
    assert listed.to_dict() == counted


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_the_small_preset_touches_events(small: Simulated, kind: str) -> None:
    assert sum(row.events for row in small.incidents if row.kind == kind) > 0


def test_arrived_affected_events_are_in_the_tables_and_the_others_are_not(small: Simulated) -> None:
    listed = small.affected.to_pandas()
    for kind in ("transaction", "site_reading"):
        events = listed[listed.kind == kind]
        there = events.event_id.isin(small.tables[kind]["event_id"].to_pandas())
        assert (there == events.effect.isin(["changed", "labelled", "added"])).all()


def test_count_makes_so_many_incidents_at_their_own_times() -> None:
    simulated = brief({"kind": "sales_dip", "count": 4})
    assert [row.name for row in simulated.incidents] == [f"sales_dip-1.{number}" for number in (1, 2, 3, 4)]
    assert len({(row.site_id, row.start) for row in simulated.incidents}) == 4


def test_different_kinds_strike_different_sites() -> None:
    kinds = ("micro_flood", "silent_feed", "stock_out", "sales_dip", "broken_unit")
    simulated = simulate(preset("quiet", {"days": 30, "incidents": [{"kind": kind} for kind in kinds]}))
    assert len({row.site_id for row in simulated.incidents}) == len(kinds)


@pytest.mark.parametrize(
    ("incident", "message"),
    [
        ({"kind": "sales_dip", "site": "S0099"}, "'sales_dip-1': there is no site 'S0099', only S0001 to S0006"),
        ({"kind": "compromised_terminal", "terminal": "T1"}, "no terminal 'T1', only S0001-T01 to S0006-T04"),
        ({"kind": "compromised_customer", "customer": "Bob"}, "no customer 'Bob', only C0000001 to C0000900"),
        ({"kind": "stock_out", "product": "milk"}, "no product 'milk', only P0001 to P0040"),
        ({"kind": "silent_feed", "metric": "noise"}, "no metric 'noise', only sales, transactions, visitors, energy"),
    ],
)
def test_an_incident_at_something_unknown_is_refused(incident: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        brief(incident)


def test_a_flood_on_a_closed_day_waits_for_the_next_opening() -> None:
    sunday = 6
    simulated, truth = alone(kind="micro_flood", site="S0001", start_day=sunday)
    assert pd.Timestamp(truth.start) == pd.Timestamp("2025-02-10T07:00Z")
    assert len(during(labelled(simulated).query("is_fraud"), truth)) == truth.affected["added"]


def test_a_flood_after_the_last_opening_is_refused() -> None:
    with pytest.raises(ContractError, match="the site is closed from day 6 on: start it earlier"):
        brief({"kind": "micro_flood", "site": "S0001", "start_day": 6}, days=7)


def test_fraud_is_rare_and_its_share_is_told(small: Simulated) -> None:
    shares = small.fraud_shares
    verdicts = frame(small, "verdict")
    assert sum(shares.values()) == pytest.approx(verdicts.is_fraud.mean())
    assert 0.005 < sum(shares.values()) - shares["micro_flood"] < 0.015
    assert shares["micro_flood"] < 0.02


def test_the_amount_alone_tells_something_of_a_fraud_but_not_much(small: Simulated) -> None:
    events = labelled(small)
    events = events[(events.amount > 0) & ~events.category.isin(["micro_flood", "broken_unit"])]
    ranks = events.amount.rank()
    frauds = events.is_fraud
    positives, negatives = frauds.sum(), (~frauds).sum()
    auc = (ranks[frauds].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    assert 0.55 < auc < 0.85
