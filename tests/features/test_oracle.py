"""The engine against the oracle: every feature, on real transactions, on a simulated business, and on odd logs."""

import pyarrow as pa
import pytest
from hypothesis import given

from tests.features.handbook import canonical, customers_slice, needs_handbook, read_raw
from tests.features.logs import CONFIG, PROGRAM, deterministic, logs, tables_of
from tests.features.oracle import constant_features, differences, recompute
from vigil.contracts.events import Event
from vigil.features.compiler import compile_features
from vigil.features.definitions import FeatureConfig, define
from vigil.features.engine import compute_tables
from vigil.simulate import preset, simulate

WITHOUT_SITES = ("site", "stock", "supplier", "card", "restock", "refund")
"""What the handbook does not have, as it shows in the names of features."""


@pytest.fixture(scope="module")
def business() -> dict[str, pa.Table]:
    """A small chain over 140 days, with incidents."""
    overrides = {
        "days": 140,
        "chain": {"sites": 8, "terminals_per_site": 2, "customers_per_site": 60, "products": 10, "suppliers": 3},
        "demand": {"sales_per_site_day": 6},
        "incidents": [
            {"kind": "micro_flood", "transactions": 150},
            {"kind": "compromised_customer", "count": 4},
            {"kind": "compromised_terminal"},
            {"kind": "stock_out"},
        ],
    }
    return simulate(preset("quiet", overrides)).tables


@pytest.fixture(scope="module")
def expected(business: dict[str, pa.Table]) -> pa.Table:
    """What the oracle says of the small chain."""
    return recompute(business, CONFIG)


def test_every_feature_of_a_simulated_business_equals_the_oracle(
    business: dict[str, pa.Table], expected: pa.Table
) -> None:
    assert constant_features(expected, PROGRAM.names) == []
    assert differences(compute_tables(PROGRAM, business), expected, CONFIG) == []


def test_other_cutoffs_change_what_the_oracle_says_in_the_same_way(
    business: dict[str, pa.Table], expected: pa.Table
) -> None:
    config = FeatureConfig(
        low_amount=25, regular_spend=50, premium_spend=200, churn_days=5, high_value_sigma=1.5, outlier_sigma=2
    )
    computed = compute_tables(compile_features(define(config)), business)
    assert differences(computed, recompute(business, config), config) == []
    assert len(differences(computed, expected, CONFIG)) >= 12


@needs_handbook
def test_every_feature_of_real_transactions_equals_the_oracle() -> None:
    tables = canonical(customers_slice(read_raw(), customers=300))
    expected = recompute(tables, CONFIG)
    constant = constant_features(expected, PROGRAM.names)
    assert [name for name in constant if not any(part in name for part in WITHOUT_SITES)] == []
    assert differences(compute_tables(PROGRAM, tables), expected, CONFIG) == []


@given(logs())
@deterministic(40)
def test_every_feature_of_any_small_log_equals_the_oracle(log: list[Event]) -> None:
    tables = tables_of(log)
    assert differences(compute_tables(PROGRAM, tables), recompute(tables, CONFIG), CONFIG) == []


def test_the_comparison_notices_one_wrong_value(business: dict[str, pa.Table], expected: pa.Table) -> None:
    computed = compute_tables(PROGRAM, business)
    computed.values[7, PROGRAM.names.index("customer_amount_mean_7d")] += 0.01
    assert [line.split(":")[0] for line in differences(computed, expected, CONFIG)] == ["customer_amount_mean_7d"]
