"""The event log: its order, what it refuses, and the numbers that keys stand for."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.features.logs import PROGRAM, START, deterministic, logs, sale, tables_of
from vigil.contracts.events import (
    EVENTS,
    Event,
    Restock,
    StockLevel,
    StockMovement,
    Verdict,
    arrow_schema,
    to_table,
)
from vigil.errors import ContractError
from vigil.features.engine import compute_tables
from vigil.features.fields import KINDS, Slice, key_code
from vigil.features.log import EventLog, KeyIndex, entity_key


def kinds_of(log: EventLog) -> list[str]:
    return [KINDS[kind] for kind in log.chunk(0, len(log)).kinds]


@given(logs())
@deterministic(50)
def test_a_log_holds_all_events_by_time_then_kind_then_id(events: list[Event]) -> None:
    log = EventLog.of(tables_of(events))
    assert kinds_of(log) == [event.kind for event in events]
    asked = [event.event_id for event in events if event.kind == "transaction"]
    assert log.chunk(0, len(log)).transaction_ids().to_pylist() == asked


def test_what_is_known_comes_before_what_asks_at_the_same_moment() -> None:
    place = {"event_time": START, "site_id": "s1", "product_id": "p1"}
    events = [
        sale(1, 0),
        StockMovement(event_id="a", **place, quantity=1, reason="sale"),
        Restock(event_id="b", **place, supplier_id="u1", quantity=1),
        StockLevel(event_id="c", **place, on_hand=1),
        Verdict(event_id="d", event_time=START, transaction_id="t", is_fraud=True, source="bank"),
    ]
    known = ["verdict", "stock_level", "restock", "stock_movement"]
    assert kinds_of(EventLog.of(tables_of(events))) == [*known, "transaction"]


@given(logs(), st.data())
@deterministic(50)
def test_chunks_are_the_log_in_pieces(events: list[Event], data: st.DataObject) -> None:
    log = EventLog.of(tables_of(events))
    cut = data.draw(st.integers(0, len(log)))
    whole = log.chunk(0, len(log)).fields(PROGRAM.fields)
    parts = (log.chunk(0, cut), log.chunk(cut, len(log)))
    pieces = np.concatenate([part.fields(PROGRAM.fields) for part in parts], axis=1)
    assert np.array_equal(whole, pieces, equal_nan=True)


def test_an_event_that_is_there_twice_is_named() -> None:
    tables = {"transaction": to_table(EVENTS["transaction"], [sale(1, 5), sale(2, 5), sale(1, 5)])}
    with pytest.raises(ContractError, match=r"transaction 't001' is there twice: remove duplicates, as `vigil ingest`"):
        EventLog.of(tables)


def test_events_of_one_time_need_not_be_twins() -> None:
    tables = {"transaction": to_table(EVENTS["transaction"], [sale(2, 5), sale(1, 5), sale(3, 5)])}
    assert compute_tables(PROGRAM, tables).event_ids.to_pylist() == ["t001", "t002", "t003"]


def test_an_unknown_kind_is_named_with_the_known_ones() -> None:
    with pytest.raises(ContractError, match=r"unknown event kind 'sale': one of transaction, stock_level"):
        EventLog.of({"sale": pa.table({"event_id": ["1"]})})


def test_a_kind_that_no_feature_uses_is_left_out() -> None:
    tables = {"site_reading": arrow_schema(EVENTS["site_reading"]).empty_table(), **tables_of([sale(1, 0)])}
    assert len(EventLog.of(tables)) == 1


def test_a_column_of_another_type_is_named() -> None:
    table = to_table(EVENTS["transaction"], [sale(1, 0)])
    wrong = table.set_column(table.column_names.index("amount"), "amount", pa.array(["ten"]))
    with pytest.raises(ContractError, match=r"transaction\.amount is string, not double: Failed to parse"):
        EventLog.of({"transaction": wrong})


def test_a_missing_column_is_named() -> None:
    table = to_table(EVENTS["transaction"], [sale(1, 0)]).drop_columns(["amount"])
    with pytest.raises(ContractError, match="a table of transaction lacks the column amount"):
        EventLog.of({"transaction": table})


def test_a_surplus_column_is_named() -> None:
    table = to_table(EVENTS["transaction"], [sale(1, 0)]).append_column("colour", pa.array(["red"]))
    with pytest.raises(ContractError, match="columns that a transaction does not have: colour"):
        EventLog.of({"transaction": table})


def test_a_column_that_may_be_absent_reads_as_missing() -> None:
    table = to_table(EVENTS["transaction"], [sale(1, 0), sale(2, 1)])
    slim = table.select(["event_id", "event_time", "amount", "customer_id"])
    full = compute_tables(PROGRAM, {"transaction": slim})
    keys = {"card_id": None, "terminal_id": None, "site_id": None, "site_group": None}
    nulls = [sale(1, 0, **keys), sale(2, 1, **keys)]
    assert np.array_equal(full.values, compute_tables(PROGRAM, tables_of(nulls)).values)


def test_empty_tables_give_an_empty_feature_table() -> None:
    for tables in ({}, tables_of([]), {"transaction": arrow_schema(EVENTS["transaction"]).empty_table()}):
        table = compute_tables(PROGRAM, tables)
        assert len(table) == 0
        assert table.values.shape == (0, len(PROGRAM.names))
        assert table.to_arrow().column_names == ["event_id", "event_time", *PROGRAM.names]


def test_a_log_without_transactions_has_no_features() -> None:
    verdict = Verdict(event_id="v", event_time=sale(1, 0).event_time, transaction_id="t", is_fraud=True, source="bank")
    assert len(compute_tables(PROGRAM, tables_of([verdict]))) == 0


def test_chunked_and_sliced_tables_are_read_like_whole_ones() -> None:
    events = [sale(n, n, n, customer_id=f"c{n % 3}" if n % 4 else None) for n in range(60)]
    whole = to_table(EVENTS["transaction"], events)
    pieces = [to_table(EVENTS["transaction"], events[n : n + 7]) for n in range(0, 60, 7)]
    sliced = to_table(EVENTS["transaction"], [*events, sale(99, 99)]).slice(0, 60)
    expected = compute_tables(PROGRAM, {"transaction": whole})
    for table in (pa.concat_tables(pieces), sliced):
        assert compute_tables(PROGRAM, {"transaction": table}).to_arrow().equals(expected.to_arrow())


def test_keys_are_numbered_as_they_are_first_seen_and_keep_their_number() -> None:
    index = KeyIndex()
    assert index.encode(np.array([1, -1, 0, 1]), pa.array(["b", "a"])).tolist() == [1, -1, 0, 1]
    assert index.encode(np.array([0, 1, 2]), pa.array(["c", "a", "b"])).tolist() == [2, 1, 0]
    assert index.keys.to_pylist() == ["b", "a", "c"]


def test_a_value_that_no_row_uses_gets_no_number() -> None:
    index = KeyIndex()
    index.encode(np.array([1]), pa.array(["unused", "used"]))
    assert index.keys.to_pylist() == ["used"]


def test_a_key_is_found_again_by_its_code() -> None:
    index = KeyIndex()
    assert index.find_codes(np.array([5])).tolist() == [-1]
    index.encode(np.array([0, 1]), pa.array(["u1", "u2"]))
    codes = np.array([key_code("u2"), key_code("u3"), key_code("u1")])
    assert index.find_codes(codes).tolist() == [1, -1, 0]


def test_keys_of_several_columns_do_not_run_together() -> None:
    assert entity_key(("a", "bc")) != entity_key(("ab", "c"))
    assert entity_key(("a", None)) is None


def test_a_field_that_a_kind_of_event_lacks_is_missing() -> None:
    rows = Slice(KINDS.index("transaction"), to_table(EVENTS["transaction"], [sale(1, 0)]), np.array([0]))
    assert np.isnan(rows.number("on_hand")).all()
    assert np.isnan(rows.key_code("supplier_id")).all()
    assert np.isnan(rows.is_kind("verdict")).all()
