"""Calls to the detector service and to those who want our CloudEvents."""

import http.client
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar
from urllib.parse import quote, urlsplit

from pydantic import TypeAdapter, ValidationError

from vigil.contracts.cloud_events import CloudEvent, to_binary
from vigil.errors import ContractError, Unavailable
from vigil.monitoring.samples import Slot
from vigil.monitoring.verdicts import WatchStatus
from vigil.settings import Settings

_Shape = TypeVar("_Shape")

_SECONDS = 10.0
_SLOTS = TypeAdapter(list[Slot])
_WATCH = TypeAdapter(list[WatchStatus])
_RETRIED = (408, 425, 429)


class DetectorClient:
    """The API of the detector service, wherever it is now."""

    def __init__(self, url: Callable[[], str]) -> None:
        self._url = url

    def slots(self, model: str, after: int) -> Sequence[Slot]:
        """Return the closed `decisions` slots with a higher number."""
        return self._get(f"/v1/slots/{quote(model, safe='')}?after={after}", _SLOTS)

    def watch(self, model: str) -> Sequence[WatchStatus]:
        """Return the watch over each revision of a model."""
        return self._get(f"/v1/watch/{quote(model, safe='')}", _WATCH)

    def _get(self, path: str, shape: TypeAdapter[list[_Shape]]) -> list[_Shape]:
        url = self._url().rstrip("/") + path
        status, content = call("GET", url)
        if status == 404:
            return []
        if status != 200:
            raise Unavailable(f"the detector service answers {status} to {url}")
        try:
            return shape.validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            raise Unavailable(f"{url} does not answer as a detector service: {first['msg']}") from error


class HttpSinks:
    """Those of VIGIL_EVENT_SINKS."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = urls
        self._have: set[tuple[str, str]] = set()

    def send(self, event: CloudEvent) -> None:
        """Deliver an event to all of them; one that has it is not told again, one that refuses it for good is left."""
        failed = []
        for url in self._urls:
            if (url, event.id) in self._have:
                continue
            headers, body = to_binary(event)
            try:
                status, _ = call("POST", url, headers, body)
            except Unavailable as error:
                failed.append(str(error))
                continue
            if status >= 500 or status in _RETRIED:
                failed.append(f"{url} answers {status}")
            else:
                self._have.add((url, event.id))
        if failed:
            raise Unavailable("; ".join(failed))


def sinks_of(settings: Settings) -> HttpSinks:
    """Return the sinks of the settings."""
    return HttpSinks(settings.sinks)


def call(
    method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
) -> tuple[int, bytes]:
    """Return status and body of an answer, or raise Unavailable where none comes in time."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ContractError(f"{url} is no address: give http://HOST:PORT")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=_SECONDS)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request(method, target, body=body, headers=dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"{url} does not answer ({error or type(error).__name__})") from error
    finally:
        connection.close()
