import math

import pyarrow as pa
import pytest

from tests.ingest.conftest import GOOD, HEADER, TILL, Ingest


def with_amount(source: str) -> str:
    return TILL.replace("amount: amount", f"amount: {source}")


def only(table: pa.Table, column: str) -> object:
    values = table[column].to_pylist()
    assert len(values) == 1
    return values[0]


@pytest.mark.parametrize(
    ("source", "text", "expected"),
    [
        ("amount", "12.50", 12.5),
        ("amount", " 1e2 ", 100.0),
        ("{column: amount, scale: 0.01}", "1250", 12.5),
        ("{column: amount, transform: exp}", "0", 1.0),
        ("{column: amount, transform: log}", "1", 0.0),
        ("{column: amount, transform: abs}", "-3", 3.0),
        ("{column: amount, transform: negate}", "3", -3.0),
        ("{column: amount, decimals: 1}", "3.14", 3.1),
        ("{product: [amount, amount]}", "3", 9.0),
        ("{product: [amount, {column: amount, transform: exp}]}", "1", math.e),
        ("{column: amount, values: {low: 1.5, high: 2}}", "high", 2.0),
        ("{constant: 7}", "1", 7.0),
    ],
)
def test_a_number_comes_out_as_its_source_says(ingest: Ingest, source: str, text: str, expected: float) -> None:
    done = ingest(HEADER + f"t1,2024-05-01,{text},c,s\n", with_amount(source))
    assert only(done.events(), "amount") == pytest.approx(expected, rel=1e-12)


def test_a_decimal_comma_is_read_if_the_reader_says_so(ingest: Ingest) -> None:
    mapping = TILL.replace("{format: csv}", '{format: csv, delimiter: ";", decimal_point: ","}')
    done = ingest((HEADER + "t1,2024-05-01,12;5,c,s\n").replace(",", "|").replace(";", ",").replace("|", ";"), mapping)
    assert only(done.events(), "amount") == 12.5


def test_a_key_may_be_put_together_from_columns_and_the_row(ingest: Ingest) -> None:
    mapping = TILL.replace('id: "{id}"', 'id: "{site}-{id}-{#row}"').replace(
        "site_id: site", 'site_id: {template: "shop {site}"}'
    )
    done = ingest(HEADER + GOOD, mapping)
    assert (only(done.events(), "event_id"), only(done.events(), "site_id")) == ("s1-t1-1", "shop s1")


def test_whole_numbers_that_pandas_turned_into_floats_are_keys_without_a_point(ingest: Ingest) -> None:
    table = pa.table(
        {
            "id": ["a", "b"],
            "time": ["2024-05-01"] * 2,
            "amount": [1.0, 2.0],
            "customer": [17850.0, math.nan],
            "site": [1, 2],
        }
    )
    done = ingest(table, TILL.replace("csv", "parquet"), name="till.parquet")
    assert done.events()["customer_id"].to_pylist() == ["17850", None]


def test_a_column_that_may_be_absent_is_null(ingest: Ingest) -> None:
    mapping = TILL.replace("site_id: site", "site_id: {column: shop, may_be_absent: true}")
    assert only(ingest(HEADER + GOOD, mapping).events(), "site_id") is None


def test_nan_is_null_only_where_the_mapping_says_so(ingest: Ingest) -> None:
    fields = "amount: amount\n      quantity: {column: amount, nan_is_null: true}"
    table = pa.table({"id": ["a"], "time": ["2024-05-01"], "amount": [math.nan], "customer": ["c"], "site": ["s"]})
    mapping = TILL.replace("csv", "parquet").replace("amount: amount", fields)
    done = ingest(table, mapping.replace("amount: amount", "amount: {constant: 1}"), name="till.parquet")
    assert only(done.events(), "quantity") is None


METER = """
name: meter
time_zone: UTC
events:
  - kind: site_reading
    id: "{site}/{#column}/{time}"
    time: time
    fields: {site_id: site}
    unpivot:
      columns:
        load: {metric: load, unit: kW}
        heat: {metric: heat, unit: K}
limits: {max_quarantined_share: 1}
"""


def test_several_metrics_of_a_row_become_readings_of_their_own(ingest: Ingest) -> None:
    done = ingest("site,time,load,heat\ns,2024-05-01,1,280\n", METER)
    rows = done.events("site_reading").select(["event_id", "metric", "value", "unit"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        ("s/load/2024-05-01", "load", 1.0, "kW"),
        ("s/heat/2024-05-01", "heat", 280.0, "K"),
    ]


def test_a_metric_without_a_value_is_no_reading_and_no_fault(ingest: Ingest) -> None:
    done = ingest("site,time,load,heat\ns,2024-05-01,1,\n", METER)
    counts = {item.event: (item.accepted, item.quarantined, item.absent) for item in done.report.events}
    assert counts == {"site_reading:load": (1, 0, 0), "site_reading:heat": (0, 0, 1)}


def test_a_row_of_which_no_event_is_made_is_quarantined(ingest: Ingest) -> None:
    done = ingest("site,time,load,heat\ns,2024-05-01,,\n", METER)
    assert [(item["rule"], item["row"]) for item in done.quarantine] == [("unmapped", 1)]


STOCK = """
name: stock
time_zone: UTC
events:
  - kind: restock
    id: "{id}"
    time: time
    where: [{column: what, one_of: [delivery]}]
    fields: {site_id: site, product_id: item, supplier_id: who, quantity: count}
  - kind: stock_movement
    id: "{id}"
    time: time
    where: [{column: what, one_of: [sale, waste]}, {column: count, above: 0}]
    fields: {site_id: site, product_id: item, reason: what, quantity: {column: count, transform: negate}}
exclude:
  - {column: site, one_of: [test], reason: the training till}
limits: {max_quarantined_share: 0}
"""
STOCK_HEADER = "id,time,what,site,item,who,count\n"


def test_rows_go_to_the_event_whose_conditions_they_meet(ingest: Ingest) -> None:
    done = ingest(STOCK_HEADER + "1,2024-05-01,delivery,s,tea,x,5\n2,2024-05-01,sale,s,tea,,2\n", STOCK)
    assert only(done.events("restock"), "quantity") == 5
    assert only(done.events("stock_movement"), "quantity") == -2


def test_excluded_rows_are_quarantined_with_their_reason_and_fail_nothing(ingest: Ingest) -> None:
    done = ingest(STOCK_HEADER + "1,2024-05-01,sale,s,tea,,2\n2,2024-05-01,sale,test,tea,,2\n", STOCK)
    assert (done.report.rows.accepted, done.report.rows.quarantined, done.report.rows.excluded) == (1, 1, 1)
    assert done.quarantine[0]["reason"] == "left out by the mapping: the training till"
