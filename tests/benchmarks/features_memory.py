"""Peak memory of the incremental table, measured in child processes.

`python -m tests.benchmarks.features_memory DAYS` feeds that many days of the same 20,000 customers and terminals, one
at a time, and prints the peak in MiB.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

from vigil.clock import DAY
from vigil.contracts.events import EVENTS, check_table
from vigil.features.compiler import compile_features
from vigil.features.definitions import FeatureConfig, define
from vigil.features.incremental import FeatureStore

ENTITIES, A_DAY = 20_000, 50_000
FEW_DAYS, MANY_DAYS = 6, 60
START = 20_000 * DAY


def a_day(number: int) -> dict[str, pa.Table]:
    """Return the transactions of one day."""
    random = np.random.default_rng(number)
    times = np.sort(random.integers(0, DAY, A_DAY)) + START + number * DAY
    names = np.array([f"{k}" for k in range(ENTITIES)])
    columns = {
        "event_id": [f"{number}-{k:06}" for k in range(A_DAY)],
        "event_time": pa.array(times).cast(pa.timestamp("us", tz="UTC")),
        "amount": random.gamma(2.0, 20.0, A_DAY).round(2),
        "customer_id": names[random.integers(0, ENTITIES, A_DAY)],
        "terminal_id": names[random.integers(0, ENTITIES, A_DAY)],
    }
    return {"transaction": check_table(EVENTS["transaction"], pa.table(columns))}


def feed(days: int) -> float:
    """Return the peak memory of this process in MiB after `days` updates."""
    program = compile_features(define(FeatureConfig(groups=("protocol",))))
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore(Path(folder), program)
        for number in range(days):
            store.update(a_day(number))
    return _own_peak()


def _own_peak() -> float:
    """Return the peak in MiB from the kernel's status page: `getrusage` would count what the parent had at the fork."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("VmHWM:"))) / 1024


def peak_ratio() -> tuple[float, float]:
    """Return the peaks in MiB of few and of ten times as many days."""
    return _peak(FEW_DAYS), _peak(MANY_DAYS)


def _peak(days: int) -> float:
    command = [sys.executable, "-m", "tests.benchmarks.features_memory", str(days)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    print(feed(int(sys.argv[1])))
