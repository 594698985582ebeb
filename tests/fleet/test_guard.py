"""Guarded adaptation: a retraining takes over a change of the site, and never a fault that lasts."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.fleet.panels import START, panel_of, readings_of_values
from tests.fleet.subjects import HISTORY, SETTINGS, values
from vigil.clock import HOUR
from vigil.fleet.fit import fit_fleet
from vigil.fleet.model import Fleet
from vigil.fleet.score import Findings, score

SITE = 3
"""Open around the clock."""
WEEKS = 4 * 7 * 24
"""Hours before the retraining in which the change or the fault is there."""


def changed(change: str) -> NDArray[np.float64]:
    """Return the values with a change that began some weeks before the end of the history and goes on."""
    found = values().copy()
    later = found[SITE, HISTORY - WEEKS :]
    hour = np.arange(len(later)) % 24
    if change == "renovation":
        later *= 1.8
    elif change == "opening hours":
        later[(hour < 6) | (hour >= 22)] = 0.0
    elif change == "broken sensor":
        later[:] = 0.0
    elif change == "stuck sensor":
        later[:] = later[0]
    elif change == "unit":
        later *= 100.0
    elif change == "silence":
        later[:] = np.nan
    return found


def retrained(history: NDArray[np.float64]) -> tuple[Fleet, Findings]:
    """Return the fleet that is fitted on the history with the change in it, and its findings of the rest."""
    fleet = fit_fleet(panel_of(history[:, :HISTORY]), SETTINGS)
    rest = readings_of_values(history[:, HISTORY:], first=HISTORY)
    return fleet, score(fleet, fleet.start_state(), rest, START + history.shape[1] * HOUR)


def flagged(findings: Findings, hours: int = 14 * 24) -> float:
    """Return the share of the site's findings that are flagged within the first two weeks."""
    rows = np.array([one.site == f"S{SITE:04d}" for one in findings.series])[findings.index] & (
        findings.times < START + (HISTORY + hours) * HOUR
    )
    return float(findings.flagged[rows].mean())


@pytest.mark.parametrize("change", ["renovation", "opening hours"])
def test_a_change_of_the_site_is_flagged_until_the_next_retraining_which_takes_it_over(change: str) -> None:
    history = changed(change)
    before = fit_fleet(panel_of(history[:, : HISTORY - WEEKS]), SETTINGS)
    during = readings_of_values(history[:, HISTORY - WEEKS : HISTORY - WEEKS + 14 * 24], first=HISTORY - WEEKS)
    old = score(before, before.start_state(), during)
    assert old.flagged[old.index == SITE].mean() > 0.3
    _, new = retrained(history)
    assert flagged(new) < 0.03


@pytest.mark.parametrize("fault", ["broken sensor", "stuck sensor", "unit"])
def test_a_fault_that_lasts_is_flagged_after_the_retraining_as_well(fault: str) -> None:
    fleet, findings = retrained(changed(fault))
    assert flagged(findings) > 0.9
    clean = fit_fleet(panel_of(values()[:, :HISTORY]), SETTINGS)
    learned, known = (one.tables.profile[SITE].astype(float) for one in (fleet, clean))
    assert np.abs(learned - known).max() < 1.0


def test_a_silence_that_lasts_is_an_incident_after_the_retraining_as_well() -> None:
    _, findings = retrained(changed("silence"))
    mine = np.array([one.site == f"S{SITE:04d}" for one in findings.series])[findings.index]
    assert findings.flagged[mine].any()


def test_what_is_flagged_teaches_little_between_retrainings() -> None:
    fleet = fit_fleet(panel_of(values()[:, :HISTORY]), SETTINGS)
    broken = values()[:, HISTORY:].copy()
    broken[SITE, :336] = 0.0
    state = fleet.start_state()
    before = state.memory[SITE, 2]
    score(fleet, state, readings_of_values(broken[:, :336], first=HISTORY))
    assert abs(state.memory[SITE, 2] - before) < 0.05


def test_known_incidents_are_left_out_of_what_is_learned() -> None:
    from vigil.fleet.panel import Panel, Series, Window

    history = values().copy()
    start, end = HISTORY - 4 * 7 * 24, HISTORY
    history[SITE, start:end] *= 2.2
    panel = panel_of(history[:, :HISTORY])
    window = Window(Series(f"S{SITE:04d}", "sales"), START + start * HOUR, START + end * HOUR)
    masked = fit_fleet(Panel(panel.readings, masks=(window,)), SETTINGS)
    rest = readings_of_values(values()[:, HISTORY:], first=HISTORY)
    findings = score(masked, masked.start_state(), rest)
    assert findings.flagged[findings.index == SITE].mean() < 0.05
