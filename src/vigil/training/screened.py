"""What the screens of a run have found, as later steps read it: the rows that may be seen, and the known frauds."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vigil.members.base import FeatureMatrix
from vigil.members.files import read_arrays, write_arrays
from vigil.training.folders import verified
from vigil.training.rows import Ints

KIND = "training_rows"
ROWS, CANARIES, REPORT = "rows.npz", "canaries.npz", "report.json"
NORMAL_MEMBERS = ("isolation_forest", "autoencoder")
"""The members that learn what is normal; they see no known fraud."""


@dataclass(frozen=True, eq=False)
class Screened:
    """What the step found."""

    normal: Ints
    """Rows that the normal-learning members may see, as places in the feature table."""
    supervised: Ints
    """Rows that the boosted trees may see."""
    calibration: Ints
    """Rows of the calibration window outside of known incidents."""
    canaries: FeatureMatrix | None
    report: dict[str, Any]
    """What the gate `sanitation` is judged by, canaries not yet tried."""
    failures: tuple[str, ...]


def pack_canaries(canaries: FeatureMatrix) -> bytes:
    """Return the vectors with their names, as a part of a bundle."""
    return write_arrays({"values": canaries.values, "names": np.array(canaries.names)})


def unpack_canaries(content: bytes) -> FeatureMatrix:
    """Return what `pack_canaries` wrote."""
    arrays = read_arrays({CANARIES: content}, CANARIES)
    return FeatureMatrix(np.ascontiguousarray(arrays["values"]), tuple(map(str, arrays["names"])))


def read_screened(folder: Path) -> Screened:
    """Return what the step wrote, after checking it."""
    verified(folder, KIND)
    arrays: dict[str, NDArray[Any]] = read_arrays({ROWS: (folder / ROWS).read_bytes()}, ROWS)
    report = json.loads((folder / REPORT).read_bytes())
    canaries = unpack_canaries((folder / CANARIES).read_bytes()) if (folder / CANARIES).is_file() else None
    chosen = {name: arrays[name] for name in ("normal", "supervised", "calibration")}
    return Screened(**chosen, canaries=canaries, report=report, failures=tuple(report["failures"]))
