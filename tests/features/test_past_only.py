"""No feature sees its own event or anything later; the same events give the same bytes, in whatever order they lie."""

import random
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.features.logs import PROGRAM, deterministic, in_log_order, logs, sale, tables_of
from vigil.contracts.events import Event, Transaction
from vigil.contracts.keys import hash_table
from vigil.features.engine import FeatureTable, compute_tables
from vigil.features.language import Feature, Field, walk

OF_THE_CLOCK = {"hour", "weekday", "month", "quarter"}
"""Fields that follow from the event's time zone."""


def compute(events: list[Event]) -> FeatureTable:
    return compute_tables(PROGRAM, tables_of(events))


def rows_before(table: FeatureTable, events: list[Event], position: int) -> np.ndarray:
    """Return the features of the transactions before a position of the log."""
    return table.values[: sum(event.kind == "transaction" for event in events[:position])]


def own_fields(feature: Feature) -> set[str]:
    """Return the fields of its own event that a feature's formula reads."""
    return {node.name for node in walk(feature.node) if isinstance(node, Field)}


def moved(before: FeatureTable, after: FeatureTable, event: Event) -> set[str]:
    """Return the features of one event that differ."""
    row = before.event_ids.to_pylist().index(event.event_id)
    return {PROGRAM.names[k] for k in np.flatnonzero(before.values[row] != after.values[row])}


@given(logs(), st.data())
@deterministic(60)
def test_nothing_before_a_removed_event_moves(log: list[Event], data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(log)))
    computed = rows_before(compute(log), log, position)
    assert np.array_equal(computed, compute(log[:position]).values)
    assert np.array_equal(computed, rows_before(compute(log[:position] + log[position + 1 :]), log, position))


@given(logs(), st.data())
@deterministic(60)
def test_nothing_before_a_changed_or_shifted_event_moves(log: list[Event], data: st.DataObject) -> None:
    if not log:
        return
    position = data.draw(st.integers(0, len(log) - 1))
    later = log[position].event_time + timedelta(seconds=data.draw(st.integers(0, 10**7)))
    change = {"event_time": later, "amount": -999.0, "is_fraud": True, "on_hand": 7.0, "supplier_id": "u9"}
    fitting = {name: value for name, value in change.items() if name in type(log[position]).model_fields}
    changed = in_log_order([*log[:position], log[position].model_copy(update=fitting), *log[position + 1 :]])
    before = rows_before(compute(log), log, position)
    assert np.array_equal(before, rows_before(compute(changed), changed, position))


@given(logs(), st.data())
@deterministic(60)
def test_the_own_amount_moves_only_features_whose_formula_reads_it(log: list[Event], data: st.DataObject) -> None:
    sales = [event for event in log if event.kind == "transaction"]
    if not sales:
        return
    event = data.draw(st.sampled_from(sales))
    changed = [event.model_copy(update={"amount": 77.77}) if other is event else other for other in log]
    readers = {feature.name for feature in PROGRAM.features if "amount" in own_fields(feature)}
    assert moved(compute(log), compute(changed), event) <= readers


@given(logs(), st.data())
@deterministic(60)
def test_the_own_time_zone_moves_only_features_whose_formula_reads_the_clock(
    log: list[Event], data: st.DataObject
) -> None:
    sales = [event for event in log if event.kind == "transaction"]
    if not sales:
        return
    event = data.draw(st.sampled_from(sales))
    changed = [event.model_copy(update={"utc_offset_minutes": 840}) if other is event else other for other in log]
    readers = {feature.name for feature in PROGRAM.features if OF_THE_CLOCK & own_fields(feature)}
    assert moved(compute(log), compute(changed), event) <= readers


def test_every_feature_that_reads_the_own_amount_can_move_with_it() -> None:
    past: list[Event] = [sale(n, 600 * n, 10 + n, site_id=None) for n in range(5)]
    small, large = sale(9, 4_000, 13, site_id=None), sale(9, 4_000, 900, site_id=None)
    of_sites = {"is_high_value_for_site"}
    readers = {feature.name for feature in PROGRAM.features if "amount" in own_fields(feature)} - of_sites
    assert moved(compute([*past, small]), compute([*past, large]), small) == readers


def test_the_first_event_of_all_has_no_past() -> None:
    table = compute([sale(1, 0, 25)])
    values = dict(zip(table.names, table.values[0], strict=True))
    of_itself = {feature.name for feature in PROGRAM.features if OF_THE_CLOCK & own_fields(feature)}
    known = {"amount": 25, "amount_over_baseline": 0.5}
    expected = {feature.name: known.get(feature.name, feature.default) for feature in PROGRAM.features}
    assert {name: values[name] for name in expected if name not in of_itself} == {
        name: value for name, value in expected.items() if name not in of_itself
    }


@given(logs(), st.integers(0, 10**6))
@deterministic(40)
def test_the_order_of_tables_and_rows_is_irrelevant(log: list[Event], seed: int) -> None:
    shuffled = random.Random(seed).sample(log, len(log))
    tables = dict(reversed(tables_of(shuffled).items()))
    assert compute_tables(PROGRAM, tables).to_arrow().equals(compute(log).to_arrow())


def test_a_rerun_gives_the_same_bytes() -> None:
    log: list[Event] = [sale(n, 37 * n, n % 7 + 0.1 * n, customer_id=f"c{n % 5}") for n in range(400)]
    first, second = compute(log), compute(log)
    assert first.values.tobytes() == second.values.tobytes()
    assert hash_table(first.to_arrow()) == hash_table(second.to_arrow())


def test_computing_leaves_the_input_as_it_was() -> None:
    tables = tables_of([sale(n, 100 - n, n) for n in range(50)])
    before = {kind: hash_table(table) for kind, table in tables.items()}
    compute_tables(PROGRAM, tables)
    assert {kind: hash_table(table) for kind, table in tables.items()} == before


@pytest.mark.parametrize("amount", [0.1, 9.99, 19.9, 4.95])
def test_one_who_always_pays_the_same_is_no_high_value(amount: float) -> None:
    table = compute([sale(n, 600 * n, amount) for n in range(40)])
    for name in ("is_high_value_for_customer", "is_high_value_for_site", "is_order_value_outlier"):
        assert not table.values[:, table.names.index(name)].any(), name


def test_half_cents_are_rounded_alike_in_sums_and_squares() -> None:
    values = [value / 1000 for value in range(5, 3_000, 10)]
    log: list[Event] = [sale(n, n, values[n // 2], customer_id=f"c{n // 2}") for n in range(2 * len(values))]
    log += [sale(900 + n, 2_000 + n, 1.0, customer_id=f"c{n}") for n in range(len(values))]
    table = compute(in_log_order(log))
    spread = table.values[-len(values) :, table.names.index("customer_amount_std_30d")]
    assert spread.max() < 1e-4


def test_transactions_keep_their_own_amount_to_the_last_bit() -> None:
    event: Transaction = sale(1, 0, 0.235)
    table = compute([event])
    assert table.values[0, table.names.index("amount")] == np.float32(0.235)
