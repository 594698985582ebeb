"""The rules of an event's values as a pandera schema, declared from the event's model and the mapping."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pandera
import pyarrow as pa
import pyarrow.compute as pc

from vigil.contracts.events import arrow_schema, json_schema
from vigil.ingest.faults import CATEGORY, FUTURE, LENGTH, NOT_FINITE, NULL, RANGE, TOO_EARLY, TOO_LATE, Fault
from vigil.ingest.mapping import EventMapping, FieldSource, Limits

Predicate = Callable[[pa.Array], pa.Array]
"""Says of each value whether it keeps the rule; null where there is no value."""


@dataclass(frozen=True)
class ValueRules:
    """The rules of one event of a mapping."""

    schema: pandera.DataFrameSchema

    def faults(self, values: dict[str, pa.Array]) -> list[Fault]:
        """Return every rule that some row breaks; `values` holds the event's fields, one entry per row."""
        series = {
            name: pd.Series(pd.arrays.ArrowExtensionArray(column))
            for name, column in values.items()
            if name in self.schema.columns
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # from pandera's own table of failures, which is not used
            try:
                self.schema.validate(pd.DataFrame(series, copy=False), lazy=True)
            except pandera.errors.SchemaErrors as error:
                return [_fault(item) for item in error.schema_errors]
        return []


def _fault(item: Any) -> Fault:  # noqa: ANN401 - pandera's SchemaError has no types
    broken = ~np.asarray(item.check_output, dtype=np.bool_)
    return Fault(item.schema.name, item.check.name, broken, item.check.error)


def value_rules(event: EventMapping, limits: Limits, now: datetime) -> ValueRules:
    """Return the rules for `event`: types and ranges of its model, narrowed by the mapping; `now` is the run's time."""
    properties = json_schema(event.model)["properties"]
    columns = {}
    for item in arrow_schema(event.model):
        source = event.sources.get(item.name, FieldSource(constant=0))
        if item.name == "event_time":
            checks = _time_checks(limits, now)
        elif source.constant is None:
            checks = _field_checks(item, _flat(properties[item.name]), source)
        else:
            continue
        columns[item.name] = pandera.Column(pd.ArrowDtype(item.type), checks=checks, nullable=True)
    return ValueRules(pandera.DataFrameSchema(columns))


def _flat(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema of a value that is not null."""
    options = [option for option in schema.get("anyOf", []) if option.get("type") != "null"]
    return schema | (options[0] if options else {})


def _field_checks(item: pa.Field, schema: dict[str, Any], source: FieldSource) -> list[pandera.Check]:
    checks = []
    if not item.nullable or source.required:
        checks.append(_check(NULL, "missing, and the event needs it", pc.is_valid))
    if pa.types.is_floating(item.type):
        checks.append(_check(NOT_FINITE, "not a finite number", pc.is_finite))
    if pa.types.is_floating(item.type) or pa.types.is_integer(item.type):
        checks += _range_checks(schema, source)
    if "maxLength" in schema:
        checks.append(_length_check(schema.get("minLength", 0), schema["maxLength"]))
    if categories := source.known or tuple(schema.get("enum", ())):
        sentence = f"a category that is not known: one of {', '.join(categories)}, or add it to `known` in the mapping"
        checks.append(_check(CATEGORY, sentence, _on_text(lambda text: pc.is_in(text, pa.array(categories)))))
    return checks


def _check(rule: str, sentence: str, predicate: Predicate) -> pandera.Check:
    def holds(series: "pd.Series[Any]") -> "pd.Series[bool]":
        kept = predicate(_arrow(series))
        return pd.Series(kept.fill_null(True).to_numpy(zero_copy_only=False), index=series.index)

    return pandera.Check(holds, name=rule, error=sentence, ignore_na=False, n_failure_cases=1)


def _arrow(series: "pd.Series[Any]") -> pa.Array:
    column = pa.chunked_array(series.array.__arrow_array__())
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _on_text(predicate: Predicate) -> Predicate:
    """Ask each category of a dictionary once, and texts one by one."""

    def holds(values: pa.Array) -> pa.Array:
        if pa.types.is_dictionary(values.type):
            return predicate(values.dictionary).take(values.indices)
        return predicate(values)

    return holds


def _length_check(least: int, most: int) -> pandera.Check:
    def fits(texts: pa.Array) -> pa.Array:
        lengths = pc.utf8_length(texts)
        return pc.and_(pc.greater_equal(lengths, least), pc.less_equal(lengths, most))

    return _check(LENGTH, f"not {least} to {most} characters long", _on_text(fits))


def _range_checks(schema: dict[str, Any], source: FieldSource) -> list[pandera.Check]:
    """Return a check for each bound, the narrower of the event's and the mapping's; NaN breaks none of them."""
    lows = [bound for bound in (schema.get("minimum"), source.minimum) if bound is not None]
    highs = [bound for bound in (schema.get("maximum"), source.maximum) if bound is not None]
    checks = []
    if lows:
        low = max(lows)
        checks.append(_check(RANGE, _below(low), lambda values: pc.invert(pc.less(values, low))))
    if highs:
        high = min(highs)
        checks.append(_check(RANGE, _above(high), lambda values: pc.invert(pc.greater(values, high))))
    if "exclusiveMinimum" in schema:
        bound = schema["exclusiveMinimum"]
        checks.append(_check(RANGE, f"not above {bound:g}", lambda values: pc.invert(pc.less_equal(values, bound))))
    return checks


def _below(bound: float) -> str:
    return f"below {bound:,.12g}, the least that is allowed: check the unit, or set scale in the mapping"


def _above(bound: float) -> str:
    return f"above {bound:,.12g}, the most that is allowed: check the unit, or set scale in the mapping"


def _time_checks(limits: Limits, now: datetime) -> list[pandera.Check]:
    checks = [
        _check(NULL, "missing, and the event needs it", pc.is_valid),
        _check(
            TOO_EARLY,
            f"before {limits.earliest:%Y-%m-%d}: a clock that was never set, or a wrong time.unit or time.origin",
            _not_before(limits.earliest),
        ),
    ]
    if limits.latest is not None:
        checks.append(_check(TOO_LATE, f"after {limits.latest:%Y-%m-%d}", _not_after(limits.latest, 0)))
    sentence = f"after {now:%Y-%m-%d %H:%M} UTC, the time of this run: a wrong clock or time zone"
    return [*checks, _check(FUTURE, sentence, _not_after(now, limits.clock_skew))]


def _not_before(moment: datetime) -> Predicate:
    return lambda times: pc.greater_equal(times, pa.scalar(moment, pa.timestamp("us", tz="UTC")))


def _not_after(moment: datetime, slack: int) -> Predicate:
    last = pa.scalar(moment, pa.timestamp("us", tz="UTC")).cast(pa.int64()).as_py() + slack
    return lambda times: pc.less_equal(times.cast(pa.int64()), last)
