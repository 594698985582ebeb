"""Each kind of incident is found where it was put, and nothing of it on the clean twin."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.fleet.panels import START
from tests.fleet.subjects import HISTORY, after, tail
from vigil.clock import HOUR
from vigil.fleet.score import Findings, Kind

SITE = 3
"""Open around the clock."""
NOON = 24 * 9 + 12
"""A Wednesday, after the history."""
Change = Callable[[NDArray[np.float64]], None]


def spike(values: NDArray[np.float64]) -> None:
    values[SITE, NOON] *= 4


def dip(values: NDArray[np.float64]) -> None:
    values[SITE, NOON] *= 0.1


def rush_at_night(values: NDArray[np.float64]) -> None:
    values[SITE, NOON + 11] = np.quantile(values[SITE], 0.99)


def weak_day(values: NDArray[np.float64]) -> None:
    values[SITE, NOON : NOON + 24] *= 0.7


def strong_day(values: NDArray[np.float64]) -> None:
    values[SITE, NOON : NOON + 24] *= 1.4


def lasting_rise(values: NDArray[np.float64]) -> None:
    values[SITE, NOON : NOON + 24 * 6] *= 1.6


def stuck(values: NDArray[np.float64]) -> None:
    values[SITE, NOON : NOON + 8] = values[SITE, NOON]


def cents(values: NDArray[np.float64]) -> None:
    values[SITE, NOON : NOON + 48] *= 100


def silence(values: NDArray[np.float64]) -> None:
    values[SITE, NOON : NOON + 12] = np.nan


CASES = [
    (spike, {Kind.POINT}, 1),
    (dip, {Kind.POINT, Kind.CONTEXTUAL}, -1),
    (rush_at_night, {Kind.CONTEXTUAL}, 1),
    (weak_day, {Kind.COLLECTIVE}, -1),
    (strong_day, {Kind.COLLECTIVE}, 1),
    (lasting_rise, {Kind.SHIFT}, 1),
    (stuck, {Kind.STUCK}, 0),
    (cents, {Kind.UNIT}, 1),
    (silence, {Kind.SILENCE}, -1),
]


def during(findings: Findings, hours: int = 24 * 6) -> NDArray[np.bool_]:
    """Return the flagged rows of the changed site from the change on."""
    hour = (findings.times - START) // HOUR - HISTORY
    return findings.flagged & (findings.index == SITE) & (hour >= NOON) & (hour < NOON + hours)


@pytest.mark.parametrize(("change", "kinds", "sign"), CASES, ids=lambda one: getattr(one, "__name__", ""))
def test_an_injected_incident_is_found_as_what_it_is(change: Change, kinds: set[Kind], sign: int) -> None:
    values = tail()
    change(values)
    findings = after(values)
    found = during(findings)
    told = {Kind(kind) for kind in findings.kind[found]}
    assert told & kinds, f"{told} instead of {kinds}"
    if sign:
        of_kind = during(findings, hours=30) & np.isin(findings.kind, list(kinds))
        assert (findings.sign[of_kind] == sign).all()


def test_the_clean_twin_has_none_of_them() -> None:
    findings = after(tail())
    assert during(findings).sum() == 0
    assert findings.flagged.mean() < 0.01


def test_other_sites_do_not_notice() -> None:
    values = tail()
    lasting_rise(values)
    clean, changed = after(tail()), after(values)
    others = clean.index != SITE
    assert clean.surprise[others].tobytes() == changed.surprise[others].tobytes()


def test_a_silence_that_goes_on_is_scored_before_anything_comes_and_stays_bounded() -> None:
    values = tail()[:, :48]
    end = START + (HISTORY + 48 + 24 * 365) * HOUR
    findings = after(values, until=end)
    quiet = findings.flagged & (findings.kind == Kind.SILENCE)
    by_site = np.bincount(findings.index[quiet] % 8, minlength=8)
    assert (by_site > 0).all()
    assert by_site.max() <= 168


def test_a_closed_shop_is_neither_silent_nor_stuck() -> None:
    findings = after(tail())
    assert not np.isin(findings.kind[findings.flagged], [Kind.STUCK, Kind.SILENCE]).any()


def test_sales_while_the_shop_is_closed_are_contextual() -> None:
    values = tail()
    night = 24 * 9 + 3
    assert (values[0, 3::24] == 0).all()
    values[0, night] = np.median(values[0][values[0] > 0])
    findings = after(values)
    row = (findings.index == 0) & (findings.times == START + (HISTORY + night) * HOUR)
    assert findings.flagged[row].all()
    assert Kind(findings.kind[row][0]) is Kind.CONTEXTUAL
