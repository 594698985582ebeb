"""Event times in UTC and local offsets in minutes, from whatever a source calls a time."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from vigil.clock import MINUTE, to_micros
from vigil.ingest.columns import Columns
from vigil.ingest.conversions import Mask, as_number, as_text, to_mask
from vigil.ingest.faults import ENCODING, NO_SUCH_TIME, TYPE, Fault
from vigil.ingest.mapping import TimeSource
from vigil.ingest.units import UNITS, time_zone

Micros = npt.NDArray[np.int64]

_MOMENT = pa.timestamp("us", tz="UTC")
_NAIVE = pa.timestamp("us")
_FARTHEST_SECONDS = 100_000 * 366 * 86_400
_ZONED_TEXT = r"(?:[zZ]|[+-]\d\d:?\d\d)\s*$"


@dataclass(frozen=True)
class EventTimes:
    """Moments (timestamp[us, UTC]) and offsets (int16 minutes, local minus UTC); null where there is no time."""

    moments: pa.Array
    offsets: pa.Array
    faults: tuple[Fault, ...]


@dataclass(frozen=True)
class _Parsed:
    """Integer microseconds, absolute where `zoned`, local otherwise; meaningless where not `valid`."""

    micros: Micros
    valid: Mask
    zoned: Mask
    faults: tuple[Fault, ...] = ()


def evaluate_time(source: TimeSource, zone: str, columns: Columns) -> EventTimes:
    """Return when each row's event happened; a time without a zone is local to `zone`."""
    place = time_zone(zone)
    undelayed = source.model_copy(update={"delay": 0})
    if undelayed not in columns.times:
        parsed = _parse(source, columns)
        columns.times[undelayed] = (parsed, *_to_utc(parsed, place))
    parsed, micros, skipped = columns.times[undelayed]
    micros = micros + source.delay
    offsets = _offsets(micros, place)
    faults = list(parsed.faults)
    if skipped.any():
        faults.append(Fault("event_time", NO_SUCH_TIME, skipped, f"a time that the clocks of {zone} skipped"))
    missing = ~parsed.valid
    return EventTimes(
        pa.array(micros, mask=missing).cast(_MOMENT), pa.array(offsets, pa.int16(), mask=missing), tuple(faults)
    )


def _parse(source: TimeSource, columns: Columns) -> _Parsed:
    raw = columns.get(source.column)
    if source.unit is not None and source.origin is not None:
        parsed = _parse_number(raw, source.unit, source.origin, columns.decimal_point)
    elif pa.types.is_timestamp(raw.type) or pa.types.is_date(raw.type):
        parsed = _parse_timestamps(raw)
    elif source.format is not None:
        parsed = _parse_format(as_text(raw), source.format)
    else:
        parsed = _parse_iso(as_text(raw))
    undecodable = columns.undecodable(source.column)
    if undecodable is None:
        return parsed
    fault = Fault("event_time", ENCODING, undecodable, "bytes that are not UTF-8: set reader.encoding")
    return _Parsed(parsed.micros, parsed.valid, parsed.zoned, (fault, *parsed.faults))


def _parsed(times: pa.Array, *, zoned: bool) -> _Parsed:
    micros = pc.fill_null(times.cast(pa.int64()), 0).to_numpy()
    return _Parsed(micros, to_mask(times.is_valid()), np.full(len(times), zoned))


def _parse_timestamps(raw: pa.Array) -> _Parsed:
    zoned = pa.types.is_timestamp(raw.type) and raw.type.tz is not None
    target = _MOMENT if zoned else _NAIVE
    try:
        return _parsed(pc.cast(raw, options=pc.CastOptions(target, allow_time_truncate=True)), zoned=zoned)
    except pa.ArrowInvalid:
        seconds = raw.cast(pa.timestamp("s", target.tz), safe=False).cast(pa.int64())
        far = to_mask(pc.greater(pc.abs(seconds), _FARTHEST_SECONDS))
        near = _parse_timestamps(pc.if_else(pa.array(far), None, raw))
        faults = _type_fault(far, "no time within a hundred thousand years")
        return _Parsed(near.micros, near.valid, near.zoned, faults)


def _parse_number(raw: pa.Array, unit: str, origin: datetime, decimal_point: str) -> _Parsed:
    numbers, failed = as_number(raw, decimal_point)
    finite = to_mask(pc.is_finite(numbers))
    counted = pc.fill_null(numbers, 0.0).to_numpy()
    start = to_micros(origin if origin.tzinfo else origin.replace(tzinfo=UTC))
    micros = np.where(finite, counted, 0.0) * UNITS[unit] + start
    fits = np.abs(micros) < 2.0**62
    bad = (to_mask(numbers.is_valid()) & ~(finite & fits)) | (np.zeros_like(fits) if failed is None else failed)
    zoned = np.full(len(micros), origin.tzinfo is not None)
    exact = np.where(fits, micros, 0.0).round().astype(np.int64)
    return _Parsed(exact, finite & fits, zoned, _type_fault(bad, f"no number of {unit}"))


