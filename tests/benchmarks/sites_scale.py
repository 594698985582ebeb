"""What a thousand sites cost: time and memory of a fit, an hour of all sites, and how that grows to ten thousand."""

import json
import resource
import subprocess
import sys
import time

import numpy as np

from tests.fleet.panels import Wanted, panel_of, readings_of_values, values_of
from vigil.fleet.fit import fit_fleet
from vigil.fleet.score import score
from vigil.fleet.settings import FleetSettings

YEAR = 365
DISTINCT = 200
"""Sites that are simulated; more are repetitions of them."""
HOURS = 24


def measure(sites: int) -> dict[str, float]:
    """Return seconds of a fit, the process's peak in MiB, and milliseconds of an hour of all sites."""
    values = values_of(Wanted(sites=min(sites, DISTINCT), days=YEAR + 1))
    values = np.tile(values, (-(-sites // len(values)), 1))[:sites]
    fit_fleet(panel_of(values[:4, : 60 * 24]), FleetSettings())
    panel = panel_of(values[:, : YEAR * 24])
    start = time.perf_counter()
    fleet = fit_fleet(panel, FleetSettings())
    fitted = time.perf_counter() - start
    state, taken = fleet.start_state(), []
    for hour in range(HOURS):
        readings = readings_of_values(values[:, [YEAR * 24 + hour]], first=YEAR * 24 + hour)
        start = time.perf_counter()
        score(fleet, state, readings)
        taken.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"fit_seconds": fitted, "mib": peak, "hour_ms": 1000 * float(np.median(taken[1:]))}


def in_a_process(sites: int) -> dict[str, float]:
    """Return what `measure` says in a process of its own, so that its memory is only its own."""
    command = [sys.executable, "-m", "tests.benchmarks.sites_scale", str(sites)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))
