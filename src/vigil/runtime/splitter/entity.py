"""Whom a request is about: the key by which traffic is sticky, without decoding more than has to be."""

from typing import Any

import orjson

ENTITY_HEADER = "x-vigil-entity"
KEYS = ("customer_id", "card_id", "terminal_id", "site_id")
"""In this order: the first key that the first instance has is the entity."""


def entity_of(body: bytes) -> str | None:
    """Return the entity of the first instance or event in a body, or None where there is none to be seen."""
    if not body.startswith(b"{"):
        return None
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    instances = document.get("instances", document.get("events"))
    if instances is not None:
        return _first_key(_first(instances))
    columns = document.get("inputs")
    return _first_key(_columns(columns)) if isinstance(columns, list) else None


def _first(values: Any) -> Any:  # noqa: ANN401 - any JSON value
    return values[0] if isinstance(values, list) and values else None


def _columns(columns: list[Any]) -> dict[str, Any]:
    """Return the first row of V2 columns, of those that can be an entity."""
    return {
        column["name"]: _first(column.get("data"))
        for column in columns
        if isinstance(column, dict) and column.get("name") in KEYS
    }


def _first_key(instance: Any) -> str | None:  # noqa: ANN401 - any JSON value
    if not isinstance(instance, dict):
        return None
    return next((value for key in KEYS if isinstance(value := instance.get(key), str) and value), None)
