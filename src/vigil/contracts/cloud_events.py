"""CloudEvents 1.0 over HTTP: read from binary and structured requests, and written as either.

The names of headers are compared without regard to case. Data stays bytes: nobody parses what he only passes on.
"""

import base64
import binascii
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote

from vigil.errors import ContractError

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
JSON = "application/json"

_VERSIONS = ("1.0", "0.3")
_REQUIRED = ("id", "source", "type")
_KNOWN = frozenset((*_REQUIRED, "specversion", "time", "subject", "datacontenttype", "data", "data_base64"))
_MAX_TEXT = 2_048


class BadEvent(ContractError):
    """A request that is no CloudEvent; `field` names the attribute or header that is wrong, if one is."""

    def __init__(self, field: str | None, message: str) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field
        self.reason = message


@dataclass(frozen=True)
class CloudEvent:
    """One event. `extensions` holds every attribute that the specification does not name, as text."""

    id: str
    source: str
    type: str
    data: bytes = b""
    content_type: str = JSON
    time: datetime | None = None
    subject: str | None = None
    extensions: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> Any:  # noqa: ANN401 - any JSON value
        """Return the data as JSON, or raise BadEvent."""
        try:
            return json.loads(self.data)
        except ValueError as error:  # UnicodeDecodeError is one as well
            raise BadEvent("data", "not JSON") from error

    def attributes(self) -> dict[str, str]:
        """Return all attributes but those of the data, as text."""
        found = {"specversion": "1.0", "id": self.id, "source": self.source, "type": self.type}
        if self.time is not None:
            found["time"] = self.time.astimezone(UTC).isoformat().replace("+00:00", "Z")
        if self.subject is not None:
            found["subject"] = self.subject
        return found | dict(self.extensions)


def new_event(
    kind: str, source: str, content: object, at: datetime, identity: str | None = None, subject: str | None = None
) -> CloudEvent:
    """Return an event whose data is `content` as JSON; without `identity` its id is a random one."""
    data = json.dumps(content, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()
    return CloudEvent(identity or str(uuid.uuid4()), source, kind, data, JSON, at, subject)


def to_binary(event: CloudEvent) -> tuple[dict[str, str], bytes]:
    """Return headers and body of a request in binary mode."""
    headers = {f"ce-{name}": _quoted(value) for name, value in event.attributes().items()}
    return headers | {"content-type": event.content_type}, event.data


def to_structured(event: CloudEvent) -> tuple[dict[str, str], bytes]:
    """Return headers and body of a request in structured mode."""
    document: dict[str, Any] = {**event.attributes(), "datacontenttype": event.content_type}
    if _is_json(event.content_type):
        document["data"] = event.json()
    else:
        document["data_base64"] = base64.b64encode(event.data).decode()
    return {"content-type": STRUCTURED}, json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def read_event(headers: Mapping[str, str], body: bytes) -> CloudEvent:
    """Return the event of a request in either mode, or raise BadEvent naming the field."""
    lowered = {name.lower(): value for name, value in headers.items()}
    content_type = lowered.get("content-type", "")
    if content_type.lower().startswith(BATCH):
        raise BadEvent("content-type", "send the events of a batch one by one")
    if content_type.lower().startswith(STRUCTURED):
        return _read_structured(body)
    if "ce-specversion" not in lowered:
        raise BadEvent(
            "ce-specversion", f"missing: send a CloudEvent, by headers ce-* or as {STRUCTURED}, of version 1.0"
        )
    attributes = {name[3:]: unquote(value) for name, value in lowered.items() if name.startswith("ce-")}
    return _build(attributes, body, content_type or JSON, "ce-")


def _read_structured(body: bytes) -> CloudEvent:
    try:
        document = json.loads(body)
    except ValueError as error:
        raise BadEvent(None, "the body is not JSON") from error
    if not isinstance(document, dict):
        raise BadEvent(None, "the body is an object with the attributes of a CloudEvent")
    content_type = document.get("datacontenttype", JSON)
    if not isinstance(content_type, str):
        raise BadEvent("datacontenttype", "a text")
    attributes = {name: _text(name, value) for name, value in document.items() if name not in ("data", "data_base64")}
    present = {name: value for name, value in attributes.items() if value is not None}
    return _build(present, _data(document, content_type), content_type, "")


def _data(document: Mapping[str, Any], content_type: str) -> bytes:
    if "data_base64" in document:
        try:
            return base64.b64decode(document["data_base64"], validate=True)
        except (binascii.Error, TypeError, ValueError) as error:
            raise BadEvent("data_base64", "not base64") from error
    data = document.get("data")
    if data is None:
        return b""
    if isinstance(data, str) and not _is_json(content_type):
        return data.encode()
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode()


def _build(attributes: Mapping[str, str], data: bytes, content_type: str, prefix: str) -> CloudEvent:
    if attributes.get("specversion") not in _VERSIONS:
        raise BadEvent(f"{prefix}specversion", f"one of {', '.join(_VERSIONS)}")
    for name in _REQUIRED:
        if not attributes.get(name):
            raise BadEvent(f"{prefix}{name}", "missing or empty")
        if len(attributes[name]) > _MAX_TEXT:
            raise BadEvent(f"{prefix}{name}", f"longer than {_MAX_TEXT} characters")
    return CloudEvent(
        id=attributes["id"],
        source=attributes["source"],
        type=attributes["type"],
        data=data,
        content_type=content_type,
        time=_time(attributes.get("time"), prefix),
        subject=attributes.get("subject"),
        extensions={name: value for name, value in attributes.items() if name not in _KNOWN},
    )


def _time(text: str | None, prefix: str) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadEvent(f"{prefix}time", "not a time as in RFC 3339") from error
    if moment.tzinfo is None:
        raise BadEvent(f"{prefix}time", "the time zone is missing")
    return moment.astimezone(UTC)


def _text(name: str, value: object) -> str | None:
    """Return an attribute as text: the specification allows texts, numbers and truth values; null is absence."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    raise BadEvent(name, "an attribute is a text, a whole number or a truth value")


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == JSON or kind.endswith("+json")


def _quoted(value: str) -> str:
    """Return a header's value: printable ASCII as it is, the rest by percent signs, as the HTTP binding wants it."""
    return quote(value, safe=" !#$&'()*+,-./:;<=>?@[]^_`{|}~")
