"""The canonical events: what every source is mapped to, in bulk as Arrow, singly as JSON.

The pydantic models are the definition; the Arrow schemas (`arrow_schema`) and the published JSON Schemas
(`json_schema`) are derived from them.
"""

import types
import typing
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, ClassVar, Literal

import pyarrow as pa
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from vigil.errors import ContractError

MAX_AMOUNT = 1_000_000.0
"""Largest absolute amount of one transaction, in currency units; a mapping scales a currency with larger numbers."""

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
"""Nothing before this is an event time: 1970 is a clock that was never set."""


class Key(str):
    """Marks a column that repeats (an entity's key or a category): a dictionary in Arrow."""


def _as_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


_Key = Annotated[str, Field(min_length=1, max_length=128), Key()]
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Time = Annotated[AwareDatetime, AfterValidator(_as_utc)]


class Event(BaseModel):
    """What all events share: an id, and when it happened. Local time is `event_time` plus `utc_offset_minutes`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: ClassVar[str]
    version: ClassVar[int] = 1

    event_id: Annotated[str, Field(min_length=1, max_length=128, description="unique within its kind")]
    event_time: Annotated[_Time, Field(description="when it happened, with a time zone")]
    utc_offset_minutes: Annotated[int, Field(ge=-720, le=840, description="local time minus UTC, in minutes")] = 0


class Transaction(Event):
    """A sale, payment or refund."""

    kind: ClassVar[str] = "transaction"

    amount: Annotated[_Finite, Field(ge=-MAX_AMOUNT, le=MAX_AMOUNT, description="currency units; negative is a refund")]
    customer_id: Annotated[_Key | None, Field(description="who paid")] = None
    card_id: Annotated[_Key | None, Field(description="the card or other means of payment")] = None
    terminal_id: Annotated[_Key | None, Field(description="the till or card terminal")] = None
    site_id: Annotated[_Key | None, Field(description="the shop, branch or web site")] = None
    site_group: Annotated[_Key | None, Field(description="the locations that the site is compared with")] = None
    product_id: Annotated[_Key | None, Field(description="what was sold, where a row is one line of a receipt")] = None
    quantity: Annotated[_Finite | None, Field(ge=-1e6, le=1e6, description="units of the product")] = None


class StockLevel(Event):
    """A count of what a site has of a product."""

    kind: ClassVar[str] = "stock_level"

    site_id: Annotated[_Key, Field(description="where")]
    product_id: Annotated[_Key, Field(description="of what")]
    on_hand: Annotated[_Finite, Field(ge=-1e6, le=1e9, description="units on hand; negative is oversold")]
    reorder_level: Annotated[_Finite | None, Field(ge=0, le=1e9, description="units at which to reorder")] = None


class StockMovement(Event):
    """Units that entered or left a site's stock."""

    kind: ClassVar[str] = "stock_movement"

    site_id: Annotated[_Key, Field(description="where")]
    product_id: Annotated[_Key, Field(description="of what")]
    quantity: Annotated[_Finite, Field(ge=-1e6, le=1e6, description="units; negative left the stock")]
    reason: Annotated[
        Literal["sale", "return", "waste", "transfer", "correction"], Key(), Field(description="why it moved")
    ]


class Restock(Event):
    """A delivery by a supplier."""

    kind: ClassVar[str] = "restock"

    site_id: Annotated[_Key, Field(description="where")]
    product_id: Annotated[_Key, Field(description="of what")]
    supplier_id: Annotated[_Key, Field(description="by whom")]
    quantity: Annotated[_Finite, Field(gt=0, le=1e6, description="units delivered")]


class SiteReading(Event):
    """One value of one metric that a site reports."""

    kind: ClassVar[str] = "site_reading"

    site_id: Annotated[_Key, Field(description="where")]
    metric: Annotated[_Key, Field(description="what is measured")]
    value: Annotated[_Finite, Field(description="in `unit`")]
    unit: Annotated[_Key, Field(description="the unit of `value`, the same for all readings of a metric")]


class FeedSilence(Event):
    """The absence of an expected arrival: `event_time` is when the feed was overdue."""

    kind: ClassVar[str] = "feed_silence"

    site_id: Annotated[_Key, Field(description="the site that is silent")]
    metric: Annotated[_Key, Field(description="the metric, or the kind of event, that did not arrive")]
    last_seen: Annotated[_Time | None, Field(description="the last arrival before the silence")] = None
    expected_every_seconds: Annotated[_Finite, Field(gt=0, description="the longest normal gap")]
    silent_seconds: Annotated[_Finite, Field(ge=0, description="how long it lasted, as far as is known")]


