"""The mapping of a source: how its rows become canonical events, and what is allowed in them. Written in YAML."""

import string
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from vigil.contracts.events import EARLIEST, EVENTS, Event, arrow_schema
from vigil.contracts.keys import ContentHash, hash_json
from vigil.errors import ContractError
from vigil.ingest.units import Duration, Zone, parse_duration

ROW = "#row"
COLUMN = "#column"
"""Names that a template may use beside the columns: the number of the row, and the column that was unpivoted."""

_FOR_NUMBERS = ("product", "transform", "scale", "decimals", "minimum", "maximum", "nan_is_null")
_OWN_FIELDS = ("event_id", "event_time", "utc_offset_minutes")


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ReaderOptions(_Strict):
    """How the file is read."""

    format: Literal["auto", "csv", "parquet", "jsonl"] = Field(default="auto", description="auto: by the file's suffix")
    delimiter: str = Field(default=",", min_length=1, max_length=1, description="csv: between two fields")
    quote: str = Field(default='"', min_length=1, max_length=1, description="csv: around a field")
    encoding: str = Field(default="utf-8", description="csv, jsonl: of the text")
    decimal_point: Literal[".", ","] = Field(default=".", description="csv, jsonl: in numbers that are text")
    null_values: tuple[str, ...] = Field(default=("",), description="csv: texts that mean that nothing was recorded")


