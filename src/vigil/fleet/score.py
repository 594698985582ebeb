"""Readings in, findings out: in bulk, by the hour or one at a time, always by the same compiled recursion."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vigil.errors import ContractError
from vigil.fleet.kernels import online, scoring
from vigil.fleet.model import Basis, Fleet, Tables
from vigil.fleet.panel import Floats, Ints, Readings, Series
from vigil.fleet.state import FleetState

NOT_YET = np.int64(scoring.NEVER)


class Kind(IntEnum):
    """What a finding is."""

    NORMAL = online.NORMAL
    POINT = online.SPIKE
    CONTEXTUAL = online.CONTEXT
    COLLECTIVE = online.COLLECTIVE
    SHIFT = online.MOVED
    STUCK = online.REPEATED
    SILENCE = online.ABSENT
    UNIT = online.SCALED
    LATE = online.LATE
    DUPLICATE = online.DUPLICATE


@dataclass(frozen=True, eq=False)
class Findings:
    """Columns, one row for each reading and for each step at which one was missing, in the order they were scored.

    `surprise` is the share of normal readings that surprise less; a row is `flagged` where it reaches `threshold`. A
    reading that came too late or twice is said so in `kind` and never flagged.
    """

    series: tuple[Series, ...]
    index: NDArray[np.int32]
    """Which of `series` the row is of."""
    times: Ints
    """Microseconds; of a missing reading, the beginning of its step."""
    values: Floats
    """NaN where nothing came."""
    surprise: Floats
    z: Floats
    """How far the value is from what was expected, in robust standard deviations; negative is a dip."""
    expected: Floats
    low: Floats
    high: Floats
    ratio: Floats
    """The largest statistic in multiples of its threshold."""
    sign: NDArray[np.int8]
    """1 where it is too high, -1 where too low."""
    kind: NDArray[np.int8]
    basis: NDArray[np.int8]
    history: Ints
    """Readings that the series had when the model was fitted."""
    threshold: Floats
    flagged: NDArray[np.bool_]
    versions: tuple[str, ...]
    """Version of the model of each row."""

    def __len__(self) -> int:
        return len(self.index)

    def to_table(self) -> pa.Table:
        """Return the findings as a table, with names for sites, metrics, kinds and bases."""
        sites, metrics = ([one[part] for one in self.series] for part in (0, 1))
        words = {
            "site_id": pa.DictionaryArray.from_arrays(pa.array(self.index), pa.array(sites, pa.string())),
            "metric": pa.DictionaryArray.from_arrays(pa.array(self.index), pa.array(metrics, pa.string())),
            "event_time": pa.array(self.times, pa.timestamp("us", tz="UTC")),
            "value": pa.array(self.values, from_pandas=True),
        }
        names = ("surprise", "z", "expected", "low", "high", "ratio", "threshold", "flagged", "history", "sign")
        numbers = {name: pa.array(getattr(self, name)) for name in names}
        kinds = pa.array([kind.name.lower() for kind in Kind])
        bases = pa.array([basis.name.lower() for basis in Basis])
        ends = {
            "kind": pa.DictionaryArray.from_arrays(pa.array(self.kind), kinds),
            "basis": pa.DictionaryArray.from_arrays(pa.array(self.basis), bases),
            "version": pa.array(self.versions, pa.string()),
        }
        return pa.table(words | numbers | ends)


def score(fleet: Fleet, state: FleetState, readings: Readings, until: int | None = None) -> Findings:
    """Return the findings of the readings, and of the steps before `until` (microseconds) at which one was missing.

    Changes `state`. Readings are taken in the order given; in pieces or at once, the findings are the same bit for bit.
    """
    guests = {one for one in readings.series if one not in fleet.position}
    if len(guests | set(state.guests)) <= fleet.settings.guests:
        return _score(fleet, state, readings, until)
    singly = [_score(fleet, state, readings.take(np.array([row])), None) for row in range(len(readings))]
    return _joined([*singly, _score(fleet, state, readings.take(np.zeros(0, dtype=np.int64)), until)])


def step(fleet: Fleet, state: FleetState, series: Series, time: int, value: float) -> Findings:
    """Return the findings of one reading: its own is the last, before it those of the steps that were missing."""
    return score(fleet, state, Readings.of([(series, time, value)]))


def advance(fleet: Fleet, state: FleetState, until: int) -> Findings:
    """Return the findings of the silent: series from which a step that ended before `until` has no reading."""
    return score(fleet, state, Readings.of([]), until)


def foresee(fleet: Fleet, state: FleetState, series: Series, times: Ints) -> tuple[Floats, Floats, Floats]:
    """Return what is expected of a series at some times, and the band around it, from what is known now."""
    if series not in fleet.position:
        raise ContractError(f"the fleet has no {series.metric} of site {series.site}")
    row = fleet.position[series]
    rows = np.full(len(times), row, dtype=np.int64)
    steps = times // fleet.settings.step
    clock = _clock(fleet, rows, steps)
    bands = np.zeros((len(times), 3))
    model = tuple(fleet.tables)[:4]
    scoring.foresee(rows, steps, clock, model, (state.memory, state.daily), bands)
    return bands[:, 0], bands[:, 1], bands[:, 2]


def _seats(fleet: Fleet, state: FleetState, readings: Readings) -> tuple[Ints, Ints]:
    """Return the seat and the row of the model of each of the readings' series, seating those that are new."""
    used, first = np.unique(readings.index, return_index=True)
    _, last = np.unique(readings.index[::-1], return_index=True)
    seats, rows = np.zeros(len(readings.series), dtype=np.int64), np.zeros(len(readings.series), dtype=np.int64)
    guests = []
    for number in used[np.argsort(first, kind="stable")]:
        series = readings.series[number]
        row = fleet.position.get(series)
        if row is None:
            if series.metric not in fleet.fallback:
                known = ", ".join(fleet.metrics)
                raise ContractError(f"no site reported {series.metric!r} when the fleet was fitted: it knows {known}")
            row = fleet.fallback[series.metric]
            seats[number] = state.seat_guest(series, fleet.settings.guests)
            guests.append(number)
        else:
            seats[number] = row
        rows[number] = row
    when = dict(zip(used.tolist(), last.tolist(), strict=True))
    for number in sorted(guests, key=lambda one: -when[one]):
        state.seat_guest(readings.series[number], fleet.settings.guests)
    return seats, rows


