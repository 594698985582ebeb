"""The fleet: one row of flat arrays for each series, and one for each metric that unseen sites fall back on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from vigil.errors import ContractError
from vigil.fleet.calendar import Calendar, distinct
from vigil.fleet.panel import Floats, Series
from vigil.fleet.settings import FleetSettings
from vigil.fleet.state import FleetState
from vigil.members.files import Files, read_arrays, read_json, write_arrays, write_json

Float32s = NDArray[np.float32]

HEADER, ARRAYS, THRESHOLDS = "fleet.json", "fleet.npz", "thresholds.npz"
_FORMAT = 1


class Basis(IntEnum):
    """Whose history a decision rests on."""

    SITE = 0
    CLUSTER = 1
    GLOBAL = 2


class Tables(NamedTuple):
    """The models, one a row: those of the series, then those that a metric falls back on."""

    params: Floats
    """(rows, vigil.fleet.kernels.online.PARAMS)"""
    profile: Float32s
    """(rows, slots)"""
    scale: Float32s
    """(rows, slots)"""
    closed: NDArray[np.bool_]
    """(rows, slots)"""
    same_cost: Float32s
    """(rows, slots)"""
    miss_cost: Float32s
    """(rows, slots)"""
    norms: Floats
    """(rows, statistics): the thresholds"""
    tails: Float32s
    """(rows, knots): logarithm of the share of normal readings that are further out, by ratio to the threshold"""
    peaks: Float32s
    """(rows, statistics, 4): quantiles of what each block's largest was, from which thresholds are set"""
    facts: NDArray[np.int64]
    """(rows, 4): basis, readings, number of the cluster, months of history in hundredths"""

    def rows(self, chosen: NDArray[np.int64]) -> "Tables":
        """Return the chosen rows."""
        return Tables._make(column[chosen] for column in self)


@dataclass(frozen=True, eq=False)
class Fleet:
    """Models of many series. Immutable: scoring changes a `FleetState`, which `start_state` gives."""

    settings: FleetSettings
    series: tuple[Series, ...]
    metrics: tuple[str, ...]
    calendars: tuple[Calendar, ...]
    calendar_of: NDArray[np.int32]
    """(rows,) number of the calendar of each row"""
    tables: Tables
    versions: tuple[str, ...]
    """Which fit each row is from: series may be replaced and rolled back one by one."""
    start: FleetState

    @cached_property
    def position(self) -> dict[Series, int]:
        """The row of each series."""
        return {series: row for row, series in enumerate(self.series)}

    @cached_property
    def fallback(self) -> dict[str, int]:
        """The row that an unseen site's metric falls back on."""
        return {metric: len(self.series) + row for row, metric in enumerate(self.metrics)}

    def start_state(self) -> FleetState:
        """Return the state at the end of the history, to score what comes next; a copy."""
        return self.start.copy()

    def take(self, series: Iterable[Series]) -> "Fleet":
        """Return the fleet of those series only, with what their metrics fall back on."""
        chosen = list(dict.fromkeys(series))
        unknown = [one for one in chosen if one not in self.position]
        if unknown:
            raise ContractError(f"the fleet has no {unknown[0].metric} of site {unknown[0].site}")
        metrics = tuple(name for name in self.metrics if any(one.metric == name for one in chosen))
        rows = [self.position[one] for one in chosen] + [self.fallback[name] for name in metrics]
        return self._rows(rows, tuple(chosen), metrics)

    def _rows(self, rows: Sequence[int], series: tuple[Series, ...], metrics: tuple[str, ...]) -> "Fleet":
        chosen = np.array(rows, dtype=np.int64)
        calendars, numbers = distinct(self.calendars[number] for number in self.calendar_of[chosen])
        return replace(
            self,
            series=series,
            metrics=metrics,
            calendars=calendars,
            calendar_of=numbers,
            tables=self.tables.rows(chosen),
            versions=tuple(self.versions[row] for row in rows),
            start=self.start.seats(chosen[: len(series)]),
        )

    def merge(self, other: "Fleet") -> "Fleet":
        """Return both fleets as one; a series or metric that both have is the other's."""
        if other.settings != self.settings:
            raise ContractError("two fleets of different settings cannot be merged: fit both with the same")
        both = _stack(self, other)
        series = tuple(dict.fromkeys((*self.series, *other.series)))
        metrics = tuple(dict.fromkeys((*self.metrics, *other.metrics)))
        rows = [both.position[one] for one in series] + [both.fallback[one] for one in metrics]
        return both._rows(rows, series, metrics)

    def with_series(self, other: "Fleet", series: Iterable[Series]) -> "Fleet":
        """Return the fleet with some series as `other` has them; every other row keeps its place and its bytes."""
        if other.settings != self.settings:
            raise ContractError("two fleets of different settings cannot be mixed: fit both with the same")
        chosen = list(series)
        mine, theirs = ([fleet.position[one] for one in chosen] for fleet in (self, other))
        tables, start, versions = Tables._make(part.copy() for part in self.tables), self.start.copy(), [*self.versions]
        pairs: list[tuple[NDArray[Any], NDArray[Any]]] = list(zip(tuple(tables), tuple(other.tables), strict=True))
        pairs += [(getattr(start, name), getattr(other.start, name)) for name in ("memory", "daily", "ring")]
        for target, source in pairs:
            target[mine] = source[theirs]
        for row, one in zip(mine, theirs, strict=True):
            versions[row] = other.versions[one]
        every = [self.calendars[number] for number in self.calendar_of]
        for row, one in zip(mine, theirs, strict=True):
            every[row] = other.calendars[other.calendar_of[one]]
        calendars, numbers = distinct(every)
        return replace(
            self, tables=tables, start=start, versions=tuple(versions), calendars=calendars, calendar_of=numbers
        )

    def to_files(self) -> Files:
        """Return the fleet as files: JSON and npz, the same fleet in the same bytes."""
        header = {
            "format": _FORMAT,
            "settings": self.settings.model_dump(mode="json"),
            "series": [list(one) for one in self.series],
            "metrics": list(self.metrics),
            "calendars": [one.to_json() for one in self.calendars],
            "versions": list(self.versions),
        }
        arrays: dict[str, NDArray[Any]] = {f"table_{name}": part for name, part in self.tables._asdict().items()}
        limits = {name: arrays.pop(f"table_{name}") for name in ("norms", "peaks")}
        arrays |= {f"state_{name}": part for name, part in self.start.to_arrays().items()}
        arrays["calendar_of"] = self.calendar_of
        return {HEADER: write_json(header), ARRAYS: write_arrays(arrays), THRESHOLDS: write_arrays(limits)}


