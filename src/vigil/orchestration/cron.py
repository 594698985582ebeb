"""Cron expressions as Kubeflow Pipelines reads them: six fields, seconds first."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from vigil.errors import ContractError

EVERY_SIX_HOURS = "0 0 */6 * * *"

_DAYS = {name: number for number, name in enumerate(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"))}
_MONTHS = {
    name: number
    for number, name in enumerate(
        ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"), start=1
    )
}


@dataclass(frozen=True)
class _Field:
    name: str
    least: int
    most: int
    names: Mapping[str, int] = field(default_factory=dict)
    may_be_open: bool = False
    """Whether `?` is allowed, which means the same as `*`."""


_FIELDS = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31, may_be_open=True),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 6, _DAYS, may_be_open=True),
)


def checked_cron(expression: str) -> str:
    """Return the expression with single spaces, or raise ContractError that says which field is wrong and why.

    Kubeflow takes five fields too, and reads them as second, minute, hour, day and month: what everyone writes for
    three o'clock at night then means minute 3 of every hour.
    """
    parts = expression.split()
    if len(parts) == 5:
        raise ContractError(
            f"cron {expression!r} has five fields, and Kubeflow would take the first for seconds: write"
            f" {'0 ' + ' '.join(parts)!r}"
        )
    if len(parts) != 6:
        raise ContractError(
            f"cron {expression!r} has {len(parts)} fields, six are needed: second, minute, hour, day of month, month,"
            f" day of week, such as {EVERY_SIX_HOURS!r}"
        )
    for definition, text in zip(_FIELDS, parts, strict=True):
        for part in text.split(","):
            _check(definition, part, expression)
    if not parts[0].isdigit():
        raise ContractError(
            f"cron {expression!r}: second {parts[0]!r} starts several runs a minute: write one number, such as 0"
        )
    return " ".join(parts)


def _check(definition: _Field, part: str, expression: str) -> None:
    def wrong(reason: str) -> ContractError:
        return ContractError(f"cron {expression!r}: {definition.name} {part!r} {reason}")

    span, slash, step = part.partition("/")
    if slash and not re.fullmatch(r"0*[1-9][0-9]{0,3}", step):
        raise wrong("has no whole number of 1 or more after the slash")
    if span == "*" or (span == "?" and definition.may_be_open):
        return
    numbers = [_number(definition, text) for text in span.split("-", 1)]
    if None in numbers:
        raise wrong(f"is none of *, a number, a range such as {definition.least}-{definition.most}, or a step */2")
    known = [number for number in numbers if number is not None]
    if not all(definition.least <= number <= definition.most for number in known):
        raise wrong(f"is not within {definition.least} and {definition.most}")
    if known[0] > known[-1]:
        raise wrong("ends before it begins")


def _number(definition: _Field, text: str) -> int | None:
    if re.fullmatch(r"[0-9]{1,4}", text):
        return int(text)
    return definition.names.get(text.upper())
