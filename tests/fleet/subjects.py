"""A small fleet that the tests share, and what is done to its readings."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from tests.fleet.panels import Wanted, panel_of, readings_of_values, values_of
from vigil.fleet.fit import fit_fleet
from vigil.fleet.model import Fleet
from vigil.fleet.panel import Readings
from vigil.fleet.score import Findings, score
from vigil.fleet.settings import FleetSettings

SETTINGS = FleetSettings()
HISTORY = 70 * 24
"""Hours that the fleet is fitted on."""


@cache
def values() -> NDArray[np.float64]:
    found = values_of(Wanted(sites=8, days=98, seed=1, size=5.0))
    found.flags.writeable = False
    return found


@cache
def fleet() -> Fleet:
    return fit_fleet(panel_of(values()[:, :HISTORY]), SETTINGS)


def later(changed: NDArray[np.float64] | None = None) -> Readings:
    """Return the readings after the history, with other values where given."""
    return readings_of_values(values()[:, HISTORY:] if changed is None else changed, first=HISTORY)


def after(changed: NDArray[np.float64], until: int | None = None) -> Findings:
    """Return the findings of changed values after the history, from the fleet's first state."""
    return score(fleet(), fleet().start_state(), later(changed), until)


def tail() -> NDArray[np.float64]:
    """Return the values after the history, to be changed."""
    return values()[:, HISTORY:].copy()
