"""How a watch is made from the bundle of the revision that it watches."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow.parquet as pq
from pydantic import ValidationError

from vigil.errors import ContractError
from vigil.monitoring.samples import Served
from vigil.monitoring.service.plain import PlainWatch
from vigil.monitoring.service.port import WatchOver
from vigil.monitoring.service.settings import ServiceSettings
from vigil.monitoring.watch.settings import WatchSettings
from vigil.registry.bundle import Bundle

_REFERENCE = "reference/rows.parquet"
"""Part of a bundle: vectors and scores that were usual."""
_SCHEMA = "feature_schema.json"
_DAY_HOURS = 24
_OUTPUT_DAY_EFFECT = 0.1


def make_watch(served: Served, bundle: Bundle, settings: Mapping[str, Any]) -> WatchOver:
    """Return the watch over a revision; where its bundle has no reference, one that only counts."""
    if _REFERENCE not in bundle.names:
        return PlainWatch(served)
    from vigil.monitoring.watch.watch import Watch

    schema = bundle.json(_SCHEMA)["features"]
    raw = tuple(found["name"] for found in schema if not found["windows"])
    chosen: dict[str, Any] = {"features": steady_features(schema), "raw": raw, **settings}
    if len(chosen["features"] or schema) < len(schema):
        chosen.setdefault("output_day_effect", _OUTPUT_DAY_EFFECT)
    return Watch(served, pq.read_table(io.BytesIO(bundle.read(_REFERENCE))), WatchSettings.model_validate(chosen))


def steady_features(features: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the features that stay as they were while the business does: no more than a day of events makes them.

    What weeks and months make moves with the age of customers, terminals and verdicts, though nothing has changed.
    """
    return tuple(str(found["name"]) for found in features if all(map(_is_short, found["windows"])))


def _is_short(window: str) -> bool:
    """Return whether a window, such as 30min, 24h, 7d or lifetime, is a day at most."""
    return window.endswith("min") or (window.endswith("h") and int(window.removesuffix("h")) <= _DAY_HOURS)


def check_watches(settings: ServiceSettings) -> None:
    """Raise ContractError naming the setting of a watch that is wrong, before the first decision comes."""
    for model in ("", *settings.models):
        try:
            WatchSettings.model_validate(settings.watch_of(model))
        except ValidationError as error:
            first = error.errors()[0]
            where = f"models.{model}" if model else "watch"
            raise ContractError(f"{where}.{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
