"""The same sites by Nixtla's MSTL and by Prophet, each in a throw-away environment: seconds a site, and the error.

All see the same year and forecast the same two weeks that follow; none sees these. The error is the mean distance from
what came, relative to the site's mean, over all hours.
"""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.fleet.panels import START, Wanted, panel_of, values_of
from vigil.clock import HOUR
from vigil.fleet.fit import fit_fleet
from vigil.fleet.score import foresee
from vigil.fleet.settings import FleetSettings

SAMPLE, YEAR, AHEAD = 8, 365 * 24, 14 * 24
REPEATS = 3
Values = NDArray[np.float64]

_MSTL = """
import json, sys, time
import numpy as np
from statsforecast.models import MSTL, AutoETS
values = np.load(sys.argv[1]); ahead = int(sys.argv[2])
def model(): return MSTL(season_length=[24, 168], trend_forecaster=AutoETS(model="ZZN"))
model().forecast(y=values[0, :1000], h=24)
start = time.perf_counter()
found = [model().forecast(y=row, h=ahead)["mean"] for row in values]
np.save(sys.argv[3], np.array(found)); print(json.dumps(time.perf_counter() - start))
"""
_PROPHET = """
import json, logging, sys, time
import numpy as np, pandas as pd
from prophet import Prophet
logging.getLogger("cmdstanpy").disabled = True
values = np.load(sys.argv[1]); ahead = int(sys.argv[2])
times = pd.date_range("2025-01-06", periods=values.shape[1] + ahead, freq="h")
start = time.perf_counter(); found = []
for row in values:
    model = Prophet(yearly_seasonality=False)
    model.fit(pd.DataFrame({"ds": times[:len(row)], "y": row}))
    found.append(model.predict(pd.DataFrame({"ds": times[len(row):]}))["yhat"].to_numpy())
np.save(sys.argv[3], np.array(found)); print(json.dumps(time.perf_counter() - start))
"""
PEERS = {"statsforecast": _MSTL, "prophet": _PROPHET}


@dataclass(frozen=True)
class Timed:
    """Seconds for each site, fit and forecast, and the error relative to the site's mean."""

    seconds: float
    error: float


def sample() -> Values:
    """Return a year and two weeks of some of the simulated sites, (sites, hours)."""
    return values_of(Wanted(sites=SAMPLE, days=(YEAR + AHEAD) // 24))


def ours(values: Values) -> Timed:
    """Return what the fleet takes and misses: thresholds and first states included."""
    history = panel_of(values[:, :YEAR])
    times = START + (YEAR + np.arange(AHEAD)) * HOUR
    taken = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        fleet = fit_fleet(history, FleetSettings())
        state = fleet.start_state()
        found = np.array([foresee(fleet, state, series, times)[0] for series in fleet.series])
        taken.append(time.perf_counter() - start)
    return Timed(min(taken[1:]) / len(values), _error(values, found))


def peer(name: str, values: Values) -> Timed | None:
    """Return what a peer takes and misses; None, and a line that says so, where it cannot be installed."""
    with tempfile.TemporaryDirectory() as folder:
        python = _installed(name, Path(folder))
        if python is None:
            return None
        source, answer = Path(folder) / "values.npy", Path(folder) / "answer.npy"
        np.save(source, values[:, :YEAR])
        command = [str(python), "-c", PEERS[name], str(source), str(AHEAD), str(answer)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            print(f"{name} does not run here, so it is left out: {done.stderr.strip().splitlines()[-1:]}")
            return None
        seconds = float(json.loads(done.stdout.splitlines()[-1]))
        return Timed(seconds / len(values), _error(values, np.load(answer)))


def _installed(name: str, folder: Path) -> Path | None:
    """Return the interpreter of a new environment that has the peer."""
    python = folder / "venv" / "bin" / "python"
    print(f"installing {name} into {python.parents[1]}, which is removed afterwards")
    subprocess.run([sys.executable, "-m", "venv", str(python.parents[1])], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", name]
    done = subprocess.run(install, check=False, capture_output=True, text=True)
    if done.returncode:
        print(f"{name} cannot be installed from this index, so it is left out: {done.stderr.strip().splitlines()[-1:]}")
        return None
    return python


def _error(values: Values, found: Values) -> float:
    clean = values[:, YEAR : YEAR + AHEAD]
    return float((np.abs(clean - found).mean(axis=1) / values[:, :YEAR].mean(axis=1)).mean())