def _stack(first: Fleet, second: Fleet) -> Fleet:
    """Return a fleet with the rows of both, in which positions of the second win."""
    a, b = len(first.series), len(second.series)
    calendars = (*first.calendars, *second.calendars)
    seconds = second.calendar_of + len(first.calendars)

    def joined(one: NDArray[Any], two: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([one[:a], two[:b], one[a:], two[b:]])

    pairs: Iterable[tuple[NDArray[Any], NDArray[Any]]] = zip(first.tables, second.tables, strict=True)
    versions = first.versions[:a] + second.versions[:b] + first.versions[a:] + second.versions[b:]
    return Fleet(
        settings=first.settings,
        series=(*first.series, *second.series),
        metrics=(*first.metrics, *second.metrics),
        calendars=calendars,
        calendar_of=joined(first.calendar_of, seconds).astype(np.int32),
        tables=Tables._make(joined(one, two) for one, two in pairs),
        versions=versions,
        start=first.start.joined(second.start),
    )


def restore_fleet(files: Files) -> Fleet:
    """Return the fleet that `to_files` wrote, or raise ContractError saying what does not fit."""
    header, arrays, limits = read_json(files, HEADER), read_arrays(files, ARRAYS), read_arrays(files, THRESHOLDS)
    if header.get("format") != _FORMAT:
        raise ContractError(f"{HEADER} has format {header.get('format')!r}, this version reads {_FORMAT}")
    try:
        fleet = _restore(header, arrays | {f"table_{name}": part for name, part in limits.items()})
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        raise ContractError(f"the files are not a fleet ({error!r}): truncated or foreign") from error
    rows = len(fleet.series) + len(fleet.metrics)
    lengths = {len(part) for part in fleet.tables} | {len(fleet.versions), len(fleet.calendar_of)}
    if lengths != {rows} or len(fleet.start) != len(fleet.series):
        raise ContractError(f"the files are not a fleet: {rows} rows are named, the arrays have {sorted(lengths)}")
    return fleet


def _restore(header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Fleet:
    settings = FleetSettings.model_validate(header["settings"])
    state = {name.removeprefix("state_"): part for name, part in arrays.items() if name.startswith("state_")}
    return Fleet(
        settings=settings,
        series=tuple(Series(*one) for one in header["series"]),
        metrics=tuple(header["metrics"]),
        calendars=tuple(Calendar.from_json(one) for one in header["calendars"]),
        calendar_of=arrays["calendar_of"],
        tables=Tables._make(arrays[f"table_{name}"] for name in Tables._fields),
        versions=tuple(header["versions"]),
        start=FleetState.from_arrays(state),
    )
