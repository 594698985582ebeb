"""Changes of a business, each with the cause that it has: what broke, what moved, what got worse."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tests.monitoring.watch.traffic import Business, Rows, score
from vigil.monitoring.samples import SCORE_BINS, PairCounts
from vigil.monitoring.verdicts import Cause

Apply = Callable[[Rows, int, np.random.Generator], None]
"""Alters the rows of a day in place; the day is counted from the change on."""


@dataclass(frozen=True)
class Change:
    """A change of what is served."""

    name: str
    cause: Cause
    apply: Apply
    versions: str = "agree"
    """What a shadow of the previous version says: agree, disagree, none."""
    precision: float = 0.6
    """Of the flagged decisions after the change; it is 0.6 before."""


def _scale(rows: Rows, chosen: np.ndarray, factor: float) -> None:
    for name in ("amount", "amount_over_baseline"):
        rows.column(name)[chosen] *= factor
    raw = rows.fields["amount"]
    for k in np.flatnonzero(chosen):
        raw[k] = raw[k] * factor
    score(rows)


def _unit_everywhere(rows: Rows, day: int, random: np.random.Generator) -> None:
    _scale(rows, np.ones(len(rows), bool), 100.0)


def _unit_at_a_site(rows: Rows, day: int, random: np.random.Generator) -> None:
    _scale(rows, rows.site == 3, 100.0)


def _small_unit_at_a_site(rows: Rows, day: int, random: np.random.Generator) -> None:
    _scale(rows, rows.site == 5, 0.001)


def _nulls(rows: Rows, day: int, random: np.random.Generator) -> None:
    chosen = random.random(len(rows)) < 0.15
    rows.column("amount_over_baseline")[chosen] = np.nan
    score(rows)


def _nulls_at_a_site(rows: Rows, day: int, random: np.random.Generator) -> None:
    rows.column("customer_count_24h")[rows.site == 2] = np.nan
    rows.fields["channel"] = [None if s == 2 else e for s, e in zip(rows.site, rows.fields["channel"], strict=True)]
    score(rows)


def _stuck(rows: Rows, day: int, random: np.random.Generator) -> None:
    rows.column("customer_hours_since_last")[:] = 24.0
    score(rows)


def _silent(rows: Rows, day: int, random: np.random.Generator) -> None:
    kept = np.flatnonzero(rows.site != 6)
    for name in ("time", "site", "values", "noise", "score"):
        setattr(rows, name, getattr(rows, name)[kept])
    rows.fields = {name: [entries[k] for k in kept] for name, entries in rows.fields.items()}


def _unknown(rows: Rows, day: int, random: np.random.Generator) -> None:
    rows.fields["channel"] = [entry.upper() if entry else None for entry in rows.fields["channel"]]


def _gradual(rows: Rows, day: int, random: np.random.Generator) -> None:
    _scale(rows, np.ones(len(rows), bool), 1.0 + 0.05 * min(day + 1, 10))


def _abrupt(rows: Rows, day: int, random: np.random.Generator) -> None:
    _scale(rows, np.ones(len(rows), bool), 1.35)


def _new_customers(rows: Rows, day: int, random: np.random.Generator) -> None:
    new = random.random(len(rows)) < 0.35
    rows.column("customer_hours_since_last")[new] = 720.0 * random.uniform(0.7, 1, int(new.sum()))
    rows.column("customer_count_24h")[new] = 0.0
    rows.column("amount")[new] *= 0.6
    score(rows)


def _worse_model(rows: Rows, day: int, random: np.random.Generator) -> None:
    score(rows, tilt=1.0)


def _noisy_model(rows: Rows, day: int, random: np.random.Generator) -> None:
    rows.noise = rows.noise * 2.0
    score(rows)


def _nothing(rows: Rows, day: int, random: np.random.Generator) -> None:
    return


CHANGES = (
    Change("unit x100 everywhere", Cause.DATA_BROKEN, _unit_everywhere),
    Change("unit x100 at one site", Cause.DATA_BROKEN, _unit_at_a_site),
    Change("unit /1000 at one site", Cause.DATA_BROKEN, _small_unit_at_a_site),
    Change("nulls in a feature", Cause.DATA_BROKEN, _nulls),
    Change("nulls at one site", Cause.DATA_BROKEN, _nulls_at_a_site),
    Change("stuck value", Cause.DATA_BROKEN, _stuck),
    Change("silent site", Cause.DATA_BROKEN, _silent),
    Change("unknown categories", Cause.DATA_BROKEN, _unknown),
    Change("population moves gradually", Cause.POPULATION_MOVED, _gradual),
    Change("population moves at once", Cause.POPULATION_MOVED, _abrupt),
    Change("new customers", Cause.POPULATION_MOVED, _new_customers),
    Change("model scores higher", Cause.MODEL_WORSE, _worse_model, versions="disagree"),
    Change("model is noisy", Cause.MODEL_WORSE, _noisy_model, versions="disagree"),
    Change("model scores higher, no shadow", Cause.MODEL_WORSE, _worse_model, versions="none"),
    Change("precision falls", Cause.MODEL_WORSE, _nothing, versions="none", precision=0.25),
)


def versions_compared(kind: str, pairs: int = 400) -> PairCounts | None:
    """Return what a shadow of the previous version counts."""
    if kind == "none":
        return None
    differences = [0] * (2 * SCORE_BINS)
    differences[SCORE_BINS + (8 if kind == "disagree" else 0)] = pairs
    split = pairs // 12 if kind == "disagree" else 0
    return PairCounts(pairs=pairs, only_candidate_flagged=split, score_differences=tuple(differences))


def changed_day(business: Business, change: Change, day: int, random: np.random.Generator) -> Rows:
    """Return the next day of a business with a change in it."""
    rows = score(business.next_day())
    change.apply(rows, day, random)
    return rows
