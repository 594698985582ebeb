"""Fits every kind of member on stored rows and prints seconds and peak memory as JSON; a process of its own."""

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

from vigil.members.base import FeatureMatrix, TrainingRows
from vigil.members.catalog import KINDS, fit_member, parse_settings


def main(path: Path) -> None:
    with np.load(path) as stored:
        matrix = FeatureMatrix(stored["values"], tuple(stored["names"].tolist()))
        rows = TrainingRows(matrix, stored["times"], stored["labels"])
    before = peak_gib()
    seconds, start_processor = {}, time.process_time()
    for kind in KINDS:
        start = time.perf_counter()
        fit_member(parse_settings({"kind": kind}), rows)
        seconds[kind] = time.perf_counter() - start
    found = {
        "seconds": sum(seconds.values()),
        "processor_seconds": time.process_time() - start_processor,
        "by_member": seconds,
        "peak_gib": peak_gib(),
        "data_gib": before,
    }
    print(json.dumps(found))


def peak_gib() -> float:
    """Return the most memory that the process has held, in GiB; `getrusage` would count that of its parent on Linux."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30


if __name__ == "__main__":
    main(Path(sys.argv[1]))
