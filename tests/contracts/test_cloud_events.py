"""CloudEvents are read and written as the specification's HTTP binding has them."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigil.contracts.cloud_events import (
    BATCH,
    STRUCTURED,
    BadEvent,
    CloudEvent,
    new_event,
    read_event,
    to_binary,
    to_structured,
)

AT = datetime(2026, 6, 8, 10, 0, 0, 250_000, tzinfo=UTC)
MINIMAL = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/here", "ce-type": "some.type"}
DOCUMENT = {"specversion": "1.0", "id": "1", "source": "/here", "type": "some.type", "data": {"a": 1}}

texts = st.text(min_size=1, max_size=20).filter(lambda text: text == text.strip() and "\x00" not in text)


@given(identity=texts, source=texts, value=texts)
def test_an_event_survives_both_modes_whatever_its_texts(identity: str, source: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        return
    event = CloudEvent(identity, source, "t", b'{"a":1}', time=AT, subject="s", extensions={"namespace": value})
    for write in (to_binary, to_structured):
        headers, body = write(event)
        assert all(text.isascii() and text.isprintable() for text in headers.values())
        assert read_event(headers, body) == event


def test_the_names_of_headers_are_read_in_any_case_as_go_and_python_send_them() -> None:
    headers = {name.title(): value for name, value in MINIMAL.items()} | {"Ce-Inferenceservicename": "m"}
    event = read_event(headers, b"{}")
    assert (event.id, event.type, event.extensions) == ("1", "some.type", {"inferenceservicename": "m"})


def test_bytes_that_are_no_json_survive_both_modes() -> None:
    event = CloudEvent("1", "/here", "t", b"\x00\xff{", "application/octet-stream")
    assert read_event(*to_binary(event)) == event
    assert read_event(*to_structured(event)) == event


def test_a_structured_event_may_have_attributes_that_are_no_texts() -> None:
    event = read_event({"content-type": STRUCTURED}, json.dumps(DOCUMENT | {"shadow": True, "n": 3}).encode())
    assert event.extensions == {"shadow": "true", "n": "3"}
    assert event.json() == {"a": 1}


def test_a_new_event_has_an_id_of_its_own_unless_it_is_given_one() -> None:
    made = [new_event("t", "/here", {"a": 1}, AT) for _ in range(2)]
    assert made[0].id != made[1].id
    assert new_event("t", "/here", {}, AT, "same").id == "same"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"ce-id": ""}, "ce-id"),
        ({"ce-source": None}, "ce-source"),
        ({"ce-type": "x" * 3000}, "ce-type"),
        ({"ce-specversion": "2.0"}, "ce-specversion"),
        ({"ce-specversion": None}, "ce-specversion"),
        ({"ce-time": "yesterday"}, "ce-time"),
        ({"ce-time": "2026-06-08T10:00:00"}, "ce-time"),
        ({"content-type": BATCH}, "content-type"),
    ],
)
def test_a_mistake_in_a_header_is_named(changes: dict[str, str | None], field: str) -> None:
    headers = {name: value for name, value in {**MINIMAL, **changes}.items() if value is not None}
    with pytest.raises(BadEvent, match=field) as caught:
        read_event(headers, b"{}")
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"id": 0.5}, "id"),
        ({"type": None}, "type"),
        ({"extra": {"a": 1}}, "extra"),
        ({"data_base64": "%%%"}, "data_base64"),
        ({"data_base64": 7}, "data_base64"),
        ({"datacontenttype": 7}, "datacontenttype"),
    ],
)
def test_a_mistake_in_a_document_is_named(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(BadEvent) as caught:
        read_event({"content-type": STRUCTURED}, json.dumps(DOCUMENT | changes).encode())
    assert caught.value.field == field


@pytest.mark.parametrize("body", [b"", b"[1]", b"\xff", b'"text"'])
def test_a_body_that_is_no_document_is_refused(body: bytes) -> None:
    with pytest.raises(BadEvent):
        read_event({"content-type": STRUCTURED}, body)


def test_data_that_is_no_json_is_refused_only_when_it_is_asked_for() -> None:
    event = read_event(MINIMAL, b"{")
    with pytest.raises(BadEvent, match="data: not JSON"):
        event.json()
