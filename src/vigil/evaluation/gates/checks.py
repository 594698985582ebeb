"""What a verdict is made of: conditions that hold or complain. A missing number never holds."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

Facts = dict[str, float | str | None]


class GateVerdict(BaseModel):
    """Whether one gate let the candidate pass, the reason as a sentence, and the numbers behind it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gate: str
    passed: bool
    reason: str
    observed: Facts
    required: Facts


class Check(NamedTuple):
    """One condition of a gate: what it found, what it asks for, and the sentence for when it does not hold."""

    name: str
    observed: float | None
    required: str
    holds: bool
    complaint: str


def known(value: float | None) -> bool:
    """Return whether there is a finite number."""
    return value is not None and math.isfinite(value)


def shown(value: float | None) -> str:
    """Return a number as it stands in a sentence."""
    if value is None or not math.isfinite(value):
        return "unknown"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def at_least(name: str, value: float | None, bound: float, note: str = "") -> Check:
    """Return the condition value >= bound; a missing value or NaN does not hold, and `note` says why it is missing."""
    if value is None or not math.isfinite(value):
        return Check(name, None, f"≥ {shown(bound)}", False, f"{name} is missing" + (f" ({note})" if note else ""))
    return Check(name, value, f"≥ {shown(bound)}", value >= bound, f"{name} is {shown(value)}, below {shown(bound)}")


def at_most(name: str, value: float | None, bound: float, note: str = "") -> Check:
    """Return the condition value <= bound; a missing value or NaN does not hold, and `note` says why it is missing."""
    if value is None or not math.isfinite(value):
        return Check(name, None, f"≤ {shown(bound)}", False, f"{name} is missing" + (f" ({note})" if note else ""))
    return Check(name, value, f"≤ {shown(bound)}", value <= bound, f"{name} is {shown(value)}, above {shown(bound)}")


def must(name: str, holds: bool, complaint: str) -> Check:
    """Return a condition without a number."""
    return Check(name, float(holds), "yes", holds, complaint)


def verdict(gate: str, checks: Sequence[Check], praise: str) -> GateVerdict:
    """Return a pass if there are conditions and all hold; else a failure that names each that does not."""
    complaints = [check.complaint for check in checks if not check.holds]
    return GateVerdict(
        gate=gate,
        passed=bool(checks) and not complaints,
        reason="; ".join(complaints) if complaints else praise,
        observed={check.name: check.observed for check in checks},
        required={check.name: check.required for check in checks},
    )


def stated(gate: str, passed: bool, reason: str) -> GateVerdict:
    """Return a verdict that rests on no number."""
    return GateVerdict(gate=gate, passed=passed, reason=reason, observed={}, required={})
