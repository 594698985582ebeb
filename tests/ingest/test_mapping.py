from pathlib import Path

import pytest

from tests.ingest.conftest import TILL, mapping_of
from vigil.contracts.events import EVENTS
from vigil.errors import ContractError
from vigil.ingest.mapping import Mapping, load_mapping
from vigil.ingest.shipped import shipped_mapping, source_names


def changed(old: str, new: str) -> str:
    assert old in TILL
    return TILL.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("time: time", "tme: time", r"events\[0\].tme: no such key, is 'time' meant"),
        ("amount: amount", "amount: {colum: amount}", r"fields.amount.colum: no such key, is 'column' meant"),
        ("kind: transaction", "kind: transacton", "kind 'transacton' is not known"),
        ("amount: amount", "sum: amount", "transaction has no field 'sum'"),
        ("      amount: amount\n", "", "transaction needs the field 'amount'"),
        ("time_zone: UTC", "time_zone: Mars/Olympus", "'Mars/Olympus' is not a time zone"),
        ("amount: amount", "amount: {column: a, constant: 3}", "exactly one of column, product, template, constant"),
        ("amount: amount", "amount: {constant: much}", "amount cannot be 'much'"),
        (
            "customer_id: customer",
            "customer_id: {column: c, scale: 2}",
            "scale is for numbers, and customer_id is none",
        ),
        ("time: time", "time: {column: t, unit: h}", "a number needs both unit and origin"),
        ("time: time", "time: {column: t, delay: soon}", "'soon' is not a duration"),
        ('id: "{id}"', 'id: "{id:>5}"', "without a format"),
        ("limits: {max", "limits: {earliest: 2000-01-01T00:00:00, max", "earliest and latest need a time zone"),
        ("max_quarantined_share: 1", "max_quarantined_share: 2", "less than or equal to 1"),
        ("site_id: site", "site_id: {column: site, values: {yes: a}}", "put it into quotes"),
        ("site_id: site", "site_id: {column: site, known: [no]}", "put it into quotes"),
    ],
)
def test_a_mistake_is_refused_with_the_key_that_is_wrong(old: str, new: str, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        mapping_of(changed(old, new))


def test_yaml_that_cannot_be_parsed_is_refused() -> None:
    with pytest.raises(ContractError, match="is not YAML"):
        mapping_of("name: [")


def test_a_text_instead_of_a_mapping_is_refused() -> None:
    with pytest.raises(ContractError, match="must state name, time_zone and events"):
        mapping_of("just a text")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"no mapping .*gone\.yaml"):
        load_mapping(tmp_path / "gone.yaml")


def test_an_event_cannot_require_one_that_comes_later() -> None:
    text = changed("kind: transaction\n", "kind: transaction\n    requires: verdict\n")
    with pytest.raises(ContractError, match="requires 'verdict', which is no event before it"):
        mapping_of(text)


def test_two_events_of_one_kind_need_names() -> None:
    event = TILL[TILL.index("  - kind") : TILL.index("limits")]
    with pytest.raises(ContractError, match="two events are called 'transaction'"):
        mapping_of(TILL.replace(event, event + event))


def test_unpivoted_columns_need_ids_of_their_own() -> None:
    with pytest.raises(ContractError, match=r"must have \{#column\} in it"):
        mapping_of(
            """
            name: meter
            time_zone: UTC
            events:
              - kind: site_reading
                id: "{id}"
                time: time
                fields: {site_id: site}
                unpivot: {columns: {a: {metric: a, unit: W}, b: {metric: b, unit: W}}}
            """
        )


def test_every_column_that_is_read_is_known_with_its_place() -> None:
    assert mapping_of(TILL).uses() == {
        "id": "transaction.event_id",
        "amount": "transaction.amount",
        "customer": "transaction.customer_id",
        "site": "transaction.site_id",
        "time": "transaction.event_time",
    }


def test_the_layout_of_the_yaml_does_not_change_the_hash() -> None:
    assert mapping_of(TILL).content_hash == mapping_of(TILL.replace("limits: {", "# comment\nlimits: {")).content_hash


def test_a_changed_mapping_has_another_hash() -> None:
    assert mapping_of(TILL).content_hash != mapping_of(changed("share: 1", "share: 0.5")).content_hash


@pytest.mark.parametrize("name", source_names())
def test_every_shipped_mapping_loads(name: str) -> None:
    assert isinstance(shipped_mapping(name), Mapping)


def test_every_kind_of_event_has_a_canonical_mapping() -> None:
    assert {f"canonical-{kind}" for kind in EVENTS} <= set(source_names())


def test_an_unknown_source_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ContractError, match=r"no source 'frod': one of .*fraud_handbook"):
        shipped_mapping("frod")