def _type_fault(bad: Mask, sentence: str) -> tuple[Fault, ...]:
    return (Fault("event_time", TYPE, bad, sentence),) if bad.any() else ()


def _parse_format(texts: pa.Array, layout: str) -> _Parsed:
    times = pd.to_datetime(pd.Series(texts.to_pandas()), format=layout, errors="coerce", utc="%z" in layout)
    parsed = _parsed(pa.array(times).cast(_MOMENT if "%z" in layout else _NAIVE, safe=False), zoned="%z" in layout)
    bad = to_mask(texts.is_valid()) & ~parsed.valid
    return _Parsed(parsed.micros, parsed.valid, parsed.zoned, _type_fault(bad, f"no time of the format {layout}"))


def _parse_iso(texts: pa.Array) -> _Parsed:
    has_zone = to_mask(pc.match_substring_regex(texts, _ZONED_TEXT))
    try:
        to_the_microsecond = pc.replace_substring_regex(texts, r"(\.\d{6})\d+", r"\1")
        if not has_zone.any():
            return _parsed(to_the_microsecond.cast(_NAIVE), zoned=False)
        if has_zone.all():
            return _parsed(to_the_microsecond.cast(_MOMENT), zoned=True)
    except pa.ArrowInvalid:
        pass
    return _parse_iso_one_by_one(texts)


def _parse_iso_one_by_one(texts: pa.Array) -> _Parsed:
    coded = texts.dictionary_encode()
    moments = [_iso_or_none(text) for text in coded.dictionary.to_pylist()]
    micros = [0 if moment is None else to_micros(_assume_utc(moment)) for moment in moments]
    zoned = [moment is not None and moment.tzinfo is not None for moment in moments]
    valid = [moment is not None for moment in moments]

    def spread(values: list[Any], kind: pa.DataType, missing: object) -> Any:  # noqa: ANN401 - one of three types
        return pc.fill_null(pa.array(values, kind).take(coded.indices), missing).to_numpy(zero_copy_only=False)

    is_valid = spread(valid, pa.bool_(), False)
    bad = to_mask(texts.is_valid()) & ~is_valid
    faults = _type_fault(bad, "no time of ISO 8601: set time.format, or time.unit and time.origin")
    return _Parsed(spread(micros, pa.int64(), 0), is_valid, spread(zoned, pa.bool_(), False), faults)


def _iso_or_none(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError:
        return None


def _assume_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _moves(place: tzinfo) -> bool:
    return not isinstance(place, timezone) and str(place) != "UTC"


def _fixed(micros: Micros, place: tzinfo) -> npt.NDArray[np.int64]:
    offset = place.utcoffset(None) if isinstance(place, timezone) else timedelta(0)
    return np.full(len(micros), (offset or timedelta(0)) // timedelta(minutes=1))


def _to_utc(parsed: _Parsed, place: tzinfo) -> tuple[Micros, Mask]:
    """Return absolute times, and which local times never were; of a repeated local time the first is taken."""
    local = parsed.valid & ~parsed.zoned
    skipped = np.zeros(len(local), dtype=np.bool_)
    if not local.any():
        return parsed.micros, skipped
    if not _moves(place):
        return np.where(local, parsed.micros - _fixed(parsed.micros, place) * MINUTE, parsed.micros), skipped
    offsets = _by_minute(parsed.micros, lambda minutes: _offsets_of_local(minutes, place))
    utc = np.where(local, parsed.micros - offsets * MINUTE, parsed.micros)
    return utc, local & (_offsets(utc, place) != offsets)


def _offsets(micros: Micros, place: tzinfo) -> npt.NDArray[np.int64]:
    """Return local time minus UTC in minutes, at absolute times."""
    if not _moves(place):
        return _fixed(micros, place)
    return _by_minute(micros, lambda minutes: _offsets_at(minutes, place))


def _by_minute(micros: Micros, offsets_of: Callable[[list[int]], list[int]]) -> npt.NDArray[np.int64]:
    """Return `offsets_of` for each time, asked once a minute: no zone changes within one."""
    minutes, positions = np.unique(micros // MINUTE, return_inverse=True)
    return np.array(offsets_of(minutes.tolist()), dtype=np.int64)[positions]


def _offsets_at(minutes: list[int], place: tzinfo) -> list[int]:
    return [_minutes(_moment(minute).astimezone(place)) if _in_calendar(minute) else 0 for minute in minutes]


def _offsets_of_local(minutes: list[int], place: tzinfo) -> list[int]:
    return [_minutes(_moment(minute).replace(tzinfo=place)) if _in_calendar(minute) else 0 for minute in minutes]


def _in_calendar(minute: int) -> bool:
    return abs(minute) < 1_000_000_000


def _moment(minute: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)


def _minutes(moment: datetime) -> int:
    return (moment.utcoffset() or timedelta(0)) // timedelta(minutes=1)
