import pandas as pd
import pyarrow.compute as pc
import pytest

from tests.simulate.conftest import frame
from vigil.contracts.events import EVENTS, arrow_schema, event_model, parse_event
from vigil.simulate import Simulated

KINDS = sorted(set(EVENTS) - {"feed_silence"})


@pytest.mark.parametrize("kind", KINDS)
def test_the_schema_is_exactly_the_contract(small: Simulated, kind: str) -> None:
    assert small.tables[kind].schema.equals(arrow_schema(event_model(kind)), check_metadata=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_of_the_rows_passes_the_contract_one_by_one(small: Simulated, kind: str) -> None:
    table = small.tables[kind]
    sample = table.take(list(range(0, table.num_rows, table.num_rows // 200)))
    for row in sample.to_pylist():
        parse_event(kind, row)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_sorted_by_time_then_id(small: Simulated, kind: str) -> None:
    table = small.tables[kind]
    order = pc.sort_indices(table, sort_keys=[("event_time", "ascending"), ("event_id", "ascending")])
    assert order.to_pylist() == list(range(table.num_rows))


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_unique_within_their_kind(small: Simulated, kind: str) -> None:
    table = small.tables[kind]
    assert pc.count_distinct(table["event_id"]).as_py() == table.num_rows > 0


def test_a_terminal_belongs_to_its_site_and_a_card_to_its_customer(small: Simulated) -> None:
    sales = frame(small, "transaction")
    assert (sales.terminal_id.str.split("-").str[0] == sales.site_id).all()
    by_card = sales.dropna(subset="card_id").groupby("card_id").customer_id.nunique()
    assert (by_card == 1).all()
    assert (sales.card_id.isna() == sales.customer_id.isna()).all()


def test_every_key_is_one_of_the_chain(small: Simulated) -> None:
    chain = small.config.chain
    sales = frame(small, "transaction")
    assert sales.site_id.nunique() == chain.sites
    assert set(sales.site_group) == {group.name for group in chain.groups}
    assert sales.terminal_id.nunique() == chain.sites * chain.terminals_per_site
    assert sales.customer_id.nunique() <= chain.sites * chain.customers_per_site
    restocks = frame(small, "restock")
    assert restocks.supplier_id.nunique() <= chain.suppliers
    assert set(frame(small, "stock_level").product_id) == set(sales.product_id.dropna()) | set(restocks.product_id)


def test_each_product_has_one_supplier(small: Simulated) -> None:
    assert (frame(small, "restock").groupby("product_id").supplier_id.nunique() == 1).all()


def test_the_offset_is_that_of_the_sites_time_zone(small: Simulated) -> None:
    zones = {group.name: group.time_zone for group in small.config.chain.groups}
    for group, sales in frame(small, "transaction").groupby("site_group"):
        expected = sales.event_time.dt.tz_convert(zones[str(group)]).dt.tz_localize(None)
        pd.testing.assert_series_equal(sales.local, expected, check_names=False)


def test_the_clocks_change_within_the_small_preset(small: Simulated) -> None:
    offsets = frame(small, "transaction").groupby("site_group").utc_offset_minutes.nunique()
    assert (offsets == 2).all()


def test_every_transaction_that_arrived_has_one_verdict_after_the_delay(small: Simulated) -> None:
    sales, verdicts = frame(small, "transaction"), frame(small, "verdict")
    assert verdicts.transaction_id.is_unique
    both = sales.merge(verdicts, left_on="event_id", right_on="transaction_id", suffixes=("", "_of_verdict"))
    assert len(both) == len(sales) == len(verdicts)
    assert (both.event_time_of_verdict - both.event_time == pd.Timedelta(days=7)).all()
    assert (both.amount == both.amount_of_verdict).all()
    for key in ("customer_id", "card_id", "terminal_id", "site_id"):
        assert (both[key].fillna("") == both[f"{key}_of_verdict"].fillna("")).all()


def test_the_source_of_a_verdict_says_whether_it_is_fraud(small: Simulated) -> None:
    verdicts = frame(small, "verdict")
    assert (verdicts.is_fraud == (verdicts.source == "chargeback")).all()
    assert set(verdicts.source) == {"chargeback", "settlement"}
