import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ingest.conftest import GOOD, HEADER, TILL, Ingest
from vigil.ingest.fingerprints import hash_column, hash_texts


def test_the_same_event_twice_is_accepted_once(ingest: Ingest) -> None:
    done = ingest(HEADER + GOOD + GOOD)
    assert done.events().num_rows == 1
    assert [(item["row"], item["rule"]) for item in done.quarantine] == [(2, "duplicate")]
    assert done.quarantine[0]["reason"] == "event_id (id) is 't1': row 1 is the same event".replace(
        "event_id (id)", "event_id (column id)"
    )


def test_the_same_id_with_other_contents_is_a_conflict_and_the_first_stays(ingest: Ingest) -> None:
    done = ingest(HEADER + GOOD + GOOD.replace("12.50", "99"))
    assert done.events()["amount"].to_pylist() == [12.5]
    assert [(item["row"], item["rule"]) for item in done.quarantine] == [(2, "conflicting_duplicate")]
    assert "row 1 has the same id and other contents" in done.quarantine[0]["reason"]


def test_other_ids_with_the_same_contents_are_no_duplicates(ingest: Ingest) -> None:
    assert ingest(HEADER + GOOD + GOOD.replace("t1", "t2")).quarantine == []


def test_an_event_that_was_refused_makes_no_duplicate_of_a_later_one(ingest: Ingest) -> None:
    done = ingest(HEADER + GOOD.replace("12.50", "abc") + GOOD)
    assert [item["rule"] for item in done.quarantine] == ["type"]


def test_a_duplicate_is_found_however_far_away_it_is(ingest: Ingest) -> None:
    count = 300_000
    ids = np.arange(count).astype(str).astype(object)
    ids[-1], ids[-2] = "0", "1"
    table = pa.table(
        {
            "id": ids,
            "time": np.datetime64("2024-01-01T00:00:00", "us") + np.arange(count) * np.timedelta64(1, "s"),
            "amount": np.ones(count),
            "customer": np.full(count, 1),
            "site": np.full(count, 1),
        }
    )
    done = ingest(table, TILL.replace("csv", "parquet"), name="till.parquet")
    assert [(item["row"], item["rule"]) for item in done.quarantine] == [
        (count - 1, "conflicting_duplicate"),
        (count, "conflicting_duplicate"),
    ]


def test_duplicates_take_the_verdicts_that_need_them_along(ingest: Ingest) -> None:
    mapping = """
name: fraud
time_zone: UTC
events:
  - {kind: transaction, id: "{id}", time: time, fields: {amount: amount, site_id: site}}
  - kind: verdict
    requires: transaction
    id: "{id}/{#row}"
    time: time
    fields: {transaction_id: {template: "{id}"}, is_fraud: {constant: true}, source: {constant: bank}}
limits: {max_quarantined_share: 1}
"""
    done = ingest(HEADER + GOOD + GOOD, mapping)
    assert [(item["event"], item["rule"]) for item in done.quarantine] == [
        ("transaction", "duplicate"),
        ("verdict", "orphan"),
    ]
    assert done.events("verdict").num_rows == 1


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.text(max_size=40), min_size=1, max_size=30))
def test_texts_have_equal_hashes_only_if_they_are_equal(texts: list[str]) -> None:
    first, second = hash_texts(pa.array(texts, pa.string()), (0, 1))
    pairs = set(zip(first.tolist(), second.tolist(), strict=True))
    assert len(pairs) == len(set(first.tolist())) == len(set(texts))


def test_a_text_has_the_same_hash_in_any_slice_and_any_encoding() -> None:
    texts = pa.array(["", "a", "longer than a word", None, "é", "a"])
    whole = hash_column(texts)
    assert hash_column(texts.slice(2, 3)).tolist() == whole[2:5].tolist()
    assert hash_column(texts.dictionary_encode()).tolist() == whole.tolist()


def test_a_null_and_an_empty_text_have_other_hashes() -> None:
    null, empty = hash_column(pa.array([None, ""], pa.string()))
    assert null != empty
