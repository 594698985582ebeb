"""The entity of a request is found in both protocols, and garbage is nobody's."""

import json

import pytest

from vigil.runtime.splitter.entity import entity_of


@pytest.mark.parametrize(
    ("instance", "entity"),
    [
        ({"customer_id": "C1", "card_id": "K1"}, "C1"),
        ({"card_id": "K1", "terminal_id": "T1"}, "K1"),
        ({"customer_id": None, "terminal_id": "T1"}, "T1"),
        ({"customer_id": 7, "site_id": "S1"}, "S1"),
        ({"amount": 1.0}, None),
        ("customer_id", None),
    ],
)
def test_the_first_known_key_of_the_first_instance_is_the_entity(instance: object, entity: str | None) -> None:
    assert entity_of(json.dumps({"instances": [instance, {"customer_id": "other"}]}).encode()) == entity


def test_a_v2_body_names_the_same_entity_as_a_v1_body() -> None:
    columns = [
        {"name": "amount", "shape": [2], "datatype": "FP64", "data": [1.0, 2.0]},
        {"name": "card_id", "shape": [2], "datatype": "BYTES", "data": ["K1", "K2"]},
        {"name": "customer_id", "shape": [2], "datatype": "BYTES", "data": ["C1", "C2"]},
    ]
    assert entity_of(json.dumps({"inputs": columns}).encode()) == "C1"


def test_an_event_goes_where_its_entity_goes() -> None:
    assert entity_of(b'{"events": [{"kind": "verdict", "card_id": "K1"}]}') == "K1"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"ARROW1", b'{"instances": 3}', b'{"inputs": [3, {"name": []}]}', b'{"instances": []}']
)
def test_a_body_that_is_no_request_has_no_entity(body: bytes) -> None:
    assert entity_of(body) is None