class Verdict(Event):
    """What is known of a transaction: `event_time` is when it became known, never earlier than the transaction."""

    kind: ClassVar[str] = "verdict"

    transaction_id: Annotated[str, Field(min_length=1, max_length=128, description="event_id of the transaction")]
    is_fraud: Annotated[bool, Field(description="the verdict")]
    source: Annotated[_Key, Field(description="who says so, such as chargeback or analyst")]
    amount: Annotated[_Finite | None, Field(ge=-MAX_AMOUNT, le=MAX_AMOUNT, description="of the transaction")] = None
    category: Annotated[_Key | None, Field(description="kind of fraud or incident")] = None
    customer_id: Annotated[_Key | None, Field(description="of the transaction")] = None
    card_id: Annotated[_Key | None, Field(description="of the transaction")] = None
    terminal_id: Annotated[_Key | None, Field(description="of the transaction")] = None
    site_id: Annotated[_Key | None, Field(description="of the transaction")] = None


EVENTS: dict[str, type[Event]] = {
    model.kind: model for model in (Transaction, StockLevel, StockMovement, Restock, SiteReading, FeedSilence, Verdict)
}
"""Every kind of event by its name."""

_ARROW: dict[Any, pa.DataType] = {
    str: pa.string(),
    float: pa.float64(),
    int: pa.int16(),
    bool: pa.bool_(),
    AwareDatetime: pa.timestamp("us", tz="UTC"),
}


def event_model(kind: str) -> type[Event]:
    """Return the model of an event kind, or raise ContractError listing the known ones."""
    if kind not in EVENTS:
        raise ContractError(f"unknown event kind {kind!r}: one of {', '.join(EVENTS)}")
    return EVENTS[kind]


@cache
def arrow_schema(model: type[Event]) -> pa.Schema:
    """Return the schema of a table of `model`; its metadata carries kind and version."""
    hints = typing.get_type_hints(model, include_extras=True)
    fields = [_arrow_field(name, hints[name]) for name in model.model_fields]
    metadata = {"vigil.kind": model.kind, "vigil.version": str(model.version)}
    return pa.schema(fields, metadata=metadata)


def _arrow_field(name: str, hint: Any) -> pa.Field:  # noqa: ANN401 - a type hint has no narrower type
    plain, markers, nullable = _unwrap(hint)
    arrow = pa.string() if typing.get_origin(plain) is Literal else _ARROW[plain]
    if any(isinstance(marker, Key) for marker in markers):
        arrow = pa.dictionary(pa.int32(), arrow)
    return pa.field(name, arrow, nullable=nullable)


def _unwrap(hint: Any) -> tuple[Any, list[Any], bool]:  # noqa: ANN401
    """Return the bare type under `Annotated` and `| None`, the markers on the way, and whether None is allowed."""
    if typing.get_origin(hint) is Annotated:
        inner, *markers = typing.get_args(hint)
        plain, more, nullable = _unwrap(inner)
        return plain, markers + more, nullable
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        inner = next(option for option in typing.get_args(hint) if option is not type(None))
        plain, markers, _ = _unwrap(inner)
        return plain, markers, True
    return hint, [], False


def json_schema(model: type[Event]) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of one event."""
    schema = model.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:vigil:{model.kind}:{model.version}",
        **schema,
    }


def parse_event(kind: str, payload: object) -> Event:
    """Return one event from decoded JSON, or raise ContractError naming each wrong field."""
    model = event_model(kind)
    try:
        return model.model_validate(payload)
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, item['loc'])) or 'body'}: {item['msg']}" for item in error.errors()]
        raise ContractError(f"not a valid {kind}: {'; '.join(wrong)}") from error


def to_table(model: type[Event], events: list[Event]) -> pa.Table:
    """Return the events as a table of `arrow_schema(model)`."""
    return pa.Table.from_pylist([event.model_dump() for event in events], schema=arrow_schema(model))


def check_table(model: type[Event], table: pa.Table) -> pa.Table:
    """Return `table` with exactly the schema of `model`, or raise ContractError naming the column that does not fit."""
    schema = arrow_schema(model)
    surplus = sorted(set(table.column_names) - set(schema.names))
    if surplus:
        raise ContractError(f"columns that a {model.kind} does not have: {', '.join(surplus)}")
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            if not field.nullable and model.model_fields[field.name].is_required():
                raise ContractError(f"a table of {model.kind} lacks the column {field.name}")
            default = model.model_fields[field.name].default
            columns.append(pa.array([default] * table.num_rows, type=field.type))
            continue
        columns.append(_cast(model.kind, field, table[field.name]))
    return pa.Table.from_arrays(columns, schema=schema)


def _cast(kind: str, field: pa.Field, column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not field.nullable and column.null_count:
        raise ContractError(f"{kind}.{field.name} has {column.null_count} nulls, none are allowed")
    if column.type == field.type:
        return column
    try:
        if pa.types.is_dictionary(field.type) and not pa.types.is_dictionary(column.type):
            return column.cast(pa.string()).dictionary_encode()
        return column.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ContractError(f"{kind}.{field.name} is {column.type}, not {field.type}: {error}") from error
