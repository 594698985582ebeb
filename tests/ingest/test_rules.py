"""Every rule about one event: a row that keeps it, and one that breaks it and nothing else."""

import pytest

from tests.ingest.conftest import GOOD, HEADER, TILL, Ingest, Outcome

STRICT = TILL.replace("site_id: site", "site_id: {column: site, known: [s1, s2]}").replace(
    "customer_id: customer", "customer_id: {column: customer, required: true}"
)
BOUNDED = STRICT.replace("limits: {", "limits: {latest: 2024-05-15T00:00:00Z, ")


def broken(done: Outcome) -> list[tuple[str, str | None]]:
    assert done.report.rows.read == done.report.rows.accepted + done.report.rows.quarantined
    return [(item["rule"], item["field"]) for item in done.quarantine]


def test_a_good_row_breaks_no_rule(ingest: Ingest) -> None:
    done = ingest(HEADER + GOOD, BOUNDED)
    assert broken(done) == []
    assert done.events().num_rows == 1


@pytest.mark.parametrize(
    ("row", "rule", "field"),
    [
        ("t2,2024-05-01T10:00:00,abc,c1,s1", "type", "amount"),
        ("t2,2024-05-01T10:00:00,1_000,c1,s1", "type", "amount"),
        ("t2,2024-05-01T10:00:00,,c1,s1", "null", "amount"),
        ("t2,2024-05-01T10:00:00,1,,s1", "null", "customer_id"),
        (",2024-05-01T10:00:00,1,c1,s1", "null", "event_id"),
        ("t2,,1,c1,s1", "null", "event_time"),
        ("t2,2024-05-01T10:00:00,nan,c1,s1", "not_finite", "amount"),
        ("t2,2024-05-01T10:00:00,-inf,c1,s1", "not_finite", "amount"),
        ("t2,2024-05-01T10:00:00,1e400,c1,s1", "not_finite", "amount"),
        ("t2,2024-05-01T10:00:00,1000000.01,c1,s1", "range", "amount"),
        ("t2,2024-05-01T10:00:00,-1000000.01,c1,s1", "range", "amount"),
        ("t2,2024-05-01T10:00:00,1," + "c" * 129 + ",s1", "length", "customer_id"),
        ("t" * 129 + ",2024-05-01T10:00:00,1,c1,s1", "length", "event_id"),
        ("t2,2024-05-01T10:00:00,1,c1,s3", "unknown_category", "site_id"),
        ("t2,1970-01-01T00:00:00,1,c1,s1", "too_early", "event_time"),
        ("t2,2024-05-20T00:00:00,1,c1,s1", "too_late", "event_time"),
        ("t2,2100-01-01T00:00:00,1,c1,s1", "too_late", "event_time"),
    ],
)
def test_a_row_that_breaks_a_rule_is_quarantined_for_it_alone(ingest: Ingest, row: str, rule: str, field: str) -> None:
    done = ingest(HEADER + GOOD + row + "\n", BOUNDED)
    assert broken(done) == [(rule, field)]
    assert done.quarantine[0]["row"] == 2
    assert done.events()["event_id"].to_pylist() == ["t1"]


@pytest.mark.parametrize("row", ["t2,2024-06-01T00:04:59,1,c1,s1", "t2,2000-01-01T00:00:00,1,c1,s1"])
def test_a_time_within_the_skew_of_the_clock_and_after_the_earliest_is_accepted(ingest: Ingest, row: str) -> None:
    assert broken(ingest(HEADER + row + "\n")) == []


@pytest.mark.parametrize("row", ["t2,2024-06-01T00:05:01,1,c1,s1", "t2,2100-01-01T00:00:00,1,c1,s1"])
def test_a_time_after_the_clock_is_quarantined(ingest: Ingest, row: str) -> None:
    assert broken(ingest(HEADER + row + "\n")) == [("future", "event_time")]


def test_the_mapping_narrows_the_range_of_the_event(ingest: Ingest) -> None:
    mapping = TILL.replace("amount: amount", "amount: {column: amount, minimum: 0, maximum: 100}")
    done = ingest(
        HEADER + "a,2024-05-01,0,c,s\nb,2024-05-01,-0.01,c,s\nc,2024-05-01,100,c,s\nd,2024-05-01,100.5,c,s\n", mapping
    )
    assert [(item["row"], item["rule"]) for item in done.quarantine] == [(2, "range"), (4, "range")]