def _score(fleet: Fleet, state: FleetState, readings: Readings, until: int | None) -> Findings:
    settings = fleet.settings
    seat_of, row_of = (part[readings.index] for part in _seats(fleet, state, readings))
    steps = readings.times // settings.step
    due = np.full(len(steps), NOT_YET) if readings.seen is None else _due(fleet, readings.seen)
    known = readings.series
    number = readings.index.astype(np.int64)
    if until is not None:
        every = [*fleet.series, *state.guests]
        seats = np.array([*range(len(fleet.series)), *state.guests.values()], dtype=np.int64)
        models = [*range(len(fleet.series)), *(fleet.fallback[one.metric] for one in state.guests)]
        seat_of, row_of = np.concatenate([seat_of, seats]), np.concatenate([row_of, np.array(models, dtype=np.int64)])
        steps = np.concatenate([steps, np.full(len(every), NOT_YET)])
        due = np.concatenate([due, np.repeat(_due(fleet, np.array([until])), len(every))])
        number = np.concatenate([number, len(known) + np.arange(len(every))])
        known = (*known, *every)
    planned = scoring.plan(seat_of, steps, due, state.memory, settings.silence_rows)
    return _run(fleet, state, readings, _Plan(known, number, seat_of, row_of, planned))


def _due(fleet: Fleet, seen: Ints) -> Ints:
    """Return the last step that is overdue at each time."""
    grace = fleet.settings.grace_seconds * 1_000_000
    due: Ints = (seen - grace) // fleet.settings.step - 1
    return due


@dataclass(frozen=True, eq=False)
class _Plan:
    series: tuple[Series, ...]
    number: Ints
    seat_of: Ints
    row_of: Ints
    planned: tuple[Ints, NDArray[np.int8], Ints]


def _run(fleet: Fleet, state: FleetState, readings: Readings, plan: _Plan) -> Findings:
    rows, kinds, steps = plan.planned
    models = plan.row_of[rows]
    clock = _clock(fleet, models, steps)
    found = np.zeros((len(rows), online.OUTPUTS))
    tables = fleet.tables
    model = tuple(tables)[: Tables._fields.index("tails")]
    seats = (state.memory, state.daily, state.ring)
    values = np.append(readings.values, np.nan)
    scoring.score_planned(plan.planned, plan.seat_of, plan.row_of, clock, readings.values, model, seats, found)
    shown = kinds != scoring.JUMP
    rows, kinds, steps, models, found = rows[shown], kinds[shown], steps[shown], models[shown], found[shown]
    surprise, threshold = scoring.surprise_of(found, models, tables.tails)
    came = kinds == scoring.READING
    own = np.where(came, rows, len(readings))
    times = np.where(came, np.append(readings.times, 0)[own], steps * fleet.settings.step)
    return Findings(
        series=plan.series,
        index=plan.number[rows].astype(np.int32),
        times=times,
        values=values[own],
        surprise=surprise,
        z=found[:, online.Z],
        expected=found[:, online.EXPECTED],
        low=found[:, online.LOW],
        high=found[:, online.HIGH],
        ratio=found[:, online.RATIO],
        sign=found[:, online.SIGN].astype(np.int8),
        kind=found[:, online.KIND].astype(np.int8),
        basis=tables.facts[models, 0].astype(np.int8),
        history=tables.facts[models, 1],
        threshold=threshold,
        flagged=found[:, online.RATIO] >= 1.0,
        versions=tuple(fleet.versions[model] for model in models),
    )


def _clock(fleet: Fleet, models: Ints, steps: Ints) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Return slot and step of the day of each planned row, by the calendar of its site."""
    slots, hours = np.zeros(len(steps), dtype=np.int16), np.zeros(len(steps), dtype=np.int16)
    calendar_of = fleet.calendar_of[models]
    for number in np.unique(calendar_of):
        mine = calendar_of == number
        slots[mine], hours[mine] = fleet.calendars[number].slots(steps[mine], fleet.settings)
    return slots, hours


def _joined(parts: list[Findings]) -> Findings:
    """Return the findings of all parts, one after the other."""
    series: dict[Series, int] = {}
    index = [
        np.array([series.setdefault(part.series[one], len(series)) for one in part.index], dtype=np.int32)
        for part in parts
    ]
    names = [name for name in Findings.__dataclass_fields__ if name not in ("series", "index", "versions")]
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    versions = tuple(version for part in parts for version in part.versions)
    return Findings(series=tuple(series), index=np.concatenate(index), versions=versions, **columns)
