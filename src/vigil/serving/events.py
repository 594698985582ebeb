"""Events from clients: checked one by one, and a mistake is named by row and field."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from kserve import InferRequest
from pydantic import ValidationError

from vigil.clock import Clock, from_micros
from vigil.contracts.events import EARLIEST, EVENTS, Event, Transaction
from vigil.serving.refusals import INVALID, MALFORMED, TOO_LARGE, Refusal
from vigil.serving.tables import check_transactions, read_stream
from vigil.serving.tensors import column


class EventReader:
    """Reads events of every protocol, within the limits of a server."""

    def __init__(self, max_rows: int, max_ahead_hours: float, clock: Clock) -> None:
        self._max_rows = max_rows
        self._ahead = timedelta(hours=max_ahead_hours)
        self._clock = clock

    def transactions(self, payload: Any) -> list[Event]:  # noqa: ANN401 - decoded JSON
        """Return the events of a V1 body."""
        rows = self._list(payload, "instances")
        return self._parse(Transaction, rows)

    def others(self, payload: Any) -> list[Event]:  # noqa: ANN401 - decoded JSON
        """Return the events of a body of /events: each names its kind."""
        latest = self._latest()
        found = []
        for number, item in enumerate(self._list(payload, "events")):
            kind = item.get("kind") if isinstance(item, dict) else None
            model = EVENTS.get(kind) if isinstance(kind, str) else None
            if model is None:
                raise Refusal(INVALID, f"one of {', '.join(EVENTS)}", "kind", number)
            content = {key: value for key, value in item.items() if key != "kind"}
            found.append(_event(model, content, number, latest))
        return found

    def from_tensors(self, request: InferRequest) -> list[Event]:
        """Return the events of a V2 request: one tensor for each column of Transaction."""
        columns: dict[str, list[Any]] = {}
        for tensor in request.inputs:
            if tensor.name not in Transaction.model_fields:
                raise Refusal(INVALID, f"no such input: one of {', '.join(Transaction.model_fields)}", tensor.name[:64])
            if tensor.name in columns:
                raise Refusal(INVALID, "the input is there twice", tensor.name)
            columns[tensor.name] = column(tensor)
        rows = {name: len(values) for name, values in columns.items()}
        count = next(iter(rows.values()))
        for name, length in rows.items():
            if length != count:
                raise Refusal(INVALID, f"{length} values, but {count} in the first input", name)
        self._check_count(count, "inputs")
        columns = {name: _plain(name, values) for name, values in columns.items()}
        names = tuple(columns)
        return self._parse(
            Transaction, [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        )

    def from_arrow(self, body: bytes) -> pa.Table:
        """Return the transactions of an Arrow stream."""
        table = read_stream(body)
        self._check_count(table.num_rows, "rows")
        return check_transactions(table, self._latest())

    def _list(self, payload: Any, field: str) -> list[Any]:  # noqa: ANN401
        if not isinstance(payload, dict) or not isinstance(payload.get(field), list):
            raise Refusal(MALFORMED, f'the body is an object with a list "{field}"', field)
        if surplus := sorted(set(payload) - {field, "signature_name"}):
            raise Refusal(MALFORMED, f'the body has only "{field}"', str(surplus[0])[:64])
        rows: list[Any] = payload[field]
        self._check_count(len(rows), field)
        return rows

    def _check_count(self, rows: int, field: str) -> None:
        if rows == 0:
            raise Refusal(INVALID, "there is no row", field)
        if rows > self._max_rows:
            raise Refusal(TOO_LARGE, f"{rows} rows, at most {self._max_rows}: send fewer at a time", field)

    def _parse(self, model: type[Event], rows: Sequence[Any]) -> list[Event]:
        latest = self._latest()
        return [_event(model, row, number, latest) for number, row in enumerate(rows)]

    def _latest(self) -> datetime | None:
        return self._clock() + self._ahead if self._ahead else None


def _event(model: type[Event], row: Any, number: int, latest: datetime | None) -> Event:  # noqa: ANN401
    if not isinstance(row, Mapping):
        raise Refusal(INVALID, "an event is an object", None, number)
    try:
        event = model.model_validate(row)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = ".".join(map(str, first["loc"]))[:64] or None
        raise Refusal(INVALID, first["msg"], field, number) from error
    if event.event_time < EARLIEST:
        raise Refusal(INVALID, f"before {EARLIEST.date()}: no event is so old", "event_time", number)
    if latest is not None and event.event_time > latest:
        raise Refusal(INVALID, "too far in the future: check the clock of the source", "event_time", number)
    return event


def _plain(name: str, values: list[Any]) -> list[Any]:
    """Return the values as an event takes them: times from microseconds, a missing number as None."""
    if name == "event_time":
        return [_time(value, row) if type(value) is int else value for row, value in enumerate(values)]
    if name == "quantity":
        return [None if value != value else value for value in values]  # noqa: PLR0124 - NaN
    return values


def _time(micros: int, row: int) -> datetime:
    try:
        return from_micros(micros).astimezone(UTC)
    except OverflowError as error:
        raise Refusal(INVALID, "not a time: give microseconds since 1970, or ISO 8601", "event_time", row) from error
