import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigil.contracts.events import (
    EVENTS,
    MAX_AMOUNT,
    Transaction,
    Verdict,
    arrow_schema,
    check_table,
    json_schema,
    parse_event,
    to_table,
)
from vigil.errors import ContractError

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"


def transaction(**changes: object) -> dict[str, object]:
    return {"event_id": "t1", "event_time": "2024-03-01T12:00:00+01:00", "amount": 12.5, "customer_id": "c1", **changes}


def test_times_arrive_in_any_zone_and_are_kept_in_utc() -> None:
    event = parse_event("transaction", transaction())
    assert event.event_time == datetime(2024, 3, 1, 11, tzinfo=UTC)
    assert event.event_time.tzinfo is UTC


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"amount": float("nan")}, "amount"),
        ({"amount": float("inf")}, "amount"),
        ({"amount": MAX_AMOUNT * 2}, "amount"),
        ({"amount": None}, "amount"),
        ({"event_time": "2024-03-01T12:00:00"}, "event_time"),
        ({"event_id": ""}, "event_id"),
        ({"customer_id": ""}, "customer_id"),
        ({"utc_offset_minutes": 10_000}, "utc_offset_minutes"),
        ({"ammount": 3}, "ammount"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, object], field: str) -> None:
    with pytest.raises(ContractError, match=rf"not a valid transaction: {field}: "):
        parse_event("transaction", transaction(**change))


def test_an_unknown_kind_lists_the_known_ones() -> None:
    with pytest.raises(ContractError, match="unknown event kind 'sale': one of transaction, "):
        parse_event("sale", {})


@pytest.mark.parametrize("kind", sorted(EVENTS))
def test_the_published_json_schema_is_the_generated_one(kind: str) -> None:
    model = EVENTS[kind]
    published = json.loads((SCHEMAS / f"{kind}.v{model.version}.json").read_text())
    assert published == json_schema(model), "run `make docs`"


@pytest.mark.parametrize("kind", sorted(EVENTS))
def test_the_arrow_schema_has_the_fields_of_the_model_and_survives_parquet(kind: str, tmp_path: Path) -> None:
    schema = arrow_schema(EVENTS[kind])
    assert schema.names == list(EVENTS[kind].model_fields)
    pq.write_table(schema.empty_table(), tmp_path / "empty.parquet")
    assert check_table(EVENTS[kind], pq.read_table(tmp_path / "empty.parquet")).schema.equals(schema)


keys = st.one_of(st.none(), st.text(min_size=1, max_size=12))
moments = st.datetimes(datetime(2001, 1, 1), datetime(2090, 1, 1), timezones=st.just(timezone(timedelta(hours=2))))  # noqa: DTZ001


@given(
    st.builds(
        Transaction,
        event_id=st.text(min_size=1, max_size=12),
        event_time=moments,
        amount=st.floats(-MAX_AMOUNT, MAX_AMOUNT),
        customer_id=keys,
        site_id=keys,
    )
)
def test_json_and_arrow_carry_the_same_event(event: Transaction) -> None:
    assert parse_event("transaction", json.loads(event.model_dump_json())) == event
    row = to_table(Transaction, [event]).to_pylist()[0]
    assert parse_event("transaction", row) == event


def test_a_table_without_optional_columns_gets_their_defaults() -> None:
    table = pa.table({"event_id": ["a"], "event_time": [datetime(2024, 1, 1, tzinfo=UTC)], "amount": [1.0]})
    checked = check_table(Transaction, table)
    assert checked.schema.equals(arrow_schema(Transaction))
    assert checked["utc_offset_minutes"].to_pylist() == [0]
    assert checked["customer_id"].to_pylist() == [None]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"amount": [1.0]}, "a table of verdict"),
        ({"is_fraud": [None]}, r"verdict.is_fraud has 1 nulls"),
        ({"is_fraud": ["perhaps"]}, r"verdict.is_fraud is string, not bool"),
        ({"verdict": [True]}, "columns that a verdict does not have: verdict"),
    ],
)
def test_a_table_of_another_shape_is_refused_by_column(columns: dict[str, list[object]], message: str) -> None:
    good = {
        "event_id": ["v"],
        "event_time": [datetime(2024, 1, 1, tzinfo=UTC)],
        "transaction_id": ["t"],
        "is_fraud": [True],
        "source": ["chargeback"],
    }
    assert check_table(Verdict, pa.table(good)).num_rows == 1
    bad = {"event_id": ["v"], **columns} if "amount" in columns else {**good, **columns}
    bad.pop("amount", None)
    with pytest.raises(ContractError, match=message):
        check_table(Verdict, pa.table(bad))
