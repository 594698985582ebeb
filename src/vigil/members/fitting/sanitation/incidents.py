"""Incident windows: which entity, which metric, from when to when. Their rows teach nothing normal."""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from vigil.clock import HOUR, from_micros, to_micros
from vigil.errors import ContractError
from vigil.members.fitting.sanitation.finding import Finding
from vigil.members.fitting.sanitation.settings import IncidentScreen

Entities = Mapping[str, NDArray[Any]]
"""The id of each row's site, terminal, customer and so on: entity name -> array of (rows,)."""

METRIC = "metric"
RULE = "incident_window"


class IncidentWindow(BaseModel):
    """Something that went wrong from `start` until before `end`, in microseconds since 1970."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, description="what the list of left-out rows calls it")
    start: int = Field(description="microseconds since 1970")
    end: int = Field(description="microseconds since 1970; excluded")
    entities: Mapping[str, str] = Field(
        default_factory=dict, description="ids that a row must have, such as {'site': 'S0003'}; none means every row"
    )
    metric: str | None = Field(default=None, description="the metric that a row must be about; None means any")

    @model_validator(mode="after")
    def _ends_after_its_start(self) -> "IncidentWindow":
        if self.end <= self.start:
            raise ValueError(f"incident {self.name} ends at {self.end}, which is not after its start {self.start}")
        return self


class _Truth(BaseModel):
    """What a list of incidents says of one of them, as far as it matters here."""

    name: str
    kind: str
    entity: str
    entity_id: str | None
    site_id: str | None = None
    metric: str | None = None
    start: AwareDatetime
    end: AwareDatetime


def read_incident_windows(path: Path, kinds: Collection[str] | None = None) -> tuple[IncidentWindow, ...]:
    """Return the windows of a JSON list of incidents such as `truth/incidents.json`; `kinds` chooses among them.

    Incidents of the whole chain are no windows (they may last for ever): their rows are known by their labels.
    """
    try:
        truths = [_Truth.model_validate(item) for item in json.loads(path.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        raise ContractError(f"there is no list of incidents at {path}") from None
    except (ValidationError, ValueError, TypeError) as error:
        raise ContractError(f"{path} is no list of incidents: {error}") from error
    chosen = [truth for truth in truths if truth.entity_id and (kinds is None or truth.kind in kinds)]
    return tuple(_window(truth) for truth in chosen)


def _window(truth: _Truth) -> IncidentWindow:
    entities = {truth.entity: str(truth.entity_id)}
    if truth.entity == "product" and truth.site_id:
        entities["site"] = truth.site_id
    return IncidentWindow(
        name=truth.name,
        start=to_micros(truth.start),
        end=to_micros(truth.end),
        entities=entities,
        metric=truth.metric,
    )


def find_incident_rows(
    times: NDArray[np.int64], entities: Entities, windows: Sequence[IncidentWindow], settings: IncidentScreen
) -> Finding:
    """Return the rows inside any of the windows; those inside several are put down to the first."""
    found = np.full(len(times), -1, dtype=np.int64)
    for number, window in enumerate(windows):
        found[(found < 0) & _inside(times, entities, window, settings)] = number
    rows = np.flatnonzero(found >= 0)
    return Finding(RULE, rows, tuple(map(_describe, windows)), found[rows])


def _inside(
    times: NDArray[np.int64], entities: Entities, window: IncidentWindow, settings: IncidentScreen
) -> NDArray[np.bool_]:
    start = window.start - int(settings.hours_before * HOUR)
    end = window.end + int(settings.hours_after * HOUR)
    inside = (times >= start) & (times < end)
    for name, wanted in window.entities.items():
        if name not in entities:
            raise ContractError(
                f"incident {window.name} names a {name}, but the rows' {name}s are not known: pass entities[{name!r}]"
            )
        inside &= entities[name] == wanted
    if window.metric is not None and METRIC in entities:
        inside &= entities[METRIC] == window.metric
    return inside


def _describe(window: IncidentWindow) -> str:
    where = ", ".join(f"{name} {value}" for name, value in window.entities.items()) or "everywhere"
    what = f", {window.metric}" if window.metric else ""
    start, end = (from_micros(moment).isoformat(timespec="minutes") for moment in (window.start, window.end))
    return f"{window.name}: {where}{what}, {start} to {end}"
