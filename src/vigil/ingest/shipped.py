"""The mappings that come with Vigil, and those of files that are canonical already."""

from importlib import resources
from importlib.resources.abc import Traversable

import pyarrow as pa

from vigil.contracts.events import EVENTS, arrow_schema
from vigil.errors import ContractError
from vigil.ingest.mapping import EventMapping, FieldSource, Mapping, TimeSource, parse_mapping

CANONICAL = "canonical-"
"""Prefix of the sources whose columns carry the names of an event's fields."""


def _folder() -> Traversable:
    return resources.files("vigil.ingest") / "sources"


def source_names() -> list[str]:
    """Return the names of all mappings that come with Vigil."""
    files = sorted(item.name.removesuffix(".yaml") for item in _folder().iterdir() if item.name.endswith(".yaml"))
    return files + [CANONICAL + kind for kind in EVENTS]


def shipped_mapping(name: str) -> Mapping:
    """Return a mapping that comes with Vigil, or raise ContractError listing all of them."""
    if name not in source_names():
        raise ContractError(f"there is no source {name!r}: one of {', '.join(source_names())}")
    if name.startswith(CANONICAL):
        return canonical_mapping(name.removeprefix(CANONICAL))
    return parse_mapping((_folder() / f"{name}.yaml").read_text(encoding="utf-8"), f"source {name}")


def canonical_mapping(kind: str) -> Mapping:
    """Return the mapping of CSV, Parquet or JSON lines whose columns carry the names of the fields of `kind`.

    Columns that the event does not require may be absent; times without a zone are UTC.
    """
    schema, fields = arrow_schema(EVENTS[kind]), EVENTS[kind].model_fields
    sources = {item.name: _source(item, is_required=fields[item.name].is_required()) for item in schema}
    event = EventMapping(
        kind=kind,
        id="{event_id}",
        time=TimeSource(column="event_time"),
        utc_offset_minutes=sources["utc_offset_minutes"],
        fields={name: source for name, source in sources.items() if name not in _OWN},
    )
    return Mapping(name=CANONICAL + kind, description=f"Events of kind {kind}.", time_zone="UTC", events=(event,))


_OWN = ("event_id", "event_time", "utc_offset_minutes")


def _source(item: pa.Field, *, is_required: bool) -> FieldSource:
    return FieldSource(column=item.name, may_be_absent=not is_required)
