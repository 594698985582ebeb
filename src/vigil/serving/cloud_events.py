"""CloudEvents around V1 bodies, binary and structured: read without a library, and answered in kind."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from vigil.serving.http import Answer, Message, Request, parse_json
from vigil.serving.refusals import MALFORMED, Refusal

STRUCTURED = "application/cloudevents+json"
_VERSIONS = ("0.3", "1.0")
_REQUIRED = ("id", "source", "type")
_ANSWER_TYPE = "io.kserve.inference.response"


@dataclass(frozen=True)
class CloudEvent:
    """A request that came as an event."""

    version: str
    structured: bool
    data: bytes

    def request(self, outer: Request) -> Request:
        """Return the request that the event carries."""

        async def receive() -> Message:
            return {"type": "http.request", "body": self.data, "more_body": False}

        headers = {name: value for name, value in outer.headers.items() if name != "content-length"}
        return replace(outer, receive=receive, headers=headers)

    def answer(self, inner: Answer, model: str, identity: str) -> Answer:
        """Return the answer as an event of the same form."""
        attributes = {
            "specversion": self.version,
            "id": identity,
            "source": f"io.kserve.inference.{model}",
            "type": _ANSWER_TYPE,
        }
        if self.structured:
            document = {**attributes, "datacontenttype": inner.content_type, "data": orjson.Fragment(inner.body)}
            return Answer(orjson.dumps(document), content_type=STRUCTURED)
        return replace(inner, headers={f"ce-{name}": value for name, value in attributes.items()})


def is_cloud_event(headers: Mapping[str, str]) -> bool:
    """Return whether a request says that it is an event."""
    return headers.get("content-type", "").lower().startswith(STRUCTURED) or "ce-specversion" in headers


def read_cloud_event(headers: Mapping[str, str], body: bytes) -> CloudEvent:
    """Return the event, or raise Refusal naming the attribute that is wrong."""
    if "ce-specversion" in headers:
        _check({name.removeprefix("ce-"): value for name, value in headers.items()}, "ce-")
        return CloudEvent(headers["ce-specversion"], False, body)
    document = parse_json(body)
    if not isinstance(document, dict):
        raise Refusal(MALFORMED, "the body is an object with the attributes of a CloudEvent")
    _check(document, "")
    if "data" not in document:
        raise Refusal(MALFORMED, "the event lacks it", "data")
    return CloudEvent(document["specversion"], True, orjson.dumps(document["data"]))


def _check(attributes: Mapping[str, Any], prefix: str) -> None:
    if attributes.get("specversion") not in _VERSIONS:
        raise Refusal(MALFORMED, f"one of {', '.join(_VERSIONS)}", f"{prefix}specversion")
    for name in _REQUIRED:
        if not isinstance(attributes.get(name), str) or not attributes[name]:
            raise Refusal(MALFORMED, "the event lacks it, or it is no text", f"{prefix}{name}")
