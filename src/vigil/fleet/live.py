"""A shard in service: its models, and a state that survives a restart, a crash and a new version of some sites.

    NAME.npz       the state as it was when the journal began
    NAME.journal   what came since, a JSON line for each reading

After a crash the journal is read through the same recursion, so the state is what it was, bit for bit. A reading that
the state knows already is late or a duplicate, and changes nothing.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vigil.files import replace_file
from vigil.fleet.bundled import Shard
from vigil.fleet.kernels.online import LAST, RESIDUAL, SEEN, STEP
from vigil.fleet.model import Fleet
from vigil.fleet.panel import Readings, Series
from vigil.fleet.score import Findings, advance, score
from vigil.fleet.state import FleetState
from vigil.members.files import read_arrays, write_arrays

LONGEST_JOURNAL = 20_000
"""Lines after which the state is written anew."""

Reading = tuple[Series, int, float]


@dataclass(eq=False)
class LiveShard:
    """A shard and its state; one thread at a time."""

    shard: Shard
    state: FleetState
    path: Path
    journal: BinaryIO
    lines: int = 0

    def score(self, readings: Sequence[Reading], *, learn: bool = True) -> Findings:
        """Return the findings of readings, and of the steps that were missing before them.

        What does not learn is scored as if it came now, and forgotten.
        """
        if not learn:
            return score(self.shard.fleet, self.state.copy(), Readings.of(readings))
        self._write([[*series, time, value] for series, time, value in readings])
        return score(self.shard.fleet, self.state, Readings.of(readings))

    def advance(self, until: int) -> Findings:
        """Return the findings of the series from which readings were due before `until`."""
        self._write([["", "", until, 0.0]])
        return advance(self.shard.fleet, self.state, until)

    def close(self) -> None:
        """Write the state, so that nothing is left to read again."""
        self._snapshot()
        self.journal.close()

    def _write(self, rows: list[list[Any]]) -> None:
        if self.lines > LONGEST_JOURNAL:
            self._snapshot()
        self.journal.write("".join(json.dumps(row) + "\n" for row in rows).encode())
        self.journal.flush()
        self.lines += len(rows)

    def _snapshot(self) -> None:
        replace_file(self.path, _state_bytes(self.shard.fleet, self.state))
        self.journal.truncate(0)
        self.lines = 0


def open_live(shard: Shard, folder: Path) -> LiveShard:
    """Return a shard with the state that the folder has of it, or with that of the end of its history."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{shard.model}.npz"
    state = shard.fleet.start_state()
    if path.exists():
        _restore(shard.fleet, state, read_arrays({path.name: path.read_bytes()}, path.name))
    journal = path.with_suffix(".journal")
    lines = _replay(shard.fleet, state, journal) if journal.exists() else 0
    live = LiveShard(shard, state, path, journal.open("ab"), lines)
    if lines:
        live._snapshot()
    return live


def _state_bytes(fleet: Fleet, state: FleetState) -> bytes:
    series = np.array([list(one) for one in fleet.series], dtype=np.str_).reshape(-1, 2)
    names = {"series": series, "versions": np.array(fleet.versions, dtype=np.str_), "metrics": np.array(fleet.metrics)}
    return write_arrays({**state.to_arrays(), **names})


def _restore(fleet: Fleet, state: FleetState, arrays: dict[str, NDArray[Any]]) -> None:
    """Put what was remembered into `state`: as it is for a model that is the same, else only when the last reading was.

    A new model has learned the past by itself; without that it would take the time since its training for silence.
    """
    old = FleetState.from_arrays(arrays)
    series = [Series(str(site), str(metric)) for site, metric in arrays["series"]]
    version = dict(zip([*series, *map(str, arrays["metrics"])], map(str, arrays["versions"]), strict=True))
    for seat, one in enumerate(series):
        row = fleet.position.get(one)
        if row is not None and fleet.versions[row] == version[one]:
            _copy(old, seat, state, row)
        elif row is not None:
            _jump(old, seat, state, row)
    for one, seat in old.guests.items():
        if (row := fleet.position.get(one)) is not None:
            _jump(old, seat, state, row)
        elif one.metric in fleet.fallback and fleet.versions[fleet.fallback[one.metric]] == version.get(one.metric):
            _copy(old, seat, state, state.seat_guest(one, fleet.settings.guests))


def _copy(old: FleetState, seat: int, state: FleetState, target: int) -> None:
    for name in ("memory", "daily", "ring"):
        getattr(state, name)[target] = getattr(old, name)[seat]


def _jump(old: FleetState, seat: int, state: FleetState, row: int) -> None:
    if old.memory[seat, SEEN] > 0.0 and old.memory[seat, STEP] > state.memory[row, STEP]:
        state.memory[row, [STEP, LAST]] = old.memory[seat, [STEP, LAST]]
        state.memory[row, RESIDUAL] = 0.0


def _replay(fleet: Fleet, state: FleetState, journal: Path) -> int:
    """Read the journal into the state and return its lines; a last line that a crash has cut off is left out."""
    rows = []
    for line in journal.read_bytes().splitlines():
        try:
            site, metric, time, value = json.loads(line)
        except ValueError:
            break
        rows.append((Series(site, metric), int(time), float(value)))
    for is_advance, part in groupby(rows, key=lambda row: row[0].site == ""):
        if is_advance:
            for _, until, _ in part:
                advance(fleet, state, until)
            continue
        known = [row for row in part if row[0] in fleet.position or row[0].metric in fleet.fallback]
        score(fleet, state, Readings.of(known))
    return len(rows)