def test_a_value_that_the_mapping_does_not_translate_is_an_unknown_category(ingest: Ingest) -> None:
    mapping = TILL.replace("site_id: site", "site_id: {column: site, values: {1: north, 2: null}}")
    done = ingest(HEADER + "a,2024-05-01,1,c,1\nb,2024-05-01,1,c,2\nc,2024-05-01,1,c,3\n", mapping)
    assert done.events()["site_id"].to_pylist() == ["north", None]
    assert [(item["rule"], item["value"]) for item in done.quarantine] == [("unknown_category", "3")]


def test_categories_that_the_event_fixes_are_checked_without_being_asked(ingest: Ingest) -> None:
    mapping = """
name: stock
time_zone: UTC
events:
  - kind: stock_movement
    id: "{id}"
    time: time
    fields: {site_id: site, product_id: site, quantity: amount, reason: customer}
limits: {max_quarantined_share: 1}
"""
    done = ingest(HEADER + "a,2024-05-01,1,waste,s\nb,2024-05-01,1,theft,s\n", mapping)
    assert [(item["row"], item["rule"], item["field"]) for item in done.quarantine] == [
        (2, "unknown_category", "reason")
    ]


def test_a_bound_that_excludes_its_own_value_is_kept(ingest: Ingest) -> None:
    mapping = """
name: stock
time_zone: UTC
events:
  - kind: restock
    id: "{id}"
    time: time
    fields: {site_id: site, product_id: site, quantity: amount, supplier_id: customer}
limits: {max_quarantined_share: 1}
"""
    done = ingest(HEADER + "a,2024-05-01,0.5,x,s\nb,2024-05-01,0,x,s\n", mapping)
    assert [(item["row"], item["rule"]) for item in done.quarantine] == [(2, "range")]


VERDICT = """
name: fraud
time_zone: UTC
events:
  - kind: transaction
    id: "{id}"
    time: time
    fields: {amount: amount, site_id: site}
  - kind: verdict
    requires: transaction
    id: "{id}"
    time: {column: time, delay: 7d}
    fields:
      transaction_id: {template: "{id}"}
      is_fraud: {column: customer, values: {0: false, 1: true}}
      source: {constant: bank}
limits: {max_quarantined_share: 1}
"""


def test_an_event_that_needs_another_of_its_row_is_quarantined_with_it(ingest: Ingest) -> None:
    done = ingest(HEADER + "a,2024-05-01,x,1,s\nb,2024-05-01,1,1,s\n", VERDICT)
    assert [(item["event"], item["rule"]) for item in done.quarantine] == [
        ("transaction", "type"),
        ("verdict", "orphan"),
    ]
    assert done.events("verdict")["transaction_id"].to_pylist() == ["b"]


def test_an_event_that_is_refused_does_not_take_the_one_it_needs_with_it(ingest: Ingest) -> None:
    done = ingest(HEADER + "a,2024-05-01,1,2,s\n", VERDICT)
    assert [(item["event"], item["rule"]) for item in done.quarantine] == [("verdict", "unknown_category")]
    assert done.events("transaction").num_rows == 1


def test_a_verdict_that_is_not_known_yet_is_in_the_future(ingest: Ingest) -> None:
    done = ingest(HEADER + "a,2024-05-30,1,1,s\n", VERDICT)
    assert [(item["event"], item["rule"]) for item in done.quarantine] == [("verdict", "future")]


def test_the_quarantine_says_row_field_rule_value_reason_and_the_raw_row(ingest: Ingest) -> None:
    done = ingest(HEADER + GOOD + 't2,2024-05-01T10:00:00,abc,"c ""1""",s1\n', STRICT)
    assert done.quarantine == [
        {
            "row": 2,
            "event": "transaction",
            "field": "amount",
            "rule": "type",
            "value": "abc",
            "reason": "amount is 'abc': no number",
            "raw": '{"id":"t2","time":"2024-05-01T10:00:00","amount":"abc","customer":"c \\"1\\"","site":"s1"}',
        }
    ]


def test_a_row_that_breaks_two_rules_is_counted_once(ingest: Ingest) -> None:
    done = ingest(HEADER + "t1,1970-01-01,abc,c,s\n")
    assert (done.report.rows.quarantined, len(done.quarantine)) == (1, 1)