def _as_text(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(f"YAML reads this as {value}: put it into quotes if it is a text")
    return str(value) if isinstance(value, int | float) else value


def _with_text_keys(value: object) -> object:
    return {_as_text(key): item for key, item in value.items()} if isinstance(value, dict) else value


_Text = Annotated[str, BeforeValidator(_as_text)]


class Condition(_Strict):
    """A question to one column; a row meets the condition if every part that is given holds."""

    column: str
    one_of: tuple[_Text, ...] | None = Field(default=None, description="the value, as text, is one of these")
    is_null: bool | None = Field(default=None, description="true: nothing is recorded; false: something is")
    above: float | None = Field(default=None, description="the value, as a number, is greater")
    below: float | None = Field(default=None, description="the value, as a number, is smaller")

    @model_validator(mode="after")
    def _asks_something(self) -> "Condition":
        if self.one_of is None and self.is_null is None and self.above is None and self.below is None:
            raise ValueError("ask something: one_of, is_null, above or below")
        return self


class Exclusion(Condition):
    """Rows that are left out on purpose; they are quarantined under the rule `excluded` and never fail a run."""

    reason: str = Field(min_length=1, description="why; it is written beside each row")


def _from_shorthand(value: object) -> object:
    return {"column": value} if isinstance(value, str) else value


class FieldSource(_Strict):
    """Where a field's value comes from: exactly one of column, product, template and constant, then refined."""

    column: str | None = None
    product: tuple["FieldText", ...] | None = Field(default=None, description="these, multiplied")
    template: str | None = Field(default=None, description="text with {column} in it, or {#row}, {#column}")
    constant: str | int | float | bool | None = None

    transform: Literal["exp", "log", "abs", "negate"] | None = None
    scale: float | None = Field(default=None, description="factor that turns the source's unit into the field's")
    decimals: int | None = Field(default=None, ge=0, le=12, description="round to so many digits")
    values: Annotated[
        dict[str, str | int | float | bool | None] | None,
        BeforeValidator(_with_text_keys),
        Field(description="the source's value, as text, to ours; any other value is an unknown category"),
    ] = None

    known: tuple[_Text, ...] | None = Field(default=None, description="the categories that are known")
    minimum: float | None = Field(default=None, description="narrower than what the event allows")
    maximum: float | None = Field(default=None, description="narrower than what the event allows")
    required: bool = Field(default=False, description="refuse nulls where the event would allow them")
    nan_is_null: bool = Field(default=False, description="NaN means that nothing was recorded")
    may_be_absent: bool = Field(default=False, description="null where the file has no such column")

    @model_validator(mode="after")
    def _has_one_origin(self) -> "FieldSource":
        given = [name for name in ("column", "product", "template", "constant") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of column, product, template, constant (here: {given or 'none'})")
        if self.template is not None:
            template_names(self.template)
        return self

    @property
    def columns(self) -> set[str]:
        """Every column of the file that it reads and that has to be there."""
        if self.product is not None:
            return set().union(*(part.columns for part in self.product))
        if self.template is not None:
            return template_names(self.template)
        return set() if self.column is None or self.may_be_absent else {self.column}


FieldText = Annotated[FieldSource, BeforeValidator(_from_shorthand)]
"""A field's source; a bare text is the name of a column."""


def template_names(template: str) -> set[str]:
    """Return the columns that a template names, or raise ValueError saying what is wrong with it."""
    names = set()
    for _, name, spec, conversion in string.Formatter().parse(template):
        if name is None:
            continue
        if spec or conversion or not name:
            raise ValueError(f"template {template!r}: write {{column}}, without a format")
        names.add(name)
    return names - {ROW, COLUMN}


class TimeSource(_Strict):
    """When the event happened: a column of times, or of numbers with a unit and an origin."""

    column: str
    format: str | None = Field(default=None, description="of a text that is not ISO 8601, such as %d/%m/%Y %H:%M")
    unit: Literal["us", "ms", "s", "min", "h", "d", "w"] | None = Field(default=None, description="of a number")
    origin: datetime | None = Field(
        default=None, description="what the number counts from: local time, unless it has a zone"
    )
    delay: Duration = Field(default=0, description="how much later the event is known than what the column says")

    @model_validator(mode="after")
    def _is_complete(self) -> "TimeSource":
        if (self.unit is None) != (self.origin is None):
            raise ValueError("a number needs both unit and origin")
        if self.format is not None and self.unit is not None:
            raise ValueError("give either format, for a text, or unit and origin, for a number")
        return self


def _time_from_shorthand(value: object) -> object:
    return {"column": value} if isinstance(value, str) else value


class Unpivot(_Strict):
    """Several columns of one row, each of which becomes an event of its own; a null is no event."""

    into: str = Field(default="value", description="the field that takes the column's value")
    columns: dict[str, dict[str, str | int | float | bool]] = Field(
        min_length=1, description="for each column the constant fields of its events"
    )


class EventMapping(_Strict):
    """How one row becomes one event (with `unpivot`: one for each column)."""

    kind: str
    name: str = Field(default="", description="in reports; the kind if it is not given")
    id: str = Field(description="template of the event's id")
    time: Annotated[TimeSource, BeforeValidator(_time_from_shorthand)]
    utc_offset_minutes: FieldText | None = Field(default=None, description="a column; the zone says it otherwise")
    fields: dict[str, FieldText]
    where: tuple[Condition, ...] = Field(default=(), description="only rows that meet all of them give this event")
    requires: str | None = Field(default=None, description="an earlier event of the same row that must be accepted")
    unpivot: Unpivot | None = None
    absent_if_null: str | None = Field(default=None, description="a column: no event where nothing is recorded")

    @model_validator(mode="after")
    def _fits_the_event(self) -> "EventMapping":
        if self.kind not in EVENTS:
            raise ValueError(f"kind {self.kind!r} is not known: one of {', '.join(EVENTS)}")
        template_names(self.id)
        if self.unpivot is not None and len(self.unpivot.columns) > 1 and "{" + COLUMN + "}" not in self.id:
            raise ValueError("the id of several columns of a row must have {#column} in it")
        for event in self.expanded():
            _check_fields(event)
        return self

    @property
    def model(self) -> type[Event]:
        """The canonical event that it makes."""
        return EVENTS[self.kind]

    @property
    def label(self) -> str:
        """What reports call it."""
        return self.name or self.kind

    @property
    def sources(self) -> dict[str, FieldSource]:
        """The source of every field except the time, by the field's name."""
        offset = {} if self.utc_offset_minutes is None else {"utc_offset_minutes": self.utc_offset_minutes}
        return {"event_id": FieldSource(template=self.id), **offset, **self.fields}

    def expanded(self) -> "tuple[EventMapping, ...]":
        """Return one mapping for each unpivoted column, or only itself."""
        if self.unpivot is None:
            return (self,)
        return tuple(self._for_column(column, fixed) for column, fixed in self.unpivot.columns.items())

    def _for_column(self, column: str, fixed: dict[str, str | int | float | bool]) -> "EventMapping":
        assert self.unpivot is not None  # noqa: S101 - only `expanded` calls it
        constants = {field: FieldSource(constant=value) for field, value in fixed.items()}
        changes = {
            "name": f"{self.label}:{column}",
            "id": self.id.replace("{" + COLUMN + "}", column),
            "fields": self.fields | {self.unpivot.into: FieldSource(column=column)} | constants,
            "unpivot": None,
            "absent_if_null": column,
        }
        return self.model_copy(update=changes)


def _check_fields(event: EventMapping) -> None:
    known = [name for name in event.model.model_fields if name not in _OWN_FIELDS]
    if unknown := [name for name in event.fields if name not in known]:
        raise ValueError(f"{event.kind} has no field {unknown[0]!r}: one of {', '.join(known)}")
    required = [name for name in known if event.model.model_fields[name].is_required()]
    if missing := [name for name in required if name not in event.fields]:
        raise ValueError(f"{event.kind} needs the field {missing[0]!r}: add it to fields")
    for name, source in event.fields.items():
        _check_source(event.model, name, source)


def _check_source(model: type[Event], name: str, source: FieldSource) -> None:
    """Raise ValueError if a value that the mapping states can never be one of the field."""
    kind = arrow_schema(model).field(name).type
    is_text = pa.types.is_string(kind) or pa.types.is_dictionary(kind)
    stated = [source.constant, *(source.values or {}).values()]
    field_type: TypeAdapter[Any] = TypeAdapter(model.model_fields[name].rebuild_annotation())
    for value in (item for item in stated if item is not None):
        try:
            field_type.validate_python(str(value) if is_text else value, strict=not is_text)
        except ValidationError as error:
            raise ValueError(f"{name} cannot be {value!r}: {error.errors()[0]['msg']}") from error
    for option in _FOR_NUMBERS:
        if getattr(source, option) not in (None, False) and not pa.types.is_floating(kind):
            raise ValueError(f"{option} is for numbers, and {name} is none")


class ScaleCheck(_Strict):
    """When a feed counts as having changed its unit: the typical size of a run of values left its own history."""

    factor: float = Field(default=30, gt=2, description="least ratio, up or down, that counts")
    block: int = Field(
        default=12, ge=5, description="least number of values, from different hours, that are judged together"
    )
    history: int = Field(default=5, ge=3, description="blocks before anything is judged")
    spreads: float = Field(default=6, gt=0, description="least change in units of the history's own spread")


class ExpectedArrival(_Strict):
    """A feed that must report at least so often, whether it was ever seen or not."""

    kind: str = Field(default="site_reading")
    site_id: str
    metric: str | None = Field(default=None, description="of a reading")
    every: Duration = Field(description="the longest gap that is allowed")


class Arrivals(_Strict):
    """When a feed counts as silent."""

    kinds: tuple[str, ...] = Field(default=("transaction", "site_reading"), description="whose feeds are watched")
    factor: float = Field(default=3, ge=1, description="silence, as a multiple of the longest gap that is normal")
    min_arrivals: int = Field(default=50, ge=10, description="before the rhythm of a feed counts as learned")
    expected: tuple[ExpectedArrival, ...] = ()


class Limits(_Strict):
    """What the whole file has to keep to."""

    max_quarantined_share: float = Field(default=0.01, ge=0, le=1, description="of the rows; beyond it the run fails")
    min_rows: int = Field(default=1, ge=0, description="fewer rows than this fail the run; 0 allows an empty file")
    earliest: datetime = Field(default=EARLIEST, description="no event is older")
    latest: datetime | None = Field(default=None, description="no event is younger; the clock holds in any case")
    clock_skew: Duration = Field(default=parse_duration("5min"), description="how far the source's clock may be ahead")
    lateness: Duration | None = Field(
        default=None, description="how much older than the latest time before it an event may be; any if not given"
    )
    order_by: tuple[str, ...] = Field(default=(), description="columns: the order of times is judged within each value")

    @model_validator(mode="after")
    def _has_zones(self) -> "Limits":
        if self.earliest.tzinfo is None or (self.latest is not None and self.latest.tzinfo is None):
            raise ValueError("earliest and latest need a time zone, such as 2000-01-01T00:00:00Z")
        return self


class Mapping(_Strict):
    """Everything that is known of a source."""

    name: str = Field(pattern=r"^[a-z0-9_.-]+$")
    description: str = ""
    reader: ReaderOptions = ReaderOptions()
    time_zone: Zone = Field(description="of times without a zone: an IANA name or an offset such as -08:00")
    events: tuple[EventMapping, ...] = Field(min_length=1)
    exclude: tuple[Exclusion, ...] = ()
    limits: Limits = Limits()
    scale_check: ScaleCheck | None = ScaleCheck()
    arrivals: Arrivals | None = Arrivals()

    @model_validator(mode="after")
    def _refers_backwards(self) -> "Mapping":
        labels: list[str] = []
        for event in self.expanded:
            if event.requires is not None and event.requires not in labels:
                raise ValueError(f"{event.label} requires {event.requires!r}, which is no event before it")
            if event.label in labels:
                raise ValueError(f"two events are called {event.label!r}: give one a name of its own")
            labels.append(event.label)
        return self

    @property
    def expanded(self) -> tuple[EventMapping, ...]:
        """Every event that one row can give."""
        return tuple(one for event in self.events for one in event.expanded())

    @property
    def content_hash(self) -> ContentHash:
        """The same for the same mapping, however its YAML is laid out."""
        return hash_json(self.model_dump(mode="json"))

    def uses(self) -> dict[str, str]:
        """Return each column that the file must have, with the place in the mapping that asks for it first."""
        found: dict[str, str] = {}
        for event in self.expanded:
            for field, source in event.sources.items():
                found |= {column: f"{event.label}.{field}" for column in source.columns if column not in found}
            found.setdefault(event.time.column, f"{event.label}.event_time")
            conditions = [condition.column for condition in event.where]
            absent = [] if event.absent_if_null is None else [event.absent_if_null]
            found |= {column: f"{event.label}.where" for column in conditions + absent if column not in found}
        found |= {rule.column: "exclude" for rule in self.exclude if rule.column not in found}
        return found | {column: "limits.order_by" for column in self.limits.order_by if column not in found}


def parse_mapping(text: str, origin: str) -> Mapping:
    """Return the mapping that the YAML states, or raise ContractError naming each key that is wrong."""
    try:
        content: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ContractError(f"{origin} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise ContractError(f"{origin} is not a mapping: it must state name, time_zone and events")
    try:
        return Mapping.model_validate(content)
    except ValidationError as error:
        wrong = "; ".join(f"{_path(item['loc'])}: {_problem(item)}" for item in error.errors())
        raise ContractError(f"{origin}: {wrong}") from error


def _path(location: tuple[str | int, ...]) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return path.removeprefix(".") or "mapping"


def _problem(item: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails, of which only two keys matter
    if item["type"] == "extra_forbidden":
        close = get_close_matches(str(item["loc"][-1]), _KEYS, n=1)
        return f"no such key, is {close[0]!r} meant?" if close else "no such key"
    return str(item["msg"]).removeprefix("Value error, ")


_KEYS = sorted({key for model in _Strict.__subclasses__() for key in model.model_fields} | {"reason"})


def load_mapping(path: Path) -> Mapping:
    """Return the mapping in a YAML file, or raise ContractError naming each key that is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ContractError(f"there is no mapping {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ContractError(f"the mapping {path} cannot be read: {error}") from error
    return parse_mapping(text, str(path))
